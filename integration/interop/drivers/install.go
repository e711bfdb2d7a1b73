package drivers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// ErrPrerequisite reports a program that is not on this machine and that an SDK
// needs: a language toolchain.
var ErrPrerequisite = errors.New("drivers: prerequisite missing")

// Installed is an SDK in the cache.
type Installed struct {
	SDK
	Cached bool          // it was there already
	Took   time.Duration // the installation, or the check that it is there
	Err    error         // why it is not installed; nil otherwise

	dir string
}

// Folder is where the SDK is installed, with its packages in venv or in
// src/node_modules: other programs can run there too.
func (i Installed) Folder() string { return i.dir }

// Install brings all of sdks into the cache, several at a time, and returns
// them in the same order when all have ended.
func Install(ctx context.Context, sdks []SDK) ([]Installed, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	out := make([]Installed, len(sdks))
	var wg sync.WaitGroup
	for i, s := range sdks {
		out[i] = Installed{SDK: s, dir: filepath.Join(cache, s.environment.folder)}
		wg.Go(func() {
			start := time.Now()
			out[i].Cached, out[i].Err = installInto(ctx, s.environment, out[i].dir)
			out[i].Took = time.Since(start)
			if err := out[i].Err; err != nil {
				out[i].Err = fmt.Errorf("drivers: install %s: %w", s.ID, err)
			}
		})
	}
	wg.Wait()
	return out, nil
}

// cacheDir is the folder that outlives a run.
func cacheDir() (string, error) {
	dir := os.Getenv("SEALQTEST_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("drivers: no cache folder, set SEALQTEST_CACHE: %w", err)
		}
		dir = filepath.Join(user, "sealq-integration")
	}
	dir, err := filepath.Abs(filepath.Join(dir, "interop"))
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// sourceDir is the folder of this file. The drivers' sources are beside it, and
// cannot be embedded: one of them is a Go module of its own.
func sourceDir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	dir := filepath.Dir(file)
	if _, err := os.Stat(dir); !ok || err != nil {
		return "", errors.New("drivers: sources not found: run from a checkout, without -trimpath")
	}
	return dir, nil
}

// build is one installation that runs.
type build struct {
	ctx context.Context
	src string // our copy of the driver's sources, inside dir
	dir string // where everything goes
}

// installInto makes dir hold a working environment, and reports whether it
// already did. Other callers that want the same one wait.
func installInto(ctx context.Context, e *environment, dir string) (cached bool, err error) {
	root, err := sourceDir()
	if err != nil {
		return false, err
	}
	src := filepath.Join(root, e.folder)
	stamp, err := e.stamp(ctx, src)
	if err != nil {
		return false, err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return false, err
	}
	defer unlock()

	stampFile := filepath.Join(dir, "stamp")
	if have, err := os.ReadFile(stampFile); err == nil && string(have) == stamp {
		return true, nil
	}
	// Half an installation must never pass for one.
	if err := os.Remove(stampFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	b := &build{ctx: ctx, src: filepath.Join(dir, "src"), dir: dir}
	if err := os.RemoveAll(b.src); err != nil {
		return false, err
	}
	if err := os.CopyFS(b.src, os.DirFS(src)); err != nil {
		return false, err
	}
	if err := e.install(b); err != nil {
		return false, err
	}
	return false, os.WriteFile(stampFile, []byte(stamp), 0o644)
}

// stamp is a digest of all that decides what an installation contains: the
// sources with their manifests, and the tools that build them.
func (e *environment) stamp(ctx context.Context, src string) (string, error) {
	h := sha256.New()
	for _, t := range e.tools {
		if _, err := exec.LookPath(t.name); err != nil {
			return "", fmt.Errorf("%w: %s is not on PATH: install %s", ErrPrerequisite, t.name, t.from)
		}
		version, err := exec.CommandContext(ctx, t.name, t.versionFlag).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", t.name, t.versionFlag, err)
		}
		fmt.Fprintf(h, "%s\n%d\n%s", t.name, len(version), version)
	}
	err := fs.WalkDir(os.DirFS(src), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(src, path))
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\n%d\n", path, len(content))
		h.Write(content)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// lock waits for an exclusive lock on a file. It excludes other processes and
// other callers in this one.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// run runs a program at low priority in the folder of the sources. Its output
// is part of the error if it fails.
func (b *build) run(name string, args ...string) error {
	if nice, err := exec.LookPath("nice"); err == nil {
		name, args = nice, append([]string{name}, args...)
	}
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Dir = b.src
	cmd.Env = append(os.Environ(), "CARGO_TARGET_DIR="+filepath.Join(b.dir, "target"), "GOFLAGS=", "GOWORK=off")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, tail(output.Bytes()))
	}
	return nil
}

// tail returns the end of a program's output, where its reason is.
func tail(output []byte) []byte {
	const most = 4_000
	return output[max(0, len(output)-most):]
}

func installPython(b *build) error {
	venv := filepath.Join(b.dir, "venv")
	if err := b.run("python3", "-m", "venv", "--clear", venv); err != nil {
		return err
	}
	return b.run(filepath.Join(venv, "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", "requirements.txt")
}

func installJavaScript(b *build) error {
	return b.run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
}

func installJava(b *build) error {
	lib := filepath.Join(b.dir, "lib")
	// What an older manifest asked for would stay on the class path.
	if err := os.RemoveAll(lib); err != nil {
		return err
	}
	if err := b.run("mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+lib); err != nil {
		return err
	}
	return b.run("javac", "-encoding", "UTF-8", "-cp", filepath.Join(lib, "*"), "-d", filepath.Join(b.dir, "classes"), "Driver.java")
}

func installGo(b *build) error {
	return b.run("go", "build", "-mod=readonly", "-o", filepath.Join(b.dir, "driver"), ".")
}

func installRust(b *build) error {
	return b.run("cargo", "build", "--quiet")
}
