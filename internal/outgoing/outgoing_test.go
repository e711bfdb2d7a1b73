package outgoing

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func TestBytes(t *testing.T) {
	t.Parallel()
	attributes := map[string]types.MessageAttributeValue{
		"kind":  {DataType: aws.String("String"), StringValue: aws.String("order")},
		"bytes": {DataType: aws.String("Binary.x"), BinaryValue: []byte{0, 255, 128}},
		"empty": {},
	}
	const want = len("Zürich") + len("kind") + len("String") + len("order") + len("bytes") + len("Binary.x") + 3 + len("empty")
	if got := Bytes("Zürich", attributes); got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
	if got := Bytes("", nil); got != 0 {
		t.Errorf("got %d bytes of nothing, want 0", got)
	}
}

func TestOwnString(t *testing.T) {
	t.Parallel()
	text := "as written"
	own := OwnString(&text)
	text = "changed"
	if *own != "as written" {
		t.Errorf("got %q, want what was written", *own)
	}
	if got := OwnString(nil); got != nil {
		t.Errorf("got %q, want nil", *got)
	}
}
