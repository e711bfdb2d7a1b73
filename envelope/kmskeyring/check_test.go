package kmskeyring_test

import (
	"strings"
	"testing"

	"github.com/sealq/sealq/envelope/kmskeyring"
)

func TestCheckDecrypt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	w.alias(client, "alias/orders", id)
	for _, keyID := range []string{arn, id, "alias/orders"} {
		kr := w.keyring(client, keyID)
		if err := kr.CheckDecrypt(t.Context(), ec); err != nil {
			t.Errorf("%s: got %v, want nil", keyID, err)
		}
		for _, action := range []string{"kms:Decrypt", "kms:DescribeKey"} {
			w.srv.Intercept(only(action, answer(400, "AccessDeniedException")))
			err := w.keyring(client, keyID).CheckDecrypt(t.Context(), ec)
			if action == "kms:DescribeKey" && keyID == arn {
				if err != nil { // not needed
					t.Errorf("%s without %s: got %v, want nil", keyID, action, err)
				}
			} else if class(t.Context(), err) != "refused: entry" || !strings.Contains(err.Error(), action) {
				t.Errorf("%s without %s: got %v, want a refusal that names it", keyID, action, err)
			}
			w.srv.Intercept(nil)
		}
	}
	if got := w.sent("kms:Decrypt", "DryRun"); len(got) == 0 || strings.Trim(strings.Join(got, ""), "true") != "" {
		t.Errorf("Decrypt: got DryRun %q, want true in all", got)
	}
	w.disable(client, id)
	if err := w.keyring(client, arn).CheckDecrypt(t.Context(), ec); class(t.Context(), err) != "refused: key" {
		t.Errorf("disabled: got %v, want a refusal", err)
	}
	discovery := w.keyring(client, "", func(o *kmskeyring.Options) {
		o.Discovery = kmskeyring.Discovery{Partition: "aws", Region: "us-east-1", Accounts: []string{ours}}
	})
	if err := discovery.CheckDecrypt(t.Context(), ec); err == nil {
		t.Error("discovery: got nil, want an error")
	}
}
