package sealq_test

import (
	stdcmp "cmp"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/middleware"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/lambdax"
)

// The tests of this file hold what the documents say to the code. Each fails if
// it finds nothing to look at.

// documents returns the text of every document, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := make(map[string]string)
	for _, glob := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text := read(t, name)
			if strings.TrimSpace(text) == "" {
				t.Fatalf("%s is empty", name)
			}
			docs[filepath.ToSlash(name)] = text
		}
	}
	for _, name := range []string{"README.md", "docs/format.md", "docs/migration.md", "docs/operations.md", "docs/options.md", "docs/security.md"} {
		if docs[name] == "" {
			t.Fatalf("%s is missing or empty", name)
		}
	}
	return docs
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goFiles returns the paths of the module's Go files that keep accepts.
func goFiles(t *testing.T, keep func(name string) bool) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".go") && keep(filepath.ToSlash(name)):
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go file found")
	}
	return files
}

func parse(t *testing.T, name string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// literals returns the string literals of a file.
func literals(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	ast.Inspect(parse(t, name), func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				found = append(found, s)
			}
		}
		return true
	})
	return found
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// prose is a document without its code blocks.
func prose(text string) string { return fence.ReplaceAllString(text, "") }

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the names that GitHub gives to the headings of a document.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(prose(text), -1) {
		slug := strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		for n, base := 1, slug; found[slug]; n++ {
			slug = base + "-" + strconv.Itoa(n)
		}
		found[slug] = true
	}
	return found
}

func TestDocLinksResolve(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	links := 0
	for name, text := range docs {
		for _, m := range link.FindAllStringSubmatch(prose(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
				continue
			}
			if anchor != "" && !anchors(read(t, filepath.FromSlash(target)))[anchor] {
				t.Errorf("%s links to %s: %s has no such heading", name, m[1], target)
			}
		}
	}
	if links == 0 {
		t.Error("no relative link found")
	}
}

var testName = regexp.MustCompile(`\b(?:Test|Example|Fuzz|Benchmark)[A-Z_]\w*\b`)

// testFunctions returns the names of the functions in the test files of all
// modules.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	exists := make(map[string]bool)
	for _, name := range goFiles(t, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		for _, decl := range parse(t, name).Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				exists[f.Name.Name] = true
			}
		}
	}
	return exists
}

func TestDocsCiteTestsThatExist(t *testing.T) {
	t.Parallel()
	exists := testFunctions(t)
	cited := 0
	for name, text := range documents(t) {
		for _, test := range testName.FindAllString(text, -1) {
			if cited++; !exists[test] {
				t.Errorf("%s cites %s, which does not exist", name, test)
			}
		}
	}
	if cited == 0 {
		t.Error("no test is cited")
	}
}

// TestSectionsNameTheirTests: each section of what people rely on says which
// test shows it, or that none does.
func TestSectionsNameTheirTests(t *testing.T) {
	t.Parallel()
	exists := testFunctions(t)
	for _, name := range []string{"docs/security.md", "docs/operations.md", "docs/branch-keys.md", "docs/lambda.md", "docs/sns.md"} {
		sections := strings.Split(prose(read(t, name)), "\n## ")[1:]
		for _, section := range sections {
			title, text, _ := strings.Cut(section, "\n")
			named := slices.ContainsFunc(testName.FindAllString(text, -1), func(test string) bool { return exists[test] })
			if !named && !strings.Contains(text, "Not tested:") {
				t.Errorf("%s: section %q names no test, and does not say \"Not tested:\"", name, title)
			}
		}
		if len(sections) < 5 {
			t.Errorf("%s has %d sections: the test looks in the wrong place", name, len(sections))
		}
	}
}

// firstColumn returns the first cell of each row of the table that follows
// marker, without backquotes.
func firstColumn(t *testing.T, text, marker string) []string {
	t.Helper()
	_, rest, found := strings.Cut(text, marker)
	if !found {
		t.Fatalf("%q not found", marker)
	}
	var cells []string
	for line := range strings.Lines(rest) {
		switch {
		case strings.HasPrefix(line, "|"):
			cells = append(cells, strings.Trim(strings.TrimSpace(strings.Split(line, "|")[1]), "`"))
		case len(cells) > 0:
			return cells[min(2, len(cells)):] // without the heading and the rule
		}
	}
	return cells[min(2, len(cells)):]
}

