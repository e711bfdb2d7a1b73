package launch_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sealq/sealq/integration/launch"
)

// helper makes the test binary play the emulator: it serves on the port, and
// has a child that would outlive it, as Python's servers do.
const helper = "SEALQTEST_TEST_HELPER_PORT"

func TestMain(m *testing.M) {
	port := os.Getenv(helper)
	if port == "" {
		os.Exit(m.Run())
	}
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		panic(err)
	}
	pid := []byte(strconv.Itoa(child.Process.Pid))
	http.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) { w.Write(pid) })
	panic(http.ListenAndServe("127.0.0.1:"+port, nil))
}

func TestPinsHoldTheVersion(t *testing.T) {
	t.Parallel()
	if len(launch.All()) == 0 {
		t.Fatal("no emulators")
	}
	for _, e := range launch.All() {
		pins := strings.Join(e.Pins(t), "\n")
		name := strings.ToLower(e.Name)
		if e.Name == "LocalStack" {
			name = "localstack-core"
		}
		found := strings.Contains(pins, name+"=="+e.Version) || // pip
			strings.Contains(pins, fmt.Sprintf("%q: %q", name, e.Version)) || // npm
			strings.Contains(pins, "<version>"+e.Version+"</version>") // Maven
		if !found {
			t.Errorf("%s: version %s is not in its pins", e.Name, e.Version)
		}
		if strings.Contains(pins, "https://registry") || strings.Contains(pins, `"resolved"`) {
			t.Errorf("%s: the pins name a registry", e.Name)
		}
	}
}

func TestStartThenStopEndsTheGroup(t *testing.T) {
	fake := launch.NewFake(t, func(_ string, port int) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(cmd.Environ(), fmt.Sprintf("%s=%d", helper, port))
		return cmd
	})
	in, err := fake.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(in.Endpoint + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var child int
	if _, err := fmt.Fscan(resp.Body, &child); err != nil {
		t.Fatal(err)
	}
	if err := in.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get(in.Endpoint + "/ready"); err == nil {
		t.Error("after Stop: it still answers")
	}
	if alive(child) {
		t.Errorf("after Stop: its child %d is still alive", child)
	}
	if _, err := os.Stat(filepath.Dir(in.Log)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Stop: its folder is still there: %v", err)
	}
	if err := in.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

// alive takes a killed process that nobody has reaped yet for ended.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(state)), "Z")
}

func TestStartSaysWhyItFailed(t *testing.T) {
	fake := launch.NewFake(t, func(string, int) *exec.Cmd {
		return exec.Command("sh", "-c", "echo no component plugins found; exit 1")
	})
	_, err := fake.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "it exited") || !strings.Contains(err.Error(), "no component plugins found") {
		t.Errorf("Start: got error %v, want one that says that it exited and what it printed", err)
	}
}

func TestPrerequisites(t *testing.T) {
	fake := launch.NewFake(t, func(string, int) *exec.Cmd { return exec.Command("false") }).NeedTool("sealq-no-such-tool")
	_, err := fake.Start(t.Context())
	if !errors.Is(err, launch.ErrPrerequisite) || !strings.Contains(err.Error(), "sealq-no-such-tool") {
		t.Errorf("Start: got error %v, want ErrPrerequisite that names the tool", err)
	}
}

func TestEndpointFromTheEnvironment(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	fake := launch.NewFake(t, func(string, int) *exec.Cmd { return exec.Command("false") }).NeedTool("sealq-no-such-tool")
	t.Setenv("SEALQTEST_FAKE_ENDPOINT", server.URL+"/")
	in, err := fake.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in.Endpoint != server.URL {
		t.Errorf("Endpoint: got %q, want %q", in.Endpoint, server.URL)
	}
	if err := in.Stop(); err != nil {
		t.Error(err)
	}
	if resp, err := http.Get(server.URL); err != nil {
		t.Error("Stop ended an instance that it had not started")
	} else {
		resp.Body.Close()
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	if e, err := launch.Find("elasticmq"); err != nil || e.Name != "ElasticMQ" {
		t.Errorf("Find: got %q and error %v, want ElasticMQ", e.Name, err)
	}
	if _, err := launch.Find("goaws"); err == nil || !strings.Contains(err.Error(), "LocalStack") {
		t.Errorf("Find: got error %v, want one that lists the names", err)
	}
}
