package repository

import (
	"flag"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// width is that of prose, in documents and in comments, in characters. A tab
// counts as one.
const width = 80

var wrap = flag.String("wrap", "", "rewrite paragraphs wider than 80 columns in files whose name contains this")

// TestProseWidth checks the paragraphs of every document. Tables, code blocks,
// headings and what a program writes have the width that they need.
func TestProseWidth(t *testing.T) {
	t.Parallel()
	paragraphs := 0
	for name, text := range tracked(t) {
		if ext := filepath.Ext(name); ext != ".md" && ext != ".tmpl" {
			continue
		}
		narrow, n := wrapDocument(text)
		paragraphs += n
		compare(t, name, text, narrow)
	}
	if paragraphs < 500 {
		t.Errorf("got %d paragraphs, want at least 500: the test looks in the wrong place", paragraphs)
	}
}

// TestCommentWidth checks the comments of every Go file that stand on lines of
// their own. Directives and what go doc shows as code have the width that they
// need.
func TestCommentWidth(t *testing.T) {
	t.Parallel()
	comments := 0
	for name, text := range tracked(t) {
		if filepath.Ext(name) != ".go" {
			continue
		}
		narrow, n := wrapComments(t, name, text)
		comments += n
		compare(t, name, text, narrow)
	}
	if comments < 2000 {
		t.Errorf("got %d comments, want at least 2,000: the test looks in the wrong place", comments)
	}
}

// compare reports the lines of a file that are too wide, or with -wrap writes
// what wrapping them gives.
func compare(t *testing.T, name, text, narrow string) {
	t.Helper()
	if text == narrow {
		return
	}
	if *wrap != "" {
		if !strings.Contains(name, *wrap) {
			return
		}
		if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(name)), []byte(narrow), 0o644); err != nil {
			t.Error(err)
		}
		return
	}
	kept := strings.Split(narrow, "\n")
	for i, line := range strings.Split(text, "\n") {
		if utf8.RuneCountInString(line) > width && !slices.Contains(kept, line) {
			t.Errorf("%s:%d is wider than %d characters; \"go test -run Width -wrap %s .\" wraps it", name, i+1, width, name)
		}
	}
}

var (
	// atom is what no line break may divide: a word, with the code spans in it.
	atom = regexp.MustCompile("(?:`[^`]*`|[^\\s`]|`)+")
	// item is the start of a list item.
	item = regexp.MustCompile(`^\s*(?:[-*+]|\d+\.)\s+`)
	// notProse starts a line of a document that is left alone.
	notProse = regexp.MustCompile(`^\s*(?:\||#|!\[|\{\{|<!-- [\w ,./:]+ -->$)`)
	// startsBlock is a word that would start a block of Markdown or of a doc
	// comment if a line began with it.
	startsBlock   = regexp.MustCompile(`^(?:[-*+]|\d+[.)]|#+|>.*|\|.*)$`)
	exampleOutput = regexp.MustCompile(`(?i)^(?:unordered )?output:`)
	written       = regexp.MustCompile(`^<!-- written by .*: (begin|end) -->$`)
)

// wrapDocument returns a document with its wide paragraphs wrapped, and the
// number of its paragraphs.
func wrapDocument(text string) (string, int) {
	var out, paragraph []string
	paragraphs := 0
	end := func() {
		if len(paragraph) > 0 {
			paragraphs++
			out = append(out, fill(paragraph, "")...)
		}
		paragraph = nil
	}
	code, generated := false, false
	for line := range strings.SplitSeq(text, "\n") {
		marker := written.FindStringSubmatch(line)
		isFence := strings.HasPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence, code, marker != nil, generated, strings.TrimSpace(line) == "", notProse.MatchString(line):
			end()
			out = append(out, line)
		default:
			if item.MatchString(line) {
				end()
			}
			paragraph = append(paragraph, line)
		}
		if isFence {
			code = !code
		}
		if marker != nil {
			generated = marker[1] == "begin"
		}
	}
	end()
	return strings.Join(out, "\n"), paragraphs
}

// wrapComments returns a Go file with the wide paragraphs of its comments
// wrapped, and the number of its comment lines.
func wrapComments(t *testing.T, name, text string) (string, int) {
	t.Helper()
	lines := strings.Split(text, "\n")
	isComment := make([]bool, len(lines)+1)
	fset := token.NewFileSet()
	file := fset.AddFile(name, -1, len(text))
	var s scanner.Scanner
	s.Init(file, []byte(text), nil, scanner.ScanComments)
	comments := 0
	for pos, tok, lit := s.Scan(); tok != token.EOF; pos, tok, lit = s.Scan() {
		at := fset.Position(pos).Line - 1
		ownLine := strings.HasPrefix(strings.TrimSpace(lines[at]), "//")
		directive := strings.HasPrefix(lit, "//") && !strings.HasPrefix(lit, "// ") && lit != "//"
		if tok == token.COMMENT && ownLine && !directive {
			isComment[at] = true
			comments++
		}
	}

	var out, paragraph []string
	prefix := ""
	end := func() {
		if len(paragraph) > 0 {
			out = append(out, fill(paragraph, prefix)...)
		}
		paragraph = nil
	}
	listed := false // the paragraph is of a list, whose lines are indented
	output := false // what an example prints
	for i, line := range lines {
		indent, body, _ := strings.Cut(line, "//")
		body, isProse := strings.CutPrefix(body, " ")
		output = isComment[i] && (output || exampleOutput.MatchString(body))
		switch {
		case !isComment[i], !isProse, output, strings.HasPrefix(body, "#"), strings.HasPrefix(body, "\t"):
			end()
			listed = false
			out = append(out, line)
		default:
			if item.MatchString(body) {
				end()
				listed = strings.HasPrefix(body, " ")
			} else if strings.HasPrefix(body, " ") != listed {
				end()
				listed = false
			}
			prefix = indent + "// "
			paragraph = append(paragraph, body)
		}
	}
	end()
	result := strings.Join(out, "\n")
	if _, err := parser.ParseFile(token.NewFileSet(), name, result, parser.SkipObjectResolution); err != nil {
		t.Fatal(err)
	}
	return result, comments
}

// fill wraps a paragraph if one of its lines is too wide, and could be
// narrower. A list item is indented behind its marker.
func fill(paragraph []string, prefix string) []string {
	wide := func(line string) bool {
		return utf8.RuneCountInString(prefix+line) > width && len(atom.FindAllString(line[len(item.FindString(line)):], 2)) > 1
	}
	if !slices.ContainsFunc(paragraph, wide) {
		return prefixed(paragraph, prefix)
	}
	first := paragraph[0]
	marker := item.FindString(first)
	if marker == "" {
		marker = first[:len(first)-len(strings.TrimLeft(first, " \t"))]
	}
	indent := strings.Repeat(" ", utf8.RuneCountInString(marker))
	paragraph[0] = first[len(marker):]

	var words []string
	for _, word := range atom.FindAllString(strings.Join(paragraph, "\n"), -1) {
		word = strings.ReplaceAll(word, "\n", " ") // within a code span
		if len(words) > 0 && startsBlock.MatchString(word) {
			words[len(words)-1] += " " + word
			continue
		}
		words = append(words, word)
	}
	var filled []string
	line := marker
	for i, word := range words {
		switch {
		case i == 0:
			line += word
		case utf8.RuneCountInString(prefix+line+" "+word) > width:
			filled = append(filled, line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	return prefixed(append(filled, line), prefix)
}

func prefixed(lines []string, prefix string) []string {
	for i, line := range lines {
		lines[i] = prefix + line
	}
	return lines
}