func sameSet(t *testing.T, what string, documented, inCode []string) {
	t.Helper()
	if len(inCode) == 0 {
		t.Errorf("%s: nothing found in the code", what)
	}
	slices.Sort(documented)
	slices.Sort(inCode)
	if diff := cmp.Diff(slices.Compact(inCode), documented); diff != "" {
		t.Errorf("%s: the code (-) and the documents (+) differ:\n%s", what, diff)
	}
}

// TestOptionTables compares the tables of docs/options.md with the structs.
func TestOptionTables(t *testing.T) {
	t.Parallel()
	options := read(t, "docs/options.md")
	for marker, structure := range map[string]reflect.Type{
		"`sqsx.Options`:":       reflect.TypeFor[sqsx.Options](),
		"`sqsx.KeyStore`:":      reflect.TypeFor[sqsx.KeyStore](),
		"`sqsx.Policy`, for":    reflect.TypeFor[sqsx.Policy](),
		"`cache.Options`:":      reflect.TypeFor[cache.Options](),
		"`kmskeyring.Options`:": reflect.TypeFor[kmskeyring.Options](),
	} {
		sameSet(t, marker, firstColumn(t, options, marker), fields(structure))
	}
	const lambda = "`lambdax.Options`:"
	sameSet(t, lambda, firstColumn(t, read(t, "docs/lambda.md"), lambda), fields(reflect.TypeFor[lambdax.Options]()))
}

// fields returns the exported fields of a struct.
func fields(structure reflect.Type) []string {
	var found []string
	for _, field := range reflect.VisibleFields(structure) {
		if field.IsExported() {
			found = append(found, field.Name)
		}
	}
	return found
}

var environmentName = regexp.MustCompile(`\bSEALQ_[A-Z_]+\b`)

// environmentVariables returns those that sqsx/env.go reads.
func environmentVariables(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, s := range literals(t, "sqsx/env.go") {
		if environmentName.FindString(s) == s && s != "" {
			found = append(found, s)
		}
	}
	return found
}

func TestEnvironmentTable(t *testing.T) {
	t.Parallel()
	inCode := environmentVariables(t)
	docs := documents(t)
	sameSet(t, "environment variables", firstColumn(t, docs["docs/operations.md"], "## Settings from the environment"), inCode)
	for name, text := range docs {
		for _, variable := range environmentName.FindAllString(text, -1) {
			if !slices.Contains(inCode, variable) {
				t.Errorf("%s names %s, which sqsx/env.go does not have", name, variable)
			}
		}
	}
}

// settingName is a field as people are told of it: "Options.Cache",
// "kmskeyring.Options.DecryptKeys", "Options.Cache.MaxStale", "Policy.NoSeal",
// "o.Region". What follows another word with a dot, such as a package's name,
// is part of it.
var settingName = regexp.MustCompile(`\b(?:([a-z]\w*)\.)?(Options|StoreOptions|Policy|o|co|ko)\.([A-Za-z]\w*(?:\.[A-Z]\w*)*)`)

// settings are the structs that such a name may mean, by package.
func settings() map[string]map[string]reflect.Type {
	return map[string]map[string]reflect.Type{
		"Options": {
			"sqsx":       reflect.TypeFor[sqsx.Options](),
			"lambdax":    reflect.TypeFor[lambdax.Options](),
			"cache":      reflect.TypeFor[cache.Options](),
			"kmskeyring": reflect.TypeFor[kmskeyring.Options](),
			"branchkey":  reflect.TypeFor[branchkey.Options](),
			"middleware": reflect.TypeFor[middleware.Options](),
			"sqs":        reflect.TypeFor[sqs.Options](),
			"kms":        reflect.TypeFor[kms.Options](),
		},
		"StoreOptions": {"branchkey": reflect.TypeFor[branchkey.StoreOptions]()},
		"Policy":       {"sqsx": reflect.TypeFor[sqsx.Policy]()},
	}
}

