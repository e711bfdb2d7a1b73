package launch

import (
	"context"
	"os/exec"
	"testing"
)

// NewFake returns an emulator that needs no installation: command starts it,
// and it is ready when the path /ready answers.
func NewFake(tb testing.TB, command func(scratch string, port int) *exec.Cmd) Emulator {
	tb.Setenv(CacheVariable, tb.TempDir())
	return Emulator{Name: "Fake", Version: "1", recipe: recipe{
		install: noInstall,
		command: func(_, scratch string, port int) *exec.Cmd { return command(scratch, port) },
		ready:   "/ready",
	}}
}

// Pins returns the texts of the files that fix the emulator's versions.
func (e Emulator) Pins(tb testing.TB) []string {
	var texts []string
	for _, pin := range e.recipe.pins {
		text, err := requirements.ReadFile("requirements/" + pin)
		if err != nil {
			tb.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

// NeedTool makes tool a prerequisite.
func (e Emulator) NeedTool(tool string) Emulator {
	e.recipe.tools = append(e.recipe.tools, tool)
	return e
}

func noInstall(context.Context, string) error { return nil }
