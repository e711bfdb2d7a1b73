package sqsx_test

import (
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx"
)

// setenv leaves only these of the variables of NewFromEnv in the environment.
func setenv(t *testing.T, env map[string]string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "SEALQ_") {
			t.Setenv(name, "") // restores it afterwards
			os.Unsetenv(name)
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
}

func TestNewFromEnv(t *testing.T) {
	w := newWorld(t)
	setenv(t, map[string]string{
		"SEALQ_KEY_ID":             w.key,
		"SEALQ_REUSE_PERIOD":       "60",
		"SEALQ_MAX_STALE":          "unlimited",
		"SEALQ_DECRYPT_KEYS":       "arn:aws:kms:us-east-1:000000000000:key/one, arn:aws:kms:us-east-1:000000000000:key/two",
		"SEALQ_ACCOUNT":            "000000000000",
		"SEALQ_ENCRYPTION_CONTEXT": "app=orders, stage=test=1",
		"SEALQ_NO_SEAL":            "legacy-*, exact",
		"SEALQ_ACCEPT_PLAINTEXT":   "legacy-in*",
		"SEALQ_BODY_CARRIER":       "*",
		"SEALQ_STRICT_QUEUE":       "",
	})
	var got sqsx.Options
	s, err := sqsx.NewFromEnv(w.cfg, func(o *sqsx.Options) { got = *o })
	if err != nil {
		t.Fatal(err)
	}
	var co cache.Options
	got.Cache(&co)
	if co.ReusePeriod.Seconds() != 60 || co.MaxStale != cache.Unlimited {
		t.Errorf("got reuse period %v and stale %v", co.ReusePeriod, co.MaxStale)
	}
	var ko kmskeyring.Options
	got.KMSKeyring(&ko)
	if diff := cmp.Diff([]string{"arn:aws:kms:us-east-1:000000000000:key/one", "arn:aws:kms:us-east-1:000000000000:key/two"}, ko.DecryptKeys); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"app": "orders", "stage": "test=1"}, got.EncryptionContext); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(sqsx.Policy{BodyCarrier: true}, got.Policy); diff != "" {
		t.Errorf("Policy: %s", diff)
	}
	want := map[string]sqsx.Policy{
		"legacy-*":   {NoSeal: true, BodyCarrier: true},
		"legacy-in*": {NoSeal: true, BodyCarrier: true, AcceptPlaintext: true},
		"exact":      {NoSeal: true, BodyCarrier: true},
	}
	if diff := cmp.Diff(want, got.Queues); diff != "" {
		t.Errorf("Queues: %s", diff)
	}
	if got.Account != "000000000000" || got.Region != "us-east-1" {
		t.Errorf("got account %q and Region %q", got.Account, got.Region)
	}
	out, err := s.SealMessage(t.Context(), "legacy-1", &sqs.SendMessageInput{MessageBody: aws.String("x")})
	if err != nil || *out.MessageBody != "x" {
		t.Errorf("got %v, want plaintext for a queue of SEALQ_NO_SEAL", err)
	}
}

func TestNewFromEnvErrors(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		env  map[string]string
		text string
	}{
		"no key":                 {map[string]string{"SEALQ_KEY_ID": ""}, "SEALQ_KEY_ID"},
		"unknown variable":       {map[string]string{"SEALQ_ACCEPT_PLAIN": "*"}, "SEALQ_ACCEPT_PLAINTEXT"},
		"reuse period":           {map[string]string{"SEALQ_REUSE_PERIOD": "5m"}, "whole number of seconds"},
		"reuse period too short": {map[string]string{"SEALQ_REUSE_PERIOD": "59"}, "1m0s"},
		"negative":               {map[string]string{"SEALQ_REUSE_PERIOD": "-60"}, "whole number of seconds"},
		"stale":                  {map[string]string{"SEALQ_MAX_STALE": "for ever"}, "unlimited"},
		"pattern":                {map[string]string{"SEALQ_NO_SEAL": "a*b"}, "SEALQ_NO_SEAL"},
		"context":                {map[string]string{"SEALQ_ENCRYPTION_CONTEXT": "app"}, "name=value"},
		"context twice":          {map[string]string{"SEALQ_ENCRYPTION_CONTEXT": "a=1,a=2"}, "twice"},
		"decrypt key":            {map[string]string{"SEALQ_DECRYPT_KEYS": "alias/x"}, "ARN"},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"SEALQ_KEY_ID": w.key}
			for k, v := range tc.env {
				env[k] = v
			}
			setenv(t, env)
			s, err := sqsx.NewFromEnv(w.cfg)
			if err == nil || s != nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, want an error that speaks of %q", err, tc.text)
			}
		})
	}
}