// hasSetting reports whether a name means a field that exists. Without a
// package it is one of the package where it is written or, in all other places,
// of sqsx, or of the only package that has such a struct; "o" may be the
// options of any.
func hasSetting(where, pkg, structure, field string) bool {
	structs := settings()[structure]
	if structs == nil { // o, co, ko
		for _, kind := range []string{"Options", "StoreOptions"} {
			for _, typ := range settings()[kind] {
				if hasField(typ, field) {
					return true
				}
			}
		}
		return false
	}
	typ := structs[stdcmp.Or(pkg, where)]
	if typ == nil {
		typ = structs["sqsx"]
	}
	if typ == nil && pkg == "" {
		for _, only := range structs {
			typ = only
		}
	}
	return typ != nil && hasField(typ, field)
}

// hasField follows a path of fields, "KMSKeyring.DecryptKeys", as far as they
// are structs.
func hasField(typ reflect.Type, path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if typ.Kind() != reflect.Struct {
			break
		}
		field, ok := typ.FieldByName(name)
		if !ok {
			return false
		}
		typ = field.Type
	}
	return true
}

// TestSettingsThatAreNamedExist: each setting that an error, a log line or a
// document sends people to is there.
func TestSettingsThatAreNamedExist(t *testing.T) {
	t.Parallel()
	variables := environmentVariables(t)
	named := make(map[string]int)
	look := func(kind, file, where, text string) {
		for _, m := range settingName.FindAllStringSubmatch(text, -1) {
			named[kind]++
			if !hasSetting(where, m[1], m[2], m[3]) {
				t.Errorf("%s names %s, which is no field", file, m[0])
			}
		}
	}
	for _, name := range goFiles(t, func(name string) bool {
		return !strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(name, "integration/")
	}) {
		where := path.Base(path.Dir(filepath.ToSlash(name)))
		for _, s := range literals(t, name) {
			look("strings", name, where, s)
			for _, variable := range environmentName.FindAllString(s, -1) {
				if named["variables"]++; !slices.Contains(variables, variable) {
					t.Errorf("%s names %s, which sqsx/env.go does not have", name, variable)
				}
			}
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range file.Comments {
			look("comments", name, where, c.Text())
		}
	}
	for name, text := range documents(t) {
		look("documents", name, "sqsx", text)
	}
	for kind, least := range map[string]int{"strings": 20, "comments": 20, "documents": 50, "variables": 15} {
		if named[kind] < least {
			t.Errorf("found %d settings named in %s, want at least %d: the test looks in the wrong place", named[kind], kind, least)
		}
	}
}

var (
	numberedItem  = regexp.MustCompile(`(?m)^ *(\d)\. (.+\n(?: {3,}.+\n)*)`)
	errorVariable = regexp.MustCompile(`\bErr[A-Z]\w+`)
)

// TestErrorClasses compares the two lists of the order in which a program tests
// the error of a message, and holds that they name every such error.
func TestErrorClasses(t *testing.T) {
	t.Parallel()
	inCode, documented := make(map[string][]string), make(map[string][]string)
	named := make(map[string]bool)
	add := func(to map[string][]string, number, text string) {
		for _, name := range errorVariable.FindAllString(text, -1) {
			to[number] = append(to[number], name)
			named[name] = true
		}
		slices.Sort(to[number])
	}
	var everyError []string
	for _, name := range goFiles(t, func(name string) bool {
		return path.Dir(filepath.ToSlash(name)) == "sqsx" && !strings.HasSuffix(name, "_test.go")
	}) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok || general.Tok != token.VAR {
				continue
			}
			for _, spec := range general.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					if errorVariable.MatchString(id.Name) {
						everyError = append(everyError, id.Name)
					}
				}
			}
			if strings.HasPrefix(general.Doc.Text(), "The classes of an error") {
				for _, m := range numberedItem.FindAllStringSubmatch(general.Doc.Text(), -1) {
					add(inCode, m[1], m[2])
				}
			}
		}
	}
	for _, row := range tableRows(t, read(t, "docs/operations.md"), "Why a message does not open.") {
		add(documented, row[0], row[1])
	}
	if len(inCode) != 3 {
		t.Errorf("found %d classes in sqsx/errors.go that name an error, want 3", len(inCode))
	}
	if diff := cmp.Diff(inCode, documented); diff != "" {
		t.Errorf("the order in sqsx/errors.go (-) and in docs/operations.md (+) differ:\n%s", diff)
	}
	for _, name := range everyError {
		// Those that no message causes.
		if slices.Contains([]string{"ErrUninitialized", "ErrBypassed", "ErrInstalledTwice"}, name) {
			continue
		}
		if !named[name] {
			t.Errorf("sqsx.%s is in neither list", name)
		}
	}
}

