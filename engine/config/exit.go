package config

import (
	"errors"
	"fmt"
)

// The exit codes of contract section 1.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitUsage       = 64 // the command line makes no sense
	ExitUnavailable = 69 // a needed service is unavailable
	ExitCantCreate  = 73 // a file or directory cannot be created
	ExitIO          = 74
	ExitTempFail    = 75 // try again
	ExitNoPerm      = 77
	ExitConfig      = 78 // a setting, or a file it names, is unusable
)

// ExitError is an error that knows which exit code it calls for.
type ExitError struct {
	Code int
	Err  error // nil: there is nothing left to say
}

// Error is the cause's text.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode returns Code.
func (e *ExitError) ExitCode() int { return e.Code }

// Exit wraps err with the exit code it calls for.
func Exit(code int, format string, args ...any) error {
	return &ExitError{Code: code, Err: fmt.Errorf(format, args...)}
}

// ExitCodeOf returns the exit code err calls for: that of the outermost error
// that has one, 0 without an error and 1 for every other.
func ExitCodeOf(err error) int {
	if err == nil {
		return ExitOK
	}
	if c, ok := errors.AsType[interface {
		ExitCode() int
		error
	}](err); ok {
		return c.ExitCode()
	}
	return ExitFailure
}
