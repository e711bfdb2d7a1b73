package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyTimeout = 90 * time.Second // measured: up to 6 s on two busy cores
	pollInterval = 50 * time.Millisecond
	stopTimeout  = 15 * time.Second // then it is killed; measured: LocalStack takes up to 5 s
	// A free port can be taken by another process before the emulator binds
	// it; the emulator then exits, and another port is tried.
	startAttempts = 3
)

// Instance is an emulator that answers.
type Instance struct {
	Emulator
	Endpoint string // for example http://127.0.0.1:4566
	Log      string // file with what it prints, "" if it was not started here

	process *process // nil if it was not started here
}

// Start returns a running instance: the one that the environment gives, or a
// new one, installed if need be. It must be stopped.
func (e Emulator) Start(ctx context.Context) (*Instance, error) {
	if endpoint := os.Getenv(e.EndpointVariable()); endpoint != "" {
		in := &Instance{Emulator: e, Endpoint: strings.TrimSuffix(endpoint, "/")}
		ctx, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		if err := e.await(ctx, in.Endpoint, nil); err != nil {
			return nil, fmt.Errorf("launch: %s=%s: %w", e.EndpointVariable(), endpoint, err)
		}
		return in, nil
	}
	dir, err := e.Install(ctx)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		in, err := e.start(ctx, dir)
		if err == nil || attempt == startAttempts || !errors.Is(err, errExited) {
			return in, err
		}
	}
}

func (e Emulator) start(ctx context.Context, dir string) (*Instance, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "sealq-"+strings.ToLower(e.Name)+"-")
	if err != nil {
		return nil, err
	}
	p, err := spawn(e.recipe.command(dir, scratch, port), scratch)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("launch: start %s: %w", e.Name, err), os.RemoveAll(scratch))
	}
	in := &Instance{Emulator: e, Endpoint: fmt.Sprintf("http://127.0.0.1:%d", port), Log: p.log, process: p}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := e.await(ctx, in.Endpoint, p.exited); err != nil {
		printed, _ := os.ReadFile(p.log) // only to explain err
		return nil, errors.Join(fmt.Errorf("launch: start %s %s: %w; it printed:\n%s", e.Name, e.Version, err, tail(printed)), in.Stop())
	}
	return in, nil
}

// Stop ends the processes that were started for the instance and removes its
// scratch folder. It does nothing to an instance that the environment gave.
func (in *Instance) Stop() error {
	if in.process == nil {
		return nil
	}
	return in.process.stop()
}

var errExited = errors.New("it exited")

// await polls until the emulator answers as its recipe says.
func (e Emulator) await(ctx context.Context, endpoint string, exited <-chan struct{}) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	// Without connections that it keeps: closing them would close those that
	// others have in the transport that all share.
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := e.probe(ctx, client, endpoint)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w", err)
		case <-exited:
			return errExited
		case <-tick.C:
		}
	}
}

func (e Emulator) probe(ctx context.Context, client *http.Client, endpoint string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+e.recipe.ready, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", e.recipe.ready, resp.Status)
	}
	for _, text := range e.recipe.readyText {
		if !bytes.Contains(body, []byte(text)) {
			return fmt.Errorf("%s does not yet hold %s", e.recipe.ready, text)
		}
	}
	return nil
}

// process is a command in a process group of its own, so that it can be ended
// together with what it starts.
type process struct {
	cmd     *exec.Cmd
	scratch string
	log     string
	exited  chan struct{} // closed when the command has ended

	once sync.Once
	err  error
}

func spawn(cmd *exec.Cmd, scratch string) (*process, error) {
	p := &process{cmd: cmd, scratch: scratch, log: filepath.Join(scratch, "log"), exited: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own copy
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

func (p *process) stop() error {
	p.once.Do(func() {
		group := -p.cmd.Process.Pid
		// An error means that the group has ended already.
		_ = syscall.Kill(group, syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(stopTimeout):
		}
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-p.exited
		p.err = os.RemoveAll(p.scratch)
	})
	return p.err
}

// freePort returns a loopback port that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
