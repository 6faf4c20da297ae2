package engine

import (
	"fmt"
	"log/slog"
	"strings"

	"signalbox/engine/config"
	"signalbox/engine/view"
)

// reloadable says whether a reload puts a setting in force; drain_timeout is the
// caller's own. All others take effect at the next start.
func (e *Engine) reloadable(key string) bool {
	switch key {
	case "log_level", "drain_timeout":
		return true
	case "peers", "trusted":
		return e.fed.on
	}
	return false
}

// Reload takes over what may change while running, and tells of every setting
// that is another than at the start or the last reload whether it is in force
// now or at the next start. It is called by one goroutine.
func (e *Engine) Reload(cfg config.Config) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return fmt.Errorf("engine: reload: %w", err)
	}
	was := map[string]string{}
	before := e.cfg
	if e.reloaded != nil {
		before = *e.reloaded
	}
	for _, en := range config.Entries(before, config.Origins{}) {
		was[en.Key] = en.Text()
	}
	now, later := []string{}, []string{}
	for _, en := range config.Entries(cfg, config.Origins{}) {
		switch {
		case en.Text() == was[en.Key]:
		case e.reloadable(en.Key):
			now = append(now, en.Key)
		default:
			later = append(later, en.Key)
		}
	}
	e.reloaded = &cfg
	e.relevel(level)
	if e.fed.on {
		e.renamed(&named{cfg.Peers, cfg.Trusted})
	}
	msg := "the configuration was read again: "
	switch {
	case len(now)+len(later) == 0:
		msg += "nothing has changed"
	case len(later) == 0:
		msg += "in force now: " + strings.Join(now, ", ")
	case len(now) == 0:
		msg += "in force at the next start: " + strings.Join(later, ", ")
	default:
		msg += "in force now: " + strings.Join(now, ", ") + "; at the next start: " + strings.Join(later, ", ")
	}
	e.event(view.Event{Kind: "reload", Message: msg, Fields: map[string]any{"now": now, "next_start": later}})
	return nil
}

// relevel sets what is logged when no operator has said otherwise. One who has
// is not overruled: theirs ends by itself.
func (e *Engine) relevel(level slog.Level) {
	e.turn.Lock()
	defer e.turn.Unlock()
	e.baseLevel.Store(int64(level))
	if e.force.get(families["node.log_level"].name+" "+theNode) == nil {
		e.level.Set(level)
	}
}
