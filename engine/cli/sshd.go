package cli

import (
	"context"
	"net"

	"signalbox/engine"
	"signalbox/engine/config"
	"signalbox/engine/control"
	"signalbox/tui"
	"signalbox/tui/sshd"
	"signalbox/tui/style"
)

// sshDoor is the console over SSH: bound before the node says that it is ready,
// serving as long as the node runs.
type sshDoor struct {
	l   net.Listener
	srv *sshd.Server
}

// openSSH binds the door; nil where the settings have none.
func (a *app) openSSH(cfg config.Config, eng *engine.Engine) (*sshDoor, error) {
	if cfg.SSH.Listen == "" {
		return nil, nil
	}
	srv, err := sshd.New(sshd.Options{
		HostKey: eng.HostKey(), Keys: cfg.SSH.AuthorizedKeys, Event: eng.Event, Theme: style.Theme(cfg.Theme),
		Seat: func(author string, role control.Role) tui.Source { return eng.Seat(author, role) },
	})
	if err != nil {
		return nil, &config.ExitError{Code: config.ExitConfig, Err: err}
	}
	l, err := net.Listen("tcp", cfg.SSH.Listen)
	if err != nil {
		return nil, config.Exit(config.ExitUnavailable, "ssh: %w", err)
	}
	return &sshDoor{l, srv}, nil
}

// addr is where the door is, empty when there is none.
func (d *sshDoor) addr() string {
	if d == nil {
		return ""
	}
	return d.l.Addr().String()
}

// serve serves until ctx ends.
func (d *sshDoor) serve(ctx context.Context) error {
	if d == nil {
		return nil
	}
	return d.srv.Serve(ctx, d.l)
}
