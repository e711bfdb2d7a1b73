package sqsx

import (
	"errors"
	"fmt"
	"strings"
)

// advice is an error with its remedy. Its text has both. A log line has a field
// for each: see [reporter.report].
type advice struct {
	cause  error
	remedy string
}

// advise returns an error with the cause of that format, and the remedy.
func advise(remedy, format string, args ...any) error {
	return &advice{fmt.Errorf(format, args...), remedy}
}

func (a *advice) Error() string { return a.cause.Error() + ": " + a.remedy }

func (a *advice) Unwrap() error { return a.cause }

// takeRemedy returns the text of err without the remedy in it, and the remedy,
// or "" if err has none.
func takeRemedy(err error) (cause, remedy string) {
	a, ok := errors.AsType[*advice](err)
	if !ok {
		return err.Error(), ""
	}
	return strings.Replace(err.Error(), a.Error(), a.cause.Error(), 1), a.remedy
}
