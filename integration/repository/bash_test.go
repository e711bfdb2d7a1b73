package repository

import (
	"regexp"
	"strings"
	"testing"
)

// newerThan32 is what bash has since 4.0 only, by an example of each.
var newerThan32 = map[string]*regexp.Regexp{
	"mapfile -t lines":        regexp.MustCompile(`\b(mapfile|readarray|coproc)\b`),
	"local -A table":          regexp.MustCompile(`\b(declare|typeset|local)\s+-[a-zA-Z]*[Ang]`),
	"${name,,}":               regexp.MustCompile(`\$\{[^}]*(,,?|\^\^?)\}`),
	"${name@Q}":               regexp.MustCompile(`\$\{[^}]*@[A-Za-z]\}`),
	"${list[-1]}":             regexp.MustCompile(`\[-\d+\]`),
	"${name: -3:-1}":          regexp.MustCompile(`\$\{\w+:[^}:]*:\s*-`),
	"command |& less":         regexp.MustCompile(`\|&`),
	"command &>>log":          regexp.MustCompile(`&>>`),
	"case x in x) a ;;& esac": regexp.MustCompile(`;;?&`),
	"[[ -v name ]]":           regexp.MustCompile(`(\[|\btest)\s+(!\s+)?-[vR]\s`),
	"printf '%(%F)T'":         regexp.MustCompile(`%\([^)]*\)T`),
	"exec {fd}>file":          regexp.MustCompile(`\{\w+\}[<>]`),
	"wait -n":                 regexp.MustCompile(`\bwait\s+-[a-z]*n`),
	"shopt -s globstar":       regexp.MustCompile(`\b(globstar|lastpipe|inherit_errexit)\b`),
	"$EPOCHSECONDS":           regexp.MustCompile(`\b(EPOCH(SECONDS|REALTIME)|BASHPID|SRANDOM)\b`),
}

// guarded is an array that set -u takes for unset while it is empty, before
// bash 4.4: it must be expanded with a default, unless it cannot be empty.
var guarded = regexp.MustCompile(`\$\{(\w+)\[[@*]\]\}`)

// neverEmpty are the arrays that are filled before they are expanded: a folder
// of each module, and the time of each step.
var neverEmpty = map[string]bool{"modules": true, "times": true}

// TestScriptsAreBash32: macOS has no newer bash, for the sake of its license.
func TestScriptsAreBash32(t *testing.T) {
	t.Parallel()
	for example, newer := range newerThan32 {
		if !newer.MatchString(example) {
			t.Errorf("%v does not find %q", newer, example)
		}
	}
	scripts := 0
	for name, text := range tracked(t) {
		if !strings.HasPrefix(text, "#!/usr/bin/env bash") {
			continue
		}
		scripts++
		n := 0
		for line := range strings.Lines(text) {
			n++
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for example, newer := range newerThan32 {
				if found := newer.FindString(line); found != "" {
					t.Errorf("%s:%d: bash 3.2 does not know %q, as in %q", name, n, found, example)
				}
			}
			for _, m := range guarded.FindAllStringSubmatch(line, -1) {
				if !neverEmpty[m[1]] {
					t.Errorf("%s:%d: %s fails in bash 3.2 where the array is empty", name, n, m[0])
				}
			}
		}
		out, err := command(t, root, nil, "bash", "-n", name)
		if err != nil {
			t.Errorf("bash -n %s: %v: %s", name, err, out)
		}
	}
	if scripts < 3 {
		t.Errorf("found %d scripts, want .ci/run and its helpers", scripts)
	}
}