// TestLogTable compares the table of log lines with the diagnoses in the code.
func TestLogTable(t *testing.T) {
	t.Parallel()
	var inCode []string
	ast.Inspect(parse(t, "sqsx/report.go"), func(n ast.Node) bool {
		f, ok := n.(*ast.FuncDecl)
		if !ok || f.Name.Name != "diagnose" {
			return true
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) == 2 {
				if lit, ok := r.Results[0].(*ast.BasicLit); ok {
					s, _ := strconv.Unquote(lit.Value)
					inCode = append(inCode, s)
				}
			}
			return true
		})
		return false
	})
	sameSet(t, "log lines", firstColumn(t, read(t, "docs/operations.md"), "## Log lines"), inCode)
}

// TestLogLinesAreDocumented: an operator who sees a line that no diagnosis
// belongs to finds its text in a page, up to the first colon or comma. What
// gives up protection is in the page of those who audit, too.
func TestLogLinesAreDocumented(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	lines, warnings := 0, 0
	want := func(page, line string) {
		lines++
		text, _, _ := strings.Cut(strings.TrimPrefix(line, "sealq: "), ":")
		text, _, _ = strings.Cut(text, ",")
		if !strings.Contains(strings.Join(strings.Fields(docs[page]), " "), "`sealq: "+text) {
			t.Errorf("%s does not have the log line %q", page, line)
		}
	}
	for _, name := range goFiles(t, func(name string) bool {
		return strings.HasPrefix(name, "sqsx/") && !strings.HasPrefix(name, "sqsx/sqsxtest/") && !strings.HasSuffix(name, "_test.go")
	}) {
		page := "docs/operations.md"
		if strings.HasPrefix(name, "sqsx/lambdax/") {
			page = "docs/lambda.md"
		}
		ast.Inspect(parse(t, name), func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch method.Sel.Name {
			case "denied":
				want(page, "sealq: "+unquote(call.Args[1])+": permission missing")
			case "LogAttrs", "WarnContext", "ErrorContext":
				for _, arg := range call.Args {
					if sum, ok := arg.(*ast.BinaryExpr); ok {
						arg = sum.X // the line goes on with a diagnosis
					}
					if line := unquote(arg); strings.HasPrefix(line, "sealq: ") && line != "sealq: " {
						want(page, line)
					}
				}
			}
			return true
		})
	}

	variables := make(map[string]string) // by the name of the constant
	ast.Inspect(parse(t, "sqsx/env.go"), func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if len(n.Values) == 1 {
				variables[n.Names[0].Name] = unquote(n.Values[0])
			}
		case *ast.CompositeLit:
			if len(n.Elts) != 3 {
				return true
			}
			variable, ok := n.Elts[0].(*ast.Ident)
			warning := unquote(n.Elts[2])
			if !ok || warning == "" {
				return true
			}
			warnings++
			want("docs/operations.md", "sealq: "+warning)
			for page, section := range map[string]string{
				"docs/operations.md": "**Variables that give up protection are logged**",
				"docs/adoption.md":   "Who can switch it off unnoticed?",
			} {
				_, text, _ := strings.Cut(docs[page], section)
				text, _, _ = strings.Cut(text, "Settings in code are not logged")
				text, _, _ = strings.Cut(text, "\n\n")
				if !strings.Contains(text, "`"+variables[variable.Name]+"`") {
					t.Errorf("%s, %s: %s is not named, which gives up protection", page, section, variables[variable.Name])
				}
			}
		}
		return true
	})
	if lines < 12 || warnings < 4 {
		t.Errorf("found %d log lines and %d warnings in the code, want at least 12 and 4: the test looks in the wrong place", lines, warnings)
	}
}

