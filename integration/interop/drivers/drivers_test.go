package drivers_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sealq/sealq/integration/interop/drivers"
)

// The version that a result is reported under must be the version that the
// manifest installs.
func TestPins(t *testing.T) {
	t.Parallel()
	for _, sdk := range drivers.All() {
		path := sdk.Manifest()
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
