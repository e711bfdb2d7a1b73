package drivers_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealq/sealq/integration/interop/drivers"
)

// The version that a result is reported under must be the version that the
// manifest installs.
func TestPins(t *testing.T) {
	t.Parallel()
	for _, sdk := range drivers.All() {
		path := filepath.Join(sdk.Manifest())
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), sdk.Pin) {
			t.Errorf("%s does not contain %q", path, sdk.Pin)
		}
		if !strings.Contains(sdk.Pin, sdk.Version) {
			t.Errorf("%s: pin %q is not of version %q", sdk.ID, sdk.Pin, sdk.Version)
		}
	}
}

func TestSelected(t *testing.T) {
	t.Setenv(drivers.SelectVariable, "rust,go")
	got, err := drivers.Selected()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].ID != "rust" || got[1].ID != "go" {
		t.Errorf("got %d SDKs, want rust and go", len(got))
	}
	t.Setenv(drivers.SelectVariable, "cobol")
	if _, err := drivers.Selected(); err == nil {
		t.Error("an unknown name: got no error")
	}
}