// unquote returns the value of a string literal, and "" for anything else.
func unquote(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}

var (
	synchronous  = regexp.MustCompile(`\{"(sealq\.[a-z_.]+)", "[^"]*", \[\]\*counter\{([^}]*)\}\}`)
	asynchronous = regexp.MustCompile(`\{"(sealq\.[a-z_.]+)", "[^"]*", func\(s cache\.Stats\) uint64 \{ return s\.(\w+) \}\}`)
	statsField   = regexp.MustCompile(`(\w+): +(c\.[\w\[\]]+)\.n\.Load\(\)`)
)

// TestMetricsTable compares the table of metrics with the code, row by row: the
// instrument, its properties, and the fields of Stats that count the same.
func TestMetricsTable(t *testing.T) {
	t.Parallel()
	code := read(t, "sqsx/counters.go")
	fieldOf := make(map[string]string) // by the variable that counts
	for _, m := range statsField.FindAllStringSubmatch(code, -1) {
		fieldOf[m[2]] = m[1]
	}
	inCode := make(map[string]string)
	for _, m := range synchronous.FindAllStringSubmatch(code, -1) {
		var names []string
		for variable := range strings.SplitSeq(m[2], ", ") {
			names = append(names, "`"+fieldOf[strings.TrimPrefix(variable, "&")]+"`")
		}
		properties := "`queue`"
		if len(names) > 1 {
			properties += ", `cause`: `message`, `unavailable`, `refused`"
		}
		inCode["`"+m[1]+"`"] = properties + " | " + strings.Join(names, ", ")
	}
	for _, m := range asynchronous.FindAllStringSubmatch(code, -1) {
		inCode["`"+m[1]+"`"] = " | `Cache." + m[2] + "`"
	}
	if all := strings.Count(code, `{"sealq.`); len(inCode) != all || all == 0 {
		t.Errorf("read %d instruments of sqsx/counters.go, want %d", len(inCode), all)
	}
	documented := make(map[string]string)
	operations := read(t, "docs/operations.md")
	for _, row := range tableRows(t, operations, "## Metrics and spans") {
		documented[row[0]] = row[2] + " | " + row[3]
	}
	if diff := cmp.Diff(inCode, documented); diff != "" {
		t.Errorf("the code (-) and the table of metrics (+) differ:\n%s", diff)
	}

	// Counts that are no instrument are in the text.
	_, section, _ := strings.Cut(operations, "## Metrics and spans")
	section, _, _ = strings.Cut(section, "\n## ")
	counts := slices.DeleteFunc(fields(reflect.TypeFor[sqsx.Stats]()), func(name string) bool { return name == "Cache" })
	for _, name := range fields(reflect.TypeFor[cache.Stats]()) {
		if !strings.HasSuffix(name, "Entries") { // not a count
			counts = append(counts, "Cache."+name)
		}
	}
	for _, name := range counts {
		if !strings.Contains(section, "`"+name+"`") {
			t.Errorf("the section on metrics does not name Stats.%s", name)
		}
	}
}

