package repository

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// parse reads YAML. A key that target has no field for is an error, so that a
// typing error is one.
func parse(t *testing.T, name, text string, target any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(target); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// workflow is what these tests look at; actionlint checks the rest.
type workflow struct {
	Permissions *map[string]string
	Jobs        map[string]struct {
		Permissions    *map[string]string
		TimeoutMinutes int `yaml:"timeout-minutes"`
		Uses           string
		Steps          []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	all := make(map[string]workflow)
	for name, text := range tracked(t) {
		if strings.HasPrefix(name, ".github/workflows/") {
			var w workflow
			if err := yaml.Unmarshal([]byte(text), &w); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all[name] = w
		}
	}
	if len(all) == 0 {
		t.Fatal("no workflow found")
	}
	return all
}

// TestWorkflowsAreConfined: what a workflow runs of others is fixed to a
// commit, a token may read and no more unless it is listed here, and no secret
// is used.
func TestWorkflowsAreConfined(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`(?m)^ +- uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	mayWrite := map[string]string{".github/workflows/release.yml release contents": "write"}
	steps := 0
	for name, w := range workflows(t) {
		check := func(job string, permissions map[string]string) {
			for scope, access := range permissions {
				key := strings.Join(strings.Fields(name+" "+job+" "+scope), " ")
				if access != "read" && mayWrite[key] != access {
					t.Errorf("%s: job %q may %s %s", name, job, access, scope)
				}
			}
		}
		if w.Permissions == nil {
			t.Errorf("%s does not say what its token may do", name)
		} else {
			check("", *w.Permissions)
		}
		text := read(t, name)
		if strings.Contains(text, "secrets") {
			t.Errorf("%s uses a secret", name)
		}
		uses := 0
		for id, job := range w.Jobs {
			if job.Permissions != nil {
				check(id, *job.Permissions)
			}
			if job.Uses == "" && job.TimeoutMinutes == 0 {
				t.Errorf("%s: job %s has no timeout", name, id)
			}
			if job.Uses != "" && !strings.HasPrefix(job.Uses, "./") {
				t.Errorf("%s: job %s uses %s, want a workflow of this repository", name, id, job.Uses)
			}
			for _, step := range job.Steps {
				steps++
				if step.Uses != "" {
					uses++
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: job %s leaves the token in the checkout", name, id)
				}
			}
		}
		if got := len(pinned.FindAllString(text, -1)); got != uses {
			t.Errorf("%s: %d of %d actions are pinned by commit, with their version beside it", name, got, uses)
		}
	}
	if steps == 0 {
		t.Error("no step found")
	}
}

// TestWorkflowsSeeTags: the check of a release finds the last one only where
// the checkout has the tags.
func TestWorkflowsSeeTags(t *testing.T) {
	t.Parallel()
	runs := 0
	for name, w := range workflows(t) {
		for id, job := range w.Jobs {
			all := false
			for _, step := range job.Steps {
				if strings.HasPrefix(step.Uses, "actions/checkout@") {
					all = step.With["fetch-depth"] == 0
				}
				if strings.Contains(step.Run, ".ci/") {
					if runs++; !all {
						t.Errorf("%s: job %s runs %q without the tags", name, id, step.Run)
					}
				}
			}
		}
	}
	if runs == 0 {
		t.Error("no workflow runs .ci/run")
	}
}

// ecosystemOf is the name that Dependabot has for a manifest's kind, empty for
// all other files.
func ecosystemOf(name string) string {
	switch base := path.Base(name); {
	case base == "go.mod":
		return "gomod"
	case base == "package.json":
		return "npm"
	case base == "pom.xml":
		return "maven"
	case base == "Cargo.toml":
		return "cargo"
	case base == "docker-compose.yml":
		return "docker-compose"
	case base == "requirements.txt", strings.Contains(name, "/requirements/") && path.Ext(base) == ".txt":
		return "pip"
	case path.Dir(name) == ".github/workflows":
		return "github-actions"
	}
	return ""
}

// TestDependabotKnowsEveryManifest compares the folders of dependabot.yml with
// those that have a manifest.
func TestDependabotKnowsEveryManifest(t *testing.T) {
	t.Parallel()
	want := make(map[string][]string)
	for name := range tracked(t) {
		ecosystem := ecosystemOf(name)
		dir := path.Dir(name)
		if ecosystem == "github-actions" {
			dir = "." // Dependabot's rule
		}
		if ecosystem != "" {
			want[ecosystem] = append(want[ecosystem], strings.TrimSuffix("/"+dir, "."))
		}
	}
	var config struct {
		Version int
		Updates []struct {
			Ecosystem   string `yaml:"package-ecosystem"`
			Directory   string
			Directories []string
			Schedule    struct{ Interval string }
			Cooldown    struct {
				DefaultDays int `yaml:"default-days"`
			}
			Groups map[string]struct{ Patterns []string }
			Ignore []struct {
				Name string `yaml:"dependency-name"`
			}
		}
	}
	parse(t, "dependabot.yml", read(t, ".github/dependabot.yml"), &config)
	if config.Version != 2 {
		t.Errorf("got version %d, want 2", config.Version)
	}
	got := make(map[string][]string)
	for _, u := range config.Updates {
		if u.Directory != "" {
			u.Directories = append(u.Directories, u.Directory)
		}
		got[u.Ecosystem] = append(got[u.Ecosystem], u.Directories...)
	}
	for _, dirs := range []map[string][]string{want, got} {
		for ecosystem := range dirs {
			slices.Sort(dirs[ecosystem])
		}
	}
	for ecosystem := range want {
		want[ecosystem] = slices.Compact(want[ecosystem])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the manifests (-) and dependabot.yml (+) differ:\n%s", diff)
	}
}

// TestIssueForms: GitHub drops a form that breaks its rules without a word.
func TestIssueForms(t *testing.T) {
	t.Parallel()
	forms := 0
	for name, text := range tracked(t) {
		if path.Dir(name) != ".github/ISSUE_TEMPLATE" || path.Base(name) == "config.yml" {
			continue
		}
		forms++
		var form struct {
			Name, Description string
			Labels            []string
			Body              []struct {
				Type, ID    string
				Attributes  struct{ Label, Description, Value, Render string }
				Validations struct{ Required bool }
			}
		}
		parse(t, name, text, &form)
		if form.Name == "" || form.Description == "" {
			t.Errorf("%s has no name or no description", name)
		}
		ids := make(map[string]bool)
		for i, item := range form.Body {
			switch item.Type {
			case "markdown":
				if item.Attributes.Value == "" || item.ID != "" {
					t.Errorf("%s: item %d: got markdown without a value, or with an ID", name, i)
				}
			case "input", "textarea":
				if item.Attributes.Label == "" || item.ID == "" || ids[item.ID] {
					t.Errorf("%s: item %d: got label %q and ID %q, want both, and each ID once", name, i, item.Attributes.Label, item.ID)
				}
				ids[item.ID] = true
			default:
				t.Errorf("%s: item %d has type %q", name, i, item.Type)
			}
		}
		if len(ids) == 0 {
			t.Errorf("%s asks for nothing", name)
		}
	}
	if forms == 0 {
		t.Error("no form found")
	}
	var config struct {
		Blank bool                                `yaml:"blank_issues_enabled"`
		Links []struct{ Name, URL, About string } `yaml:"contact_links"`
	}
	parse(t, "config.yml", read(t, ".github/ISSUE_TEMPLATE/config.yml"), &config)
	if len(config.Links) != 1 || !strings.HasSuffix(config.Links[0].URL, "/security/advisories/new") {
		t.Errorf("got links %v, want one to the private report of vulnerabilities", config.Links)
	}
}
