package sealq_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestConstructorsHaveExamples: each function that go doc lists below a type,
// as a way to get one, has an example of its own that runs.
func TestConstructorsHaveExamples(t *testing.T) {
	t.Parallel()
	constructors := 0
	for dir := range imports(t) {
		if dir == "." || strings.HasPrefix(dir, "examples/") || strings.Contains("/"+dir+"/", "/internal/") {
			continue
		}
		for _, typ := range documentation(t, dir).Types {
			for _, constructor := range typ.Funcs {
				constructors++
				runs := false
				for _, example := range constructor.Examples {
					runs = runs || example.Output != "" || example.EmptyOutput
				}
				if !runs {
					t.Errorf("%s.%s has no Example%s that runs", filepath.Base(dir), constructor.Name, constructor.Name)
				}
			}
		}
	}
	if constructors < 15 {
		t.Errorf("found %d constructors, want at least 15: the test looks in the wrong place", constructors)
	}
}

// documentation is what go doc knows of a package, with its examples.
func documentation(t *testing.T, dir string) *doc.Package {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(fset, files, module+"/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}
