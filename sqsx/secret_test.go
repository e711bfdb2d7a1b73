package sqsx_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sealq/sealq/sqsx"
)

// TestOptionsShowNoKey: however options are printed, the deduplication key is
// not in it.
func TestOptionsShowNoKey(t *testing.T) {
	t.Parallel()
	key := []byte("the key of the deduplication IDs")
	o := sqsx.Options{DeduplicationKey: key, Account: "111122223333"}
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U", "%b", "%o"} {
		shown[verb] = fmt.Sprintf(verb, o) + fmt.Sprintf(verb, &o) + fmt.Sprintf(verb, o.DeduplicationKey) + fmt.Sprintf(verb, []sqsx.Options{o})
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog, text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog, JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var log bytes.Buffer
		slog.New(handler(&log)).Info("starting", "options", o, "pointer", &o, "key", o.DeduplicationKey)
		shown[name] = log.String()
	}
	if b, err := json.Marshal(map[string]any{"key": o.DeduplicationKey}); err == nil {
		shown["JSON"] = string(b)
	}
	for name, text := range shown {
		for form, secret := range map[string]string{
			"text": string(key), "hex": hex.EncodeToString(key), "HEX": strings.ToUpper(hex.EncodeToString(key)),
			"base64": base64.StdEncoding.EncodeToString(key),
			"bytes":  strings.Trim(fmt.Sprint(key[:8]), "[]"), "Go": strings.Trim(fmt.Sprintf("%#v", key[:8]), "[]byte{}"),
		} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows the key as %s: %s", name, form, text)
			}
		}
		if !strings.Contains(text, "redacted") {
			t.Errorf("%s does not show that a key is set: %s", name, text)
		}
	}
	if got := fmt.Sprintf("%+v", sqsx.Options{}); strings.Contains(got, "redacted") {
		t.Errorf("without a key: got %s", got)
	}
}
