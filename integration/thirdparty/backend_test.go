package thirdparty_test

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/integration/launch"
	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// backend is a server with a sealed configuration, and a count of what crossed
// the wire.
type backend struct {
	cfg    aws.Config
	key    string // ARN
	sealer *sqsx.Sealer
	wire   *wire
}

// onEach runs a test on the in-process server and on LocalStack.
func onEach(t *testing.T, run func(t *testing.T, b *backend)) {
	t.Run("sqsxtest", func(t *testing.T) {
		server := sqsxtest.New(t)
		run(t, newBackend(t, server.Config()))
	})
	onLocalStack(t, run)
}

func onLocalStack(t *testing.T, run func(t *testing.T, b *backend)) {
	t.Run("LocalStack", func(t *testing.T) {
		e, err := launch.Find("LocalStack")
		if err != nil {
			t.Fatal(err)
		}
		run(t, newBackend(t, launch.Use(t, e).Config()))
	})
}

func newBackend(t *testing.T, cfg aws.Config) *backend {
	t.Helper()
	key, err := kms.NewFromConfig(cfg).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := sqsx.NewFromConfig(cfg, *key.KeyMetadata.Arn)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{next: cfg.HTTPClient}
	cfg.HTTPClient = w
	sealer.InstallConfig(&cfg)
	return &backend{cfg: cfg, key: *key.KeyMetadata.Arn, sealer: sealer, wire: w}
}

// wire counts sends to SQS, those of them that do not look sealed, and requests
// to SNS with the word "s3cret".
type wire struct {
	next                   aws.HTTPClient
	sends, unlike, secrets atomic.Int64
}

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	switch r.Header.Get("X-Amz-Target") {
	case "": // SNS
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte("s3cret")) {
			w.secrets.Add(1)
		}
	case "AmazonSQS.SendMessage", "AmazonSQS.SendMessageBatch":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.sends.Add(1)
		inAttribute := bytes.Count(body, []byte(`"sealq":`))
		inBody := bytes.Count(body, []byte(`"MessageBody":"AgR4`))
		if inAttribute+inBody != bytes.Count(body, []byte(`"MessageBody":`)) {
			w.unlike.Add(1)
		}
	}
	return w.next.Do(r)
}

// check fails the test unless messages were sent, and all of them sealed.
func (b *backend) check(t *testing.T) {
	t.Helper()
	if sends, unlike := b.wire.sends.Load(), b.wire.unlike.Load(); sends == 0 || unlike > 0 {
		t.Errorf("on the wire: %d sends, %d of them not sealed; want some, all sealed", sends, unlike)
	}
	if stats := b.sealer.Stats(); stats.Opened == 0 || stats.WithheldMessage > 0 {
		t.Errorf("opened %d messages, withheld %d; want some, and none", stats.Opened, stats.WithheldMessage)
	}
}