// tableRows returns the cells of the rows of the table that follows marker,
// without its heading.
func tableRows(t *testing.T, text, marker string) [][]string {
	t.Helper()
	_, rest, found := strings.Cut(text, marker)
	if !found {
		t.Fatalf("%q not found", marker)
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		line, isRow := strings.CutPrefix(strings.TrimSpace(line), "|")
		if !isRow && len(rows) > 0 {
			break
		}
		if isRow {
			cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) < 3 {
		t.Fatalf("no table after %q", marker)
	}
	return rows[2:]
}

// TestComparisons: docs/comparison.md has every row of the README's comparison,
// under the same name, with cells that begin as the README's do.
func TestComparisons(t *testing.T) {
	t.Parallel()
	// Links differ by the folder that a page is in.
	rows := func(text, marker string) [][]string {
		return tableRows(t, regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(text, "$1"), marker)
	}
	full := make(map[string][]string)
	for _, row := range rows(read(t, "docs/comparison.md"), "# Comparison") {
		full[row[0]] = row
	}
	for _, row := range rows(read(t, "README.md"), "## Compared with") {
		for i, cell := range row {
			if got := full[row[0]]; i >= len(got) || !strings.HasPrefix(got[i], cell) {
				t.Errorf("docs/comparison.md has %q in the row %q, want one that begins %q, as in README.md", got, row[0], cell)
			}
		}
	}
}

// TestDollars computes the dollars of docs/cost.md from its calls of KMS, and
// looks for those of other documents among them.
func TestDollars(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	cost := docs["docs/cost.md"]
	const (
		perRequest = 0.03 / 10_000           // dollars for a request to KMS
		perItem    = 0.5 * 0.125 / 1_000_000 // for a GetItem, eventually consistent, of up to 4 KB
	)
	dollars := func(calls string, each float64) string {
		n, err := strconv.ParseFloat(strings.ReplaceAll(calls, ",", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		return "$" + strconv.FormatFloat(n*each, 'f', 2, 64)
	}
	var want [][]string
	add := func(queues string, row ...string) {
		want = append(want, []string{
			row[0], row[1], queues, row[2], row[3],
			dollars(row[6], perRequest), dollars(row[8], perRequest+perItem), dollars(row[10], perRequest), dollars(row[11], perRequest),
		})
	}
	for _, row := range tableRows(t, cost, "<!-- table: begin -->") {
		add("1", row...)
	}
	for _, row := range tableRows(t, cost, "<!-- queues: begin -->") {
		if queues, rotated := row[2], row[3]; rotated == "—" {
			add(queues, slices.Delete(row, 2, 4)...)
		}
	}
	if diff := cmp.Diff(want, tableRows(t, cost, "## In dollars")); diff != "" {
		t.Errorf("docs/cost.md: the dollars that follow from its calls (-) and those that it says (+) differ:\n%s", diff)
	}
	said := 0
	for _, name := range []string{"README.md", "docs/adoption.md"} {
		for _, amount := range regexp.MustCompile(`\$\d+\.\d\d`).FindAllString(docs[name], -1) {
			if said++; !strings.Contains(cost, " "+amount+" ") {
				t.Errorf("%s says %s, which docs/cost.md does not", name, amount)
			}
		}
	}
	if said < 4 {
		t.Errorf("found %d amounts in other documents, want at least 4", said)
	}
}

// TestModulesCompiledIn compares the list of docs/adoption.md with what a
// service compiles in with package sqsx.
func TestModulesCompiledIn(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./sqsx").Output()
	if err != nil {
		t.Fatal(err)
	}
	inCode := slices.DeleteFunc(strings.Fields(string(out)), func(path string) bool { return path == module })
	_, section, _ := strings.Cut(read(t, "docs/adoption.md"), "<!-- modules: begin -->")
	section, _, _ = strings.Cut(section, "<!-- modules: end -->")
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^- `([^`]+)`$").FindAllStringSubmatch(section, -1) {
		documented = append(documented, m[1])
	}
	sameSet(t, "modules", documented, inCode)
}

// TestDocCodeIsTested looks for every Go block of the documents in the examples
// that tests compile and run.
func TestDocCodeIsTested(t *testing.T) {
	t.Parallel()
	var tested []string
	for _, name := range goFiles(t, func(name string) bool {
		return strings.HasPrefix(name, "examples/") || strings.HasSuffix(name, "example_test.go")
	}) {
		tested = append(tested, unindented(read(t, name)))
	}
	blocks := 0
	for name, text := range documents(t) {
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			if m[1] != "go" {
				continue
			}
			blocks++
			code := unindented(m[2])
			if !slices.ContainsFunc(tested, func(file string) bool { return strings.Contains(file, "\n"+code) }) {
				t.Errorf("%s: this code is in no example:\n%s", name, m[2])
			}
		}
	}
	if blocks == 0 {
		t.Error("no Go block found")
	}
}

// TestReadmeCodeIsSafeToCopy: what stands in the README is copied by people who
// read nothing else.
func TestReadmeCodeIsSafeToCopy(t *testing.T) {
	t.Parallel()
	weaker := []string{"AcceptPlaintext", "NoSeal", "NoBinding", "Unlimited", "Discovery"}
	for _, field := range weaker[:3] {
		if _, ok := reflect.TypeFor[sqsx.Policy]().FieldByName(field); !ok {
			t.Errorf("Policy has no field %s", field)
		}
	}
	blocks := 0
	for _, m := range fence.FindAllStringSubmatch(read(t, "README.md"), -1) {
		if m[1] != "go" {
			continue
		}
		blocks++
		for _, setting := range weaker {
			if strings.Contains(m[2], setting) {
				t.Errorf("this code gives up protection by %s:\n%s", setting, m[2])
			}
		}
	}
	if blocks == 0 {
		t.Error("no Go block found")
	}
}

func unindented(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// TestPoliciesAreJSON parses the IAM and key policies of the documents.
func TestPoliciesAreJSON(t *testing.T) {
	t.Parallel()
	actions := make(map[string]bool)
	text := read(t, "docs/operations.md") + read(t, "docs/branch-keys.md") + read(t, "docs/lambda.md") + read(t, "docs/sns.md")
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] != "json" {
			continue
		}
		var policy struct {
			Version   string
			Statement []struct {
				Sid, Effect string
				Action      any
			}
		}
		if err := json.Unmarshal([]byte(m[2]), &policy); err != nil {
			t.Errorf("%v in:\n%s", err, m[2])
		}
		for _, s := range policy.Statement {
			switch a := s.Action.(type) {
			case string:
				actions[a] = true
			case []any:
				for _, one := range a {
					actions[one.(string)] = true
				}
			default:
				t.Errorf("statement %q has no action", s.Sid)
			}
		}
	}
	for _, want := range []string{
		"kms:GenerateDataKey", "kms:Decrypt", "kms:DescribeKey", "sqs:SendMessage", "sqs:ReceiveMessage",
		"dynamodb:GetItem", "dynamodb:PutItem", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo",
	} {
		if !actions[want] {
			t.Errorf("no policy grants %s, got %v", want, slices.Sorted(maps.Keys(actions)))
		}
	}
}

// TestExportedIsDocumented wants a comment on everything exported by the
// packages that users import, fields of structs included.
func TestExportedIsDocumented(t *testing.T) {
	t.Parallel()
	seen := 0
	check := func(name, what string, documented bool) {
		if seen++; !documented {
			t.Errorf("%s: %s has no comment", name, what)
		}
	}
	library := func(name string) bool {
		return !strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(name, "examples/") && !strings.HasPrefix(name, "integration/")
	}
	for _, name := range goFiles(t, library) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiverName(d))) {
					check(name, d.Name.Name, d.Doc != nil)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.IsExported() {
								check(name, n.Name, s.Doc != nil || s.Comment != nil || d.Doc != nil)
							}
						}
					case *ast.TypeSpec:
						if !s.Name.IsExported() {
							continue
						}
						check(name, s.Name.Name, s.Doc != nil || d.Doc != nil)
						for _, field := range members(s.Type) {
							for _, n := range field.Names {
								if n.IsExported() {
									check(name, s.Name.Name+"."+n.Name, field.Doc != nil || field.Comment != nil)
								}
							}
						}
					}
				}
			}
		}
	}
	if seen == 0 {
		t.Error("nothing exported was found")
	}
}

// receiverName is the name of the type that a method belongs to.
func receiverName(f *ast.FuncDecl) string {
	typ := f.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// members are the fields of a struct, or the methods of an interface.
func members(typ ast.Expr) []*ast.Field {
	switch x := typ.(type) {
	case *ast.StructType:
		return x.Fields.List
	case *ast.InterfaceType:
		return x.Methods.List
	}
	return nil
}
