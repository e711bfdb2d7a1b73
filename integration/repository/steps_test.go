package repository

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// command runs a program in dir and returns what it prints. A failure of it is
// err.
func command(t *testing.T, dir string, env []string, name string, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// repo is a clone whose commits and tags are the test's own.
type repo struct {
	t   *testing.T
	dir string
}

// newRepo clones the checked-out commit, without its tags, and commits the
// scripts as they are now.
func newRepo(t *testing.T) *repo {
	t.Helper()
	from, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	r := &repo{t, filepath.Join(t.TempDir(), "sealq")}
	if out, err := command(t, ".", nil, "git", "clone", "--quiet", "--no-tags", "--no-hardlinks", from, r.dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, script := range []string{".ci/run", ".ci/release-notes"} {
		r.write(script, read(t, script))
	}
	r.commit("scripts as they are now")
	return r
}

func (r *repo) git(args ...string) {
	r.t.Helper()
	args = append([]string{"-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)
	if out, err := command(r.t, r.dir, nil, "git", args...); err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

func (r *repo) write(name, text string) {
	r.t.Helper()
	name = filepath.Join(r.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repo) commit(message string) {
	r.t.Helper()
	r.git("add", "--all")
	r.git("commit", "--quiet", "--allow-empty", "--message", message)
}

// step runs one step of .ci/run.
func (r *repo) step(name string) (string, error) {
	r.t.Helper()
	return command(r.t, r.dir, nil, "bash", ".ci/run", name)
}

// TestReleaseStep: the check passes without a release, and from the first one
// on it fails for an API that the version does not allow, and without notes.
func TestReleaseStep(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	out, err := r.step("release")
	if err != nil || !strings.Contains(out, "no release is tagged") {
		t.Fatalf("without a tag: got %v, want success and a word: %s", err, out)
	}

	r.git("tag", "v1.0.0")
	out, err = r.step("release")
	if err == nil || !strings.Contains(out, "CHANGELOG.md has no section") {
		t.Fatalf("without notes: got %v, want a failure that names CHANGELOG.md: %s", err, out)
	}

	changelog := read(t, "CHANGELOG.md")
	r.write("CHANGELOG.md", strings.Replace(changelog, "## Unreleased", "## v1.1.0 - 2026-01-01", 1))
	r.write("envelope/later.go", "package envelope\n\n// Later is new.\nfunc Later() {}\n")
	r.commit("a second release")
	r.git("tag", "--delete", "v1.0.0")
	r.git("tag", "v1.0.0", "HEAD^")
	r.git("tag", "v1.1.0")
	out, err = r.step("release")
	if err != nil || !strings.Contains(out, "against v1.0.0, as v1.1.0") || !strings.Contains(out, "Later: added") {
		t.Fatalf("a new function in v1.1.0: got %v, want success: %s", err, out)
	}

	r.git("rm", "--quiet", "envelope/later.go")
	r.commit("incompatible")
	out, err = r.step("release")
	if err == nil || !strings.Contains(out, "against v1.1.0, as the next version") || !strings.Contains(out, "Later: removed") {
		t.Fatalf("a function removed after v1.1.0: got %v, want a failure that names it: %s", err, out)
	}
}

func TestReleaseNotes(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n- c\n\n## v0.2.0 - 2026-02-01\n\n- b\n- b, too\n\n## v0.1.0 - 2026-01-01\n\n")
	out, err := command(t, r.dir, nil, "bash", ".ci/release-notes", "v0.2.0")
	if want := "\n- b\n- b, too\n"; err != nil || out != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	for _, version := range []string{"v0.1.0", "v0.3.0", "v0.2"} {
		if out, err := command(t, r.dir, nil, "bash", ".ci/release-notes", version); err == nil {
			t.Errorf("%s, which has no text: got %q, want a failure", version, out)
		}
	}
}

// TestVulnerabilitiesStep: a finding fails the check, and a database out of
// reach does so only where everything is required.
func TestVulnerabilitiesStep(t *testing.T) {
	t.Parallel()
	step := func(env ...string) (string, error) {
		t.Helper()
		return command(t, root, env, "bash", ".ci/run", "vulnerabilities")
	}

	out, err := step("SEALQTEST_VULNDB=file://" + filepath.ToSlash(vulnerableSDK(t)))
	if err == nil || !strings.Contains(out, "Your code is affected by 1 vulnerability") {
		t.Errorf("a vulnerability in the AWS SDK: got %v, want a failure that names it: %s", err, out)
	}

	// Nothing listens at the proxy.
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	unreachable := []string{"HTTPS_PROXY=" + server.URL, "NO_PROXY=", "no_proxy=", "SEALQTEST_VULNDB="}
	out, err = step(append(unreachable, "SEALQTEST_REQUIRE_ALL=")...)
	if err != nil || !strings.Contains(out, "skipped: the vulnerability database is out of reach") {
		t.Errorf("no database: got %v, want success and a word: %s", err, out)
	}
	out, err = step(append(unreachable, "SEALQTEST_REQUIRE_ALL=1")...)
	if err == nil || !strings.Contains(out, "fetching vulnerabilities") {
		t.Errorf("no database where it is required: got %v, want a failure: %s", err, out)
	}
}

// vulnerableSDK is a vulnerability database, in a folder, with one entry: all
// versions of the AWS SDK's SQS client.
func vulnerableSDK(t *testing.T) string {
	t.Helper()
	const path, id, modified = "github.com/aws/aws-sdk-go-v2/service/sqs", "GO-2000-0001", "2000-01-01T00:00:00Z"
	dir := t.TempDir()
	for name, content := range map[string]any{
		"index/db.json":      map[string]any{"modified": modified},
		"index/modules.json": []any{map[string]any{"path": path, "vulns": []any{map[string]any{"id": id, "modified": modified}}}},
		"ID/" + id + ".json": map[string]any{
			"schema_version": "1.3.1", "id": id, "modified": modified, "published": modified, "summary": "made up",
			"database_specific": map[string]any{"url": "https://example.com/" + id},
			"affected": []any{map[string]any{
				"package":            map[string]any{"name": path, "ecosystem": "Go"},
				"ranges":             []any{map[string]any{"type": "SEMVER", "events": []any{map[string]any{"introduced": "0"}}}},
				"ecosystem_specific": map[string]any{"imports": []any{map[string]any{"path": path}}},
			}},
		},
	} {
		b, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
