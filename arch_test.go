package sealq_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sealq/sealq"

// imports lists what the non-test files of each package import, by directory.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != "." || strings.HasPrefix(d.Name(), ".") && name != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		all[dir] = slices.Grow(all[dir], 1)
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if !slices.Contains(all[dir], p) {
				all[dir] = append(all[dir], p)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestArrows holds who may import whom. What a package may import of this
// module, and of others, is listed; the standard library is free to all.
func TestArrows(t *testing.T) {
	t.Parallel()
	const sdk, smithy = "github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go"
	allowed := map[string][]string{
		".":                     {},
		"envelope":              {},
		"envelope/branchkey":    {module + "/envelope", module + "/envelope/kmskeyring", module + "/cache", module + "/internal/awscall", module + "/internal/awsname", module + "/internal/budget", module + "/internal/contain", module + "/internal/keyerr", module + "/internal/keytrace", module + "/internal/optfn", sdk, smithy},
		"envelope/envelopetest": {module + "/envelope"},
		"envelope/kmskeyring":   {module + "/envelope", module + "/internal/awscall", module + "/internal/awsname", module + "/internal/backoff", module + "/internal/budget", module + "/internal/clock", module + "/internal/contain", module + "/internal/keyerr", module + "/internal/keytrace", module + "/internal/optfn", sdk, smithy},
		"cache":                 {module + "/envelope", module + "/internal/backoff", module + "/internal/clock", module + "/internal/contain", module + "/internal/keyerr", module + "/internal/keytrace", module + "/internal/optfn"},
		"internal/awscall":      {module + "/internal/keyerr", sdk, smithy},
		"internal/awsname":      {},
		"internal/backoff":      {},
		"internal/budget":       {},
		"internal/clock":        {},
		"internal/contain":      {module + "/envelope"},
		"internal/fifo":         {sdk},
		"internal/keyerr":       {},
		"internal/keytrace":     {},
		"internal/optfn":        {},
		"internal/outgoing":     {sdk},
		"middleware":            {module + "/internal/awsname", module + "/internal/fifo", module + "/internal/optfn", module + "/internal/outgoing", sdk, smithy},
		"sqsx":                  {module + "/envelope", module + "/envelope/branchkey", module + "/envelope/kmskeyring", module + "/cache", module + "/middleware", module + "/internal/awsname", module + "/internal/fifo", module + "/internal/keyerr", module + "/internal/keytrace", module + "/internal/optfn", module + "/internal/outgoing", module + "/sqsx/internal/content", module + "/sqsx/internal/hold", sdk, smithy},
		"sqsx/internal/content": {module + "/envelope"},
		"sqsx/internal/hold":    {module + "/envelope", module + "/internal/backoff", module + "/internal/contain"},
		"sqsx/lambdax":          {module + "/sqsx", module + "/internal/awsname", module + "/internal/optfn", sdk, smithy},
		"sqsx/snsx":             {module + "/internal/awsname", module + "/internal/outgoing", module + "/sqsx", sdk, smithy},
		"sqsx/sqsxtest":         {sdk, smithy},
	}
	seen := imports(t)
	for dir, list := range seen {
		if strings.HasPrefix(dir, "examples/") {
			continue
		}
		rules, known := allowed[dir]
		if !known {
			t.Errorf("package %s is not in the list: say here what it may import", dir)
		}
		for _, imported := range list {
			standard := !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
			ok := standard || slices.ContainsFunc(rules, func(rule string) bool {
				if strings.HasPrefix(rule, module) {
					return imported == rule
				}
				return imported == rule || strings.HasPrefix(imported, rule+"/")
			})
			if !ok {
				t.Errorf("%s imports %s, which its place in the architecture does not allow", path.Join(module, dir), imported)
			}
		}
	}
	for dir := range allowed {
		if dir != "." && len(seen[dir]) == 0 {
			t.Errorf("no imports found in %s: has it moved?", dir)
		}
	}
}

// TestWhatUsersCompileIn: the clients of services that only some programs use
// are in the go.mod of this module, and in no binary of a program that uses
// sqsx.
func TestWhatUsersCompileIn(t *testing.T) {
	t.Parallel()
	const service = "github.com/aws/aws-sdk-go-v2/service/"
	deps := func(pkg string) []string {
		out, err := exec.Command("go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", pkg, err)
		}
		return strings.Fields(string(out))
	}
	for pkg, clients := range map[string][]string{
		"./sqsx":                {"dynamodb", "kms", "sqs"}, // a key store is a table
		"./sqsx/sqsxtest":       {"kms", "sqs"},
		"./envelope/kmskeyring": {"kms"},
	} {
		for _, dep := range deps(pkg) {
			client, ok := strings.CutPrefix(dep, service)
			client, _, _ = strings.Cut(client, "/")
			if ok && client != "internal" && !slices.Contains(clients, client) {
				t.Errorf("%s compiles in %s", pkg, dep)
			}
		}
	}
	if !slices.Contains(deps("./sqsx/snsx"), service+"sns") {
		t.Errorf("./sqsx/snsx does not compile in %ssns: the test looks in the wrong place", service)
	}
}
