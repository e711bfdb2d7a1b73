package main

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sealq/sealq/envelope/branchkey"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStory: a process fetches the branch key once for sealing and once for
// opening, and the hold asks once for each queue, whatever the number of
// messages. A rotation loses none.
func TestStory(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := story(t.Context(), &out, nil); err != nil {
		t.Fatal(err)
	}
	const want = `1. created the branch key "orders" in the table "sealq-branch-keys"
2. sent and received 300 messages through 3 queues, with 5 calls of KMS
3. sent and received 300 messages through 3 queues, with 0 calls of KMS
4. received "sealed before the rotation"
5. received "sealed after the rotation"
For a service on AWS: docs/branch-keys.md
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestAdminister runs the commands as on AWS, against a server on the loopback
// address, and uses the branch key that they made.
func TestAdminister(t *testing.T) {
	server := sqsxtest.New(t)
	local := httptest.NewServer(server)
	defer local.Close()
	server.NewTable("keys", "branch-key-id", "type")
	keyARN := server.NewKey()
	for name, value := range map[string]string{
		"SEALQ_KEY_STORE_TABLE": "keys", "SEALQ_KEY_STORE_NAME": "logical", "SEALQ_KEY_ID": keyARN,
		"AWS_ENDPOINT_URL": local.URL, "AWS_REGION": sqsxtest.DefaultRegion,
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := administer(t.Context(), &out, args)
		return strings.TrimSpace(out.String()), err
	}

	first, err := run("create", "orders", "team=orders", "stage=test")
	if err != nil {
		t.Fatal(err)
	}
	second, err := run("rotate", "orders")
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 36 || len(second) != 36 || first == second {
		t.Errorf("got the versions %q and %q, want two UUIDs", first, second)
	}
	if _, err := run("create", "orders", "team=orders"); !errors.Is(err, branchkey.ErrConflict) {
		t.Errorf("created twice: got %v, want ErrConflict", err)
	}

	sealer, err := sqsx.NewFromKeyStore(server.Config(), sqsx.KeyStore{Table: "keys", LogicalName: "logical", BranchKeyID: "orders", KeyID: keyARN})
	if err != nil {
		t.Fatal(err)
	}
	if err := sealer.Check(t.Context(), server.NewQueue("orders")); err != nil {
		t.Errorf("the branch key cannot be used: %v", err)
	}

	for _, args := range [][]string{{}, {"create"}, {"create", "id", "no-pair"}, {"rotate", "id", "more"}, {"delete", "id"}} {
		if _, err := run(args...); err == nil || !strings.Contains(err.Error(), "usage") {
			t.Errorf("%q: got %v, want the usage", args, err)
		}
	}
}
