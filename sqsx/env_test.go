package sqsx_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

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
		"SEALQ_NO_DIGESTS":         "legacy-*",
		"SEALQ_STRICT_QUEUE":       "",
		"SEALQ_NO_RECEIVE_ERRORS":  "legacy-in*, celery",
	})
	got, policy, err := sqsx.FromEnvironment(sqsx.Options{Region: "us-east-1"}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqsx.NewFromEnv(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if co := got.Cache; co.ReusePeriod.Seconds() != 60 || co.MaxStale != cache.Unlimited {
		t.Errorf("got reuse period %v and stale %v", co.ReusePeriod, co.MaxStale)
	}
	ko := got.KMSKeyring
	if diff := cmp.Diff([]string{"arn:aws:kms:us-east-1:000000000000:key/one", "arn:aws:kms:us-east-1:000000000000:key/two"}, ko.DecryptKeys); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"app": "orders", "stage": "test=1"}, got.EncryptionContext); diff != "" {
		t.Error(diff)
	}
	for queue, want := range map[string]sqsx.Policy{
		"other":      {BodyCarrier: true},
		"legacy-1":   {NoSeal: true, BodyCarrier: true, NoDigests: true},
		"legacy-in1": {NoSeal: true, BodyCarrier: true, NoDigests: true, AcceptPlaintext: true, NoReceiveErrors: true},
		"exact":      {NoSeal: true, BodyCarrier: true},
		"exactly":    {BodyCarrier: true},
		"celery":     {BodyCarrier: true, NoReceiveErrors: true},
	} {
		if diff := cmp.Diff(want, policy(arnOf(queue))); diff != "" {
			t.Errorf("%s: %s", queue, diff)
		}
	}
	if got.Account != "000000000000" {
		t.Errorf("got account %q", got.Account)
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
		"reuse period too short": {map[string]string{"SEALQ_REUSE_PERIOD": "59"}, "60 to 86400"},
		"switch for a queue":     {map[string]string{"SEALQ_STRICT_QUEUE": "true"}, "all queues"},
		"URL for a queue":        {map[string]string{"SEALQ_STRICT_QUEUE": "https://sqs.us-east-1.amazonaws.com/1/q"}, "is a URL"},
		"account of an ARN":      {map[string]string{"SEALQ_STRICT_QUEUE": "arn:aws:sqs:us-east-1:1:orders"}, "12 digits"},
		"negative":               {map[string]string{"SEALQ_REUSE_PERIOD": "-60"}, "whole number of seconds"},
		"stale":                  {map[string]string{"SEALQ_MAX_STALE": "for ever"}, "unlimited"},
		"pattern":                {map[string]string{"SEALQ_NO_SEAL": "a*b"}, "SEALQ_NO_SEAL"},
		"context":                {map[string]string{"SEALQ_ENCRYPTION_CONTEXT": "app"}, "name=value"},
		"context twice":          {map[string]string{"SEALQ_ENCRYPTION_CONTEXT": "a=1,a=2"}, "twice"},
		"account":                {map[string]string{"SEALQ_ACCOUNT": "abc"}, "12 digits"},
		"stale below the period": {map[string]string{"SEALQ_MAX_STALE": "60"}, "MaxStale"},
		"key of AWS":             {map[string]string{"SEALQ_KEY_ID": "alias/aws/sqs"}, "customer managed"},
		"strict without binding": {map[string]string{"SEALQ_STRICT_QUEUE": "*", "SEALQ_NO_BINDING": "a"}, "StrictQueue"},
		"none beside names":      {map[string]string{"SEALQ_CLEAR_ATTRIBUTES": "kind, none"}, "\"none\" alone"},
		"age":                    {map[string]string{"SEALQ_MAX_AGE": "0"}, "1 to"},
		"pattern of an account":  {map[string]string{"SEALQ_STRICT_QUEUE": "arn:aws:sqs:us-east-1:*", "SEALQ_NO_BINDING": "*"}, "\"arn:aws:sqs:us-east-1:*\""},
		"decrypt key":            {map[string]string{"SEALQ_DECRYPT_KEYS": "alias/x"}, "ARN"},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"SEALQ_KEY_ID": w.key}
			for k, v := range tc.env {
				env[k] = v
			}
			setenv(t, env)
			s, err := sqsx.NewFromEnv(w.cfg)
			if _, typed := errors.AsType[*sqsx.ConfigError](err); !typed || s != nil || !strings.Contains(err.Error(), tc.text) {
				t.Fatalf("got %v, want a *ConfigError that speaks of %q", err, tc.text)
			}
			for name := range tc.env {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("got %v, want the variable %s in it", err, name)
				}
			}
		})
	}
}

