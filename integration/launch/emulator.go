package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Emulator is an emulator that this package can install and start.
type Emulator struct {
	Name    string // as its makers write it, for example "LocalStack"
	Version string
	KMS     bool // it also emulates KMS

	recipe recipe
}

// recipe is what differs between emulators.
type recipe struct {
	// tools are the commands that must be on the machine, Python apart.
	tools []string
	// pins are the files of requirements/ that fix every version. Any change
	// of theirs makes a new installation.
	pins []string
	// install puts the packages into dir, which is empty.
	install func(ctx context.Context, dir string) error
	// command starts the emulator on port. scratch is a folder of its own.
	command func(dir, scratch string, port int) *exec.Cmd
	// ready is a path that answers 200 when the emulator does, with a body
	// that holds each of the texts.
	ready     string
	readyText []string
}

// All returns every emulator, LocalStack first.
func All() []Emulator {
	return []Emulator{localStack(), ministack(), moto(), elasticMQ(), fauxqs()}
}

// Find returns the emulator of the given name, in any case.
func Find(name string) (Emulator, error) {
	var names []string
	for _, e := range All() {
		if strings.EqualFold(e.Name, name) {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Emulator{}, fmt.Errorf("launch: no emulator %q: want one of %s", name, strings.Join(names, ", "))
}

// EndpointVariable names the environment variable that points at a running
// instance, for example SEALQTEST_LOCALSTACK_ENDPOINT=http://127.0.0.1:4566.
func (e Emulator) EndpointVariable() string {
	return "SEALQTEST_" + strings.ToUpper(e.Name) + "_ENDPOINT"
}

// ErrPrerequisite says that the machine lacks a language toolchain.
var ErrPrerequisite = errors.New("launch: prerequisite missing")

// Prerequisites returns nil if the machine has what the emulator's packages
// need, or if a running instance is given. Otherwise the error is an
// [ErrPrerequisite] that names all that is missing.
func (e Emulator) Prerequisites(ctx context.Context) error {
	if os.Getenv(e.EndpointVariable()) != "" {
		return nil
	}
	var missing []string
	for _, tool := range e.recipe.tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if e.needsPython() {
		if _, err := findPython(ctx); err != nil {
			missing = append(missing, "python "+pythonVersion)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s needs %s", ErrPrerequisite, e.Name, strings.Join(missing, " and "))
	}
	return nil
}

func (e Emulator) needsPython() bool {
	return slices.ContainsFunc(e.recipe.pins, func(pin string) bool { return strings.HasSuffix(pin, ".txt") })
}
