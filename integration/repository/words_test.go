package repository

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// uncommon are words for which the field has a plainer one: cached, anyone who,
// invalid, fix. A "#" keeps this file from holding what it looks for.
var uncommon = regexp.MustCompile(`(?i)\b(?:` + strings.ReplaceAll(strings.Join([]string{
	`in\s+(?://\s*)?ha#nd`, `who#ever`, `at\s+(?://\s*)?fa#ult`, `me#nd(?:s|ed|ing)?`, `there#by`, `where#in`, `le#st`, `bet#imes`, `K#MS is away`,
}, "|"), "#", "") + `)\b`)

// notPlainYet are the files that have such words still.
var notPlainYet = map[string]bool{
	"cache/decrypt_test.go":                true,
	"cache/doc.go":                         true,
	"cache/entry.go":                       true,
	"cache/failure.go":                     true,
	"cache/keyring.go":                     true,
	"cache/life_test.go":                   true,
	"cache/refusal_test.go":                true,
	"cache/stats.go":                       true,
	"cache/wrapping_test.go":               true,
	"envelope/kmskeyring/call.go":          true,
	"envelope/kmskeyring/errors.go":        true,
	"envelope/kmskeyring/resolver_test.go": true,
	"envelope/kmskeyring/verdicts.go":      true,
	"sqsx/carrier.go":                      true,
	"sqsx/codec.go":                        true,
	"sqsx/fifohold_test.go":                true,
	"sqsx/fleet_test.go":                   true,
	"sqsx/hold_test.go":                    true,
	"sqsx/holdcallers_test.go":             true,
}

// TestPlainWords looks for those words in documents, comments, texts and names.
func TestPlainWords(t *testing.T) {
	t.Parallel()
	for name, text := range tracked(t) {
		switch filepath.Ext(name) {
		case ".go", ".md", ".tmpl", ".py", ".js", ".yml":
		default:
			continue
		}
		found := uncommon.FindAllString(text, -1)
		switch {
		case len(found) > 0 && !notPlainYet[name]:
			t.Errorf("%s says %q: use the common word", name, found)
		case len(found) == 0 && notPlainYet[name]:
			t.Errorf("%s has none of these words now: take it from notPlainYet", name)
		}
	}
}
