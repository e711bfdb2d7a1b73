package sealq_test

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// The vectors of docs/format.md are read from it, so that the document is what
// is tested.

// vectorRow returns the value of a row, by its label, of a table in a section.
func vectorRow(t *testing.T, section, label string) string {
	t.Helper()
	_, text, found := strings.Cut(read(t, "docs/format.md"), "## "+section+"\n")
	if !found {
		t.Fatalf("docs/format.md has no section %q", section)
	}
	m := regexp.MustCompile("(?m)^\\| " + regexp.QuoteMeta(label) + " \\| `(.+)` \\|$").FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("section %q has no row %q", section, label)
	}
	return m[1]
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFormatDeduplicationVector(t *testing.T) {
	t.Parallel()
	kr, err := envelope.NewRawAESKeyring("example", "vector", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := sqsx.New(kr, func(o *sqsx.Options) {
		o.DeduplicationKey = unhex(t, vectorRow(t, "Deduplication ID", "key, hex"))
	})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := sealer.SealMessage(t.Context(), vectorRow(t, "Deduplication ID", "queue"), &sqs.SendMessageInput{
		MessageBody:    aws.String(vectorRow(t, "Deduplication ID", "body")),
		MessageGroupId: aws.String("group"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := *sealed.MessageDeduplicationId, vectorRow(t, "Deduplication ID", "MessageDeduplicationId"); got != want {
		t.Errorf("MessageDeduplicationId is %s, want %s", got, want)
	}
}

func TestFormatMessageVector(t *testing.T) {
	t.Parallel()
	kr, err := envelope.NewRawAESKeyring("example", "vector", unhex(t, vectorRow(t, "Test vectors", "wrapping key, hex")))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := sqsx.New(kr)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(read(t, "docs/format.md"), "## Test vectors\n")
	blocks := fence.FindAllStringSubmatch(section, -1)
	if len(blocks) != 3 {
		t.Fatalf("the section has %d blocks, want 3", len(blocks))
	}
	header, rest, whole := strings.TrimSpace(blocks[0][2]), strings.TrimSpace(blocks[1][2]), strings.TrimSpace(blocks[2][2])
	binary, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		t.Fatal(err)
	}
	messages := []types.Message{
		{
			MessageId:         aws.String("attribute carrier"),
			Body:              &rest,
			MessageAttributes: map[string]types.MessageAttributeValue{"sealq": {DataType: aws.String("Binary"), BinaryValue: binary}},
			Attributes:        map[string]string{"MessageGroupId": "1"},
		},
		{MessageId: aws.String("body carrier"), Body: &whole, Attributes: map[string]string{"MessageGroupId": "2"}},
	}
	opened, withheld := sealer.OpenMessages(t.Context(), vectorRow(t, "Test vectors", "queue"), messages)
	for _, w := range withheld {
		t.Error(w)
	}
	for _, m := range opened {
		if want := vectorRow(t, "Test vectors", "plaintext body"); *m.Body != want {
			t.Errorf("%s: got %q, want %q", *m.MessageId, *m.Body, want)
		}
	}
}

// The content of docs/format.md, sealed and received.
func TestFormatContentVector(t *testing.T) {
	t.Parallel()
	row := func(label string) string { return vectorRow(t, "Sealed content", label) }
	kr, err := envelope.NewRawAESKeyring("example", "vector", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := sqsx.New(kr)
	if err != nil {
		t.Fatal(err)
	}
	const queue = "arn:aws:sqs:eu-central-1:111122223333:orders"
	m, err := envelope.Seal(t.Context(), kr, unhex(t, row("content, hex")), envelope.EncryptionContext{"sealq:queue": queue, "sealq:content": "1"})
	if err != nil {
		t.Fatal(err)
	}
	opened, withheld := sealer.OpenMessages(t.Context(), queue, []types.Message{{
		Body:              aws.String(base64.StdEncoding.EncodeToString(m.Bytes())),
		MessageAttributes: map[string]types.MessageAttributeValue{"added": {DataType: aws.String("String"), StringValue: aws.String("x")}},
	}})
	if len(opened) != 1 {
		t.Fatalf("got %v, want the message", withheld)
	}
	got := opened[0]
	if *got.Body != row("body") {
		t.Errorf("got body %q, want %q", *got.Body, row("body"))
	}
	if ms := strconv.FormatInt(got.Info.SealedAt.UnixMilli(), 10); ms != row("time") {
		t.Errorf("got time %s, want %s", ms, row("time"))
	}
	var attributes []string
	for name, v := range got.MessageAttributes {
		attributes = append(attributes, name+" "+*v.DataType+" "+*v.StringValue)
	}
	slices.Sort(attributes)
	if want := []string{row("sealed attribute"), row("clear attribute")}; !slices.Equal(attributes, want) {
		t.Errorf("got attributes %q, want %q", attributes, want)
	}
	if flags := unhex(t, row("content, hex"))[0]; strconv.Itoa(int(flags)) != row("flags") {
		t.Errorf("got flags %d, want %s", flags, row("flags"))
	}
}
