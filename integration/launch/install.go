package launch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

//go:embed requirements
var requirements embed.FS

// CacheVariable names the environment variable that moves the installations.
// Without it they are in sealq-integration in the user's cache folder.
const CacheVariable = "SEALQTEST_CACHE"

// installedMark is written last: an installation without it was interrupted.
const installedMark = ".installed"

// Install makes sure that the emulator's packages are in the cache, and returns
// their folder. Several processes may call it at once: one installs, the others
// wait.
func (e Emulator) Install(ctx context.Context) (string, error) {
	if err := e.Prerequisites(ctx); err != nil {
		return "", err
	}
	dir, err := e.dir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	mark := filepath.Join(dir, installedMark)
	if _, err := os.Stat(mark); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := e.recipe.install(ctx, dir); err != nil {
		return "", fmt.Errorf("launch: install %s %s: %w", e.Name, e.Version, err)
	}
	return dir, os.WriteFile(mark, nil, 0o644)
}

// Installed reports whether the packages are in the cache already.
func (e Emulator) Installed() bool {
	dir, err := e.dir()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, installedMark))
	return err == nil
}

// dir is named after the content of the pins, so that a changed pin is never
// answered by an old installation.
func (e Emulator) dir() (string, error) {
	root := os.Getenv(CacheVariable)
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("launch: no cache folder: %w (set %s)", err, CacheVariable)
		}
		root = filepath.Join(user, "sealq-integration")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, pin := range e.recipe.pins {
		content, err := requirements.ReadFile("requirements/" + pin)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", pin, len(content), content)
	}
	name := fmt.Sprintf("%s-%s-%s", strings.ToLower(e.Name), e.Version, hex.EncodeToString(h.Sum(nil)[:4]))
	return filepath.Join(root, name), nil
}

// lock takes an advisory lock on path, which the kernel lets go of when the
// process ends, however it ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("launch: lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// copyPins writes files of requirements/ into dir, without their folders.
func copyPins(dir string, pins ...string) error {
	for _, pin := range pins {
		content, err := requirements.ReadFile("requirements/" + pin)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(pin)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pipInstall makes dir/venv and installs the pinned packages there, and none
// besides.
func pipInstall(ctx context.Context, dir, pins string) error {
	python, err := findPython(ctx)
	if err != nil {
		return err
	}
	if err := copyPins(dir, pins); err != nil {
		return err
	}
	if err := runIn(ctx, dir, python, "-m", "venv", "venv"); err != nil {
		return err
	}
	return runIn(ctx, dir, venvPython(dir), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
		"--no-deps", "--requirement", filepath.Base(pins))
}

func venvPython(dir string) string { return filepath.Join(dir, "venv", "bin", "python") }

// runIn runs a command and puts the end of what it printed into its error.
func runIn(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, tail(out))
	}
	return nil
}

// tail returns the last 40 lines of a log.
func tail(log []byte) []byte {
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-40):], []byte("\n"))
}