// TestEnvironmentOnTopOfCode: what operations set has the last word, and takes
// nothing that code set elsewhere.
func TestEnvironmentOnTopOfCode(t *testing.T) {
	t.Parallel()
	inCode := sqsx.Options{
		Account:           "111111111111",
		EncryptionContext: map[string]string{"app": "code", "stage": "code"},
		Cache:             cache.Options{MaxMessages: 7, ReusePeriod: 24 * time.Hour},
		KMSKeyring:        kmskeyring.Options{DecryptKeys: []string{"code"}, StrictAlias: true},
		Policy:            sqsx.Policy{StrictQueue: true},
		Queues: map[string]sqsx.Policy{
			"orders*":    {MaxMessageBytes: 2048},
			"orders-eu*": {LogicalQueue: "orders"},
			"orders-eu":  {BodyCarrier: true},
		},
	}
	got, policy, err := sqsx.FromEnvironment(inCode, []string{
		"SEALQ_ACCOUNT=222222222222", "SEALQ_ENCRYPTION_CONTEXT=stage=env", "SEALQ_REUSE_PERIOD=60", "SEALQ_DECRYPT_KEYS=env",
		"SEALQ_ACCEPT_PLAINTEXT=orders-*, bills", "SEALQ_CONSUMER_SERVICE_HOST=10.0.0.1", "SEALQ_CONSUMER_PORT_80_TCP=tcp://10.0.0.1:80",
	})
	if err != nil {
		t.Fatal(err)
	}
	for queue, want := range map[string]sqsx.Policy{
		"orders1":    {MaxMessageBytes: 2048},
		"orders-1":   {MaxMessageBytes: 2048, AcceptPlaintext: true},
		"orders-eu1": {LogicalQueue: "orders", AcceptPlaintext: true},
		"orders-eu":  {BodyCarrier: true, AcceptPlaintext: true},
		"bills":      {StrictQueue: true, AcceptPlaintext: true},
		"other":      {StrictQueue: true},
	} {
		if diff := cmp.Diff(want, policy(arnOf(queue))); diff != "" {
			t.Errorf("%s: %s", queue, diff)
		}
	}
	if diff := cmp.Diff(map[string]string{"app": "code", "stage": "env"}, got.EncryptionContext); diff != "" {
		t.Errorf("EncryptionContext: %s", diff)
	}
	if inCode.EncryptionContext["stage"] != "code" || len(inCode.Queues) != 3 {
		t.Error("the caller's maps were changed")
	}
	if co := got.Cache; co.MaxMessages != 7 || co.ReusePeriod != time.Minute {
		t.Errorf("got %d messages and %v, want those of code and environment", co.MaxMessages, co.ReusePeriod)
	}
	ko := got.KMSKeyring
	if diff := cmp.Diff([]string{"code", "env"}, ko.DecryptKeys); diff != "" || !ko.StrictAlias {
		t.Errorf("got %+v: %s", ko, diff)
	}
	if diff := cmp.Diff(inCode.Policy, policy(arnOf("other"))); diff != "" || got.Account != "222222222222" {
		t.Errorf("got account %q, policy %s", got.Account, diff)
	}
	inCode = sqsx.Options{Queues: map[string]sqsx.Policy{arnOf("orders"): {StrictQueue: true}}}
	_, policy, err = sqsx.FromEnvironment(inCode, []string{"SEALQ_ACCEPT_PLAINTEXT=orders"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sqsx.Policy{StrictQueue: true, AcceptPlaintext: true}, policy(arnOf("orders"))); diff != "" {
		t.Errorf("a name in the environment removed the policy that code gives the queue by its ARN: %s", diff)
	}
	if diff := cmp.Diff(sqsx.Policy{AcceptPlaintext: true}, policy("arn:aws:sqs:us-east-1:111111111111:orders")); diff != "" {
		t.Errorf("a queue of that name in another account: %s", diff)
	}
}

// TestEnvironmentThatGivesUpProtectionIsLogged: who reads the log of a service
// learns of settings that its code does not show.
func TestEnvironmentThatGivesUpProtectionIsLogged(t *testing.T) {
	w := newWorld(t)
	setenv(t, map[string]string{
		"SEALQ_KEY_ID":           w.key,
		"SEALQ_NO_SEAL":          "legacy-*, exact,legacy-*",
		"SEALQ_ACCEPT_PLAINTEXT": "legacy-in*",
		"SEALQ_NO_BINDING":       "anywhere",
		"SEALQ_ACCEPT_UNDATED":   "old-*",
		"SEALQ_BODY_CARRIER":     "*",
		"SEALQ_STRICT_QUEUE":     "strict",
	})
	var log bytes.Buffer
	s, err := sqsx.NewFromEnv(w.cfg, func(o *sqsx.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Queues = map[string]sqsx.Policy{"in-code": {NoSeal: true}}
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(line, " level=")
		got = append(got, strings.TrimSpace(line))
	}
	want := []string{
		`WARN msg="sealq: plaintext is accepted: anyone who may send to the queue can forge a message" variable=SEALQ_ACCEPT_PLAINTEXT queue=legacy-in*`,
		`WARN msg="sealq: messages are sent in plaintext" variable=SEALQ_NO_SEAL queue=exact`,
		`WARN msg="sealq: messages are sent in plaintext" variable=SEALQ_NO_SEAL queue=legacy-*`,
		`WARN msg="sealq: messages are bound to no queue, and those of any queue are opened" variable=SEALQ_NO_BINDING queue=anywhere`,
		`WARN msg="sealq: messages that were sealed without a time are accepted: anyone who may send to the queue can replay them" variable=SEALQ_ACCEPT_UNDATED queue=old-*`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log: %s", diff)
	}
	log.Reset()
	send(t, s.Wrap(w.plain), w.queue("exact"), "x")
	if log.Len() > 0 {
		t.Errorf("said again: %s", log.String())
	}

	setenv(t, map[string]string{"SEALQ_KEY_ID": w.key, "SEALQ_REUSE_PERIOD": "60", "SEALQ_STRICT_QUEUE": "*"})
	if _, err := sqsx.NewFromEnv(w.cfg, func(o *sqsx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) }); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("got %s, want nothing of settings that give up nothing", log.String())
	}
}
