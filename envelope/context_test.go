package envelope_test

import (
	"encoding"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/sealq/sealq/envelope"
)

var _ encoding.BinaryAppender = envelope.EncryptionContext(nil)

func ExampleEncryptionContext_AppendBinary() {
	ec := envelope.EncryptionContext{"purpose": "orders", "stage": "test"}
	form, err := ec.AppendBinary(nil)
	fmt.Printf("%q %v\n", form, err)
	// Output: "\x00\x02\x00\apurpose\x00\x06orders\x00\x05stage\x00\x04test" <nil>
}

// TestContextThatDoesNotFit: lengths beyond 16 bits would be cut, and two
// contexts have one form.
func TestContextThatDoesNotFit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<16)
	many := make(envelope.EncryptionContext)
	for i := range 1 << 16 {
		many[strings.Repeat("y", i%300)+hex.EncodeToString([]byte{byte(i >> 8), byte(i)})] = "v"
	}
	for name, ec := range map[string]envelope.EncryptionContext{"name": {long: "v"}, "value": {"n": long}, "pairs": many} {
		if _, err := ec.AppendBinary(nil); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := (envelope.EncryptionContext{long[1:]: long[1:]}).AppendBinary(nil); err != nil {
		t.Error(err)
	}
}
