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
	`in\s+(?://\s*)?ha#nd`, `who#ever`, `at\s+(?://\s*)?fa#ult`, `me#nd(?:s|ed|ing)?`, `there#by`, `where#in`, `le#st`, `bet#imes`, `K#MS (?:is )?away`,
}, "|"), "#", "") + `)\b`)

// TestPlainWords looks for those words in documents, comments, texts and names.
func TestPlainWords(t *testing.T) {
	t.Parallel()
	for name, text := range tracked(t) {
		switch filepath.Ext(name) {
		case ".go", ".md", ".tmpl", ".py", ".js", ".yml":
		default:
			continue
		}
		if found := uncommon.FindAllString(text, -1); len(found) > 0 {
			t.Errorf("%s says %q: use the common word", name, found)
		}
	}
}
