package launch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pythonVersion is the one that LocalStack's packages work with: with 3.11 and
// 3.12 it starts without any service.
const pythonVersion = "3.13"

// PythonVariable names the environment variable that says which Python to use.
const PythonVariable = "SEALQTEST_PYTHON"

// findPython returns a Python of the wanted version. A candidate counts if it
// runs and says so itself: a version manager's python3.13 can be on PATH and
// refuse to run.
func findPython(ctx context.Context) (string, error) {
	for _, candidate := range pythons(ctx) {
		out, err := exec.CommandContext(ctx, candidate, "-c",
			"import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])").Output()
		if err == nil && strings.TrimSpace(string(out)) == pythonVersion {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%w: python %s, on PATH or among pyenv's or uv's versions (or name it in %s)",
		ErrPrerequisite, pythonVersion, PythonVariable)
}

func pythons(ctx context.Context) []string {
	if named := os.Getenv(PythonVariable); named != "" {
		return []string{named}
	}
	var found []string
	for _, name := range []string{"python" + pythonVersion, "python3", "python"} {
		if path, err := exec.LookPath(name); err == nil {
			found = append(found, path)
		}
	}
	if root, err := exec.CommandContext(ctx, "pyenv", "root").Output(); err == nil {
		pattern := filepath.Join(strings.TrimSpace(string(root)), "versions", pythonVersion+"*", "bin", "python"+pythonVersion)
		versions, _ := filepath.Glob(pattern) // the pattern is well formed
		found = append(found, versions...)
	}
	if path, err := exec.CommandContext(ctx, "uv", "python", "find", "--no-python-downloads", pythonVersion).Output(); err == nil {
		found = append(found, strings.TrimSpace(string(path)))
	}
	return found
}
