package engine

import (
	"runtime/debug"

	"signalbox/engine/config"
)

// About is what a bundle says of the node itself.
type About struct {
	Go       string            `json:"go"`
	Build    map[string]string `json:"build"`   // the compiler's settings, the commit among them
	Modules  map[string]string `json:"modules"` // versions of what is linked in
	Settings []config.Entry    `json:"settings"`
}

// About describes the program that runs and the configuration it was started
// with. Keys are in files, of which only the paths are named, and passwords are
// left out.
func (e *Engine) About() any {
	a := About{Build: map[string]string{}, Modules: map[string]string{}, Settings: config.Entries(e.cfg, config.Origins{})}
	if bi, ok := debug.ReadBuildInfo(); ok {
		a.Go = bi.GoVersion
		for _, s := range bi.Settings {
			a.Build[s.Key] = s.Value
		}
		for _, d := range bi.Deps {
			a.Modules[d.Path] = d.Version
		}
	}
	return a
}
