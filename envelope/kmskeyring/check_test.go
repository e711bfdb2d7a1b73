package kmskeyring_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/internal/keytrace"
	"github.com/sealq/sealq/sqsx/sqsxtest"
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
	if err := discovery.CheckDecrypt(t.Context(), ec); !errors.Is(err, envelope.ErrCheckUnsupported) {
		t.Errorf("discovery: got %v, want ErrCheckUnsupported", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.keyring(client, arn).CheckDecrypt(ended, ec); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v, want its error", err)
	}
	var zero *kmskeyring.Keyring
	if err := zero.CheckDecrypt(t.Context(), ec); err == nil {
		t.Error("nil keyring: got nil, want an error")
	}
}

// TestCheckDecryptNamesTheKey: a cache is told which key an answer is about, by
// the name that messages have for it, and of no question that was cut short.
func TestCheckDecryptNamesTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	_, second := w.key(client, false)
	w.alias(client, "alias/orders", id)
	check := func(kr *kmskeyring.Keyring) map[string]error {
		var mu sync.Mutex
		got := make(map[string]error)
		ctx := keytrace.With(t.Context(), func(info string, err error) {
			mu.Lock()
			defer mu.Unlock()
			got[info] = err
		})
		kr.CheckDecrypt(ctx, ec)
		return got
	}
	for _, keyID := range []string{arn, id, "alias/orders"} {
		kr := w.keyring(client, keyID)
		if got := check(kr); len(got) != 1 || got[arn] != nil {
			t.Errorf("%s: got %v, want a yes for %s", keyID, got, arn)
		}
	}
	kr := w.keyring(client, arn, func(o *kmskeyring.Options) { o.DecryptKeys = []string{second} })
	w.srv.Intercept(only("kms:Decrypt", syscall.ECONNREFUSED))
	if got := check(kr); len(got) != 2 || !errors.Is(got[arn], envelope.ErrUnavailable) || !errors.Is(got[second], envelope.ErrUnavailable) {
		t.Errorf("unreachable: got %v, want that for both keys", got)
	}
	// One that hangs is cut short by the yes about the other.
	w.srv.Intercept(func(r *sqsxtest.Request) error {
		if r.Action == "kms:Decrypt" && strings.Contains(string(r.Body), second) {
			<-r.Context().Done()
			return r.Context().Err()
		}
		return nil
	})
	if got := check(kr); len(got) != 1 || got[arn] != nil {
		t.Errorf("one hangs: got %v, want a yes for %s and no word of the other", got, arn)
	}
}

// TestCheckDecryptRemembersNoFailure: nor one of the DescribeKey that
// decrypting needs.
func TestCheckDecryptRemembersNoFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, _ := w.key(client, false)
	w.alias(client, "alias/orders", id)
	for _, action := range []string{"kms:Decrypt", "kms:DescribeKey"} {
		kr := w.keyring(client, "alias/orders")
		key := w.generate(kr)
		w.srv.Intercept(only(action, answer(400, "AccessDeniedException")))
		if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); class(t.Context(), err) != "refused: entry" {
			t.Errorf("%s: got %v, want the refusal", action, err)
		}
		for range 3 {
			if err := kr.CheckDecrypt(t.Context(), ec); checked(err) != "denied" {
				t.Errorf("%s denied: got %v, want the refusal", action, err)
			}
		}
		w.srv.Intercept(nil)
		if err := kr.CheckDecrypt(t.Context(), ec); err != nil {
			t.Errorf("%s allowed again: got %v, want nil", action, err)
		}
		w.opens(kr, key)
	}
}

// checked names the class of CheckDecrypt's error, in the order that
// envelope.DecryptChecker prescribes.
func checked(err error) string {
	refused, ok := errors.AsType[*envelope.RefusedError](err)
	switch {
	case err == nil:
		return "yes"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "caller"
	case errors.Is(err, envelope.ErrCheckUnsupported):
		return "unsupported"
	case ok && refused.Reach == envelope.ReachEntry:
		return "denied"
	case errors.Is(err, envelope.ErrUnavailable):
		return "unavailable"
	case ok:
		return "key refused"
	}
	return "no class"
}

// TestCheckDecryptClasses is the table of what an answer to a dry run means, to
// a keyring that never had one that was understood, and to one that had.
func TestCheckDecryptClasses(t *testing.T) {
	t.Parallel()
	const yes, denied, keyRefused, unavailable, unsupported = "yes", "denied", "key refused", "unavailable", "unsupported"
	for name, test := range map[string]struct {
		cause      error
		first, old string
	}{
		"access denied":        {answer(400, "AccessDeniedException"), denied, denied},
		"grant token":          {answer(400, "InvalidGrantTokenException"), denied, denied},
		"disabled":             {answer(400, "DisabledException"), keyRefused, keyRefused},
		"pending deletion":     {answer(400, "KMSInvalidStateException"), keyRefused, keyRefused},
		"not found":            {answer(400, "NotFoundException"), keyRefused, keyRefused},
		"key usage":            {answer(400, "InvalidKeyUsageException"), keyRefused, keyRefused},
		"throttled":            {answer(400, "ThrottlingException"), unavailable, unavailable},
		"credentials":          {answer(400, "ExpiredTokenException"), unavailable, unavailable},
		"internal":             {answer(500, "KMSInternalException"), unsupported, unavailable},
		"not implemented":      {answer(501, "InternalFailure"), unsupported, unavailable},
		"a 503 of a proxy":     {answer(503, "UnknownError"), unsupported, unavailable},
		"a 404 without a code": {answer(404, "UnknownError"), unsupported, unavailable},
		"validation":           {answer(400, "ValidationException"), unsupported, unsupported},
		"ciphertext":           {answer(400, "InvalidCiphertextException"), unsupported, unsupported},
		"incorrect key":        {answer(400, "IncorrectKeyException"), unsupported, unsupported},
		"unknown code":         {answer(400, "UnknownOperationException"), unsupported, unsupported},
		"refused connection":   {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, unavailable, unavailable},
		"response lost":        {sqsxtest.ErrResponseLost, unavailable, unavailable},
		"answer":               {nil, yes, yes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.client("us-east-1", ours)
				_, arn := w.key(client, false)
				first, old := w.keyring(client, arn), w.keyring(client, arn)
				if err := old.CheckDecrypt(t.Context(), ec); err != nil {
					t.Fatal(err)
				}
				w.srv.Intercept(func(*sqsxtest.Request) error { return test.cause })
				if err := first.CheckDecrypt(t.Context(), ec); checked(err) != test.first {
					t.Errorf("first: got %s (%v), want %s", checked(err), err, test.first)
				}
				if err := old.CheckDecrypt(t.Context(), ec); checked(err) != test.old {
					t.Errorf("understood before: got %s (%v), want %s", checked(err), err, test.old)
				}
			})
		})
	}
	t.Run("no dry run", func(t *testing.T) {
		t.Parallel()
		kr := world{t, nil}.keyring(deaf{}, "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab")
		if err := kr.CheckDecrypt(t.Context(), ec); checked(err) != unsupported {
			t.Errorf("got %v, want ErrCheckUnsupported", err)
		}
	})
}

// deaf answers a dry run as if it were none.
type deaf struct{ kmskeyring.Client }

func (deaf) Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return &kms.DecryptOutput{}, nil
}

// TestCheckDecryptSeveral: one key that may be used is enough, and the one of
// several refusals that leaves the most hope is the class.
func TestCheckDecryptSeveral(t *testing.T) {
	t.Parallel()
	yes, denied, disabled := error(nil), answer(400, "AccessDeniedException"), answer(400, "DisabledException")
	unreachable, deaf := answer(400, "ThrottlingException"), answer(400, "ValidationException")
	for name, test := range map[string]struct {
		own, other error
		want       string
	}{
		"both":                    {yes, yes, "yes"},
		"own only":                {yes, disabled, "yes"},
		"own, other unavailable":  {yes, unreachable, "yes"},
		"other only":              {disabled, yes, "yes"},
		"other, own unavailable":  {unreachable, yes, "yes"},
		"refused":                 {disabled, disabled, "key refused"},
		"refused and denied":      {disabled, denied, "denied"},
		"denied and unavailable":  {denied, unreachable, "denied"},
		"unavailable and denied":  {unreachable, denied, "denied"},
		"refused and unavailable": {disabled, unreachable, "unavailable"},
		"unavailable and no word": {unreachable, deaf, "unsupported"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				east, west := w.client("us-east-1", ours), w.client("eu-west-1", ours)
				_, own := w.key(east, false)
				_, other := w.key(west, false)
				kr := w.keyring(east, own, func(o *kmskeyring.Options) { o.DecryptKeys = []string{other, own, other} })
				w.srv.Intercept(func(r *sqsxtest.Request) error {
					if strings.Contains(string(r.Body), other) {
						return test.other
					}
					return test.own
				})
				err := kr.CheckDecrypt(t.Context(), ec)
				if checked(err) != test.want {
					t.Errorf("got %s (%v), want %s", checked(err), err, test.want)
				}
				if err != nil && (!strings.Contains(err.Error(), own) || !strings.Contains(err.Error(), other)) {
					t.Errorf("the error does not name both keys: %v", err)
				}
				if _, found := errors.AsType[*types.DisabledException](err); found != (err != nil && test.own == disabled) {
					t.Errorf("got %v, want the service's error in the chain", err)
				}
				if test.own == yes && test.other == yes {
					return
				}
				// 2 for each that is throttled; each key is asked about once.
				if n := w.srv.Count("kms:Decrypt"); n > 4 {
					t.Errorf("got %d requests, want one question for each key", n)
				}
			})
		})
	}
}

// TestCheckDecryptEndsWithTheFirstYes: a Region that hangs delays nothing, and
// nothing of the call is left behind.
func TestCheckDecryptEndsWithTheFirstYes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		east, west := w.client("us-east-1", ours), w.client("eu-west-1", ours)
		_, own := w.key(east, false)
		_, other := w.key(west, false)
		var ended atomic.Int32
		cfg := w.config("us-east-1", ours)
		transport := cfg.HTTPClient
		hanging := kms.NewFromConfig(cfg, func(o *kms.Options) {
			o.HTTPClient = doFunc(func(r *http.Request) (*http.Response, error) {
				if strings.Contains(r.URL.Host, "eu-west-1") || strings.Contains(r.Header.Get("Authorization"), "eu-west-1") {
					<-r.Context().Done()
					ended.Add(1)
					return nil, r.Context().Err()
				}
				time.Sleep(20 * time.Millisecond)
				return transport.Do(r)
			})
		})
		kr := w.keyring(hanging, own, func(o *kmskeyring.Options) { o.DecryptKeys = []string{other} })
		began := time.Now()
		if err := kr.CheckDecrypt(t.Context(), ec); err != nil {
			t.Errorf("got %v, want nil", err)
		}
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("took %v, want the 20ms of the key that answers", took)
		}
		if n := ended.Load(); n != 1 {
			t.Errorf("%d other questions ended with the call, want 1", n)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if err := kr.CheckDecrypt(ctx, ec); checked(err) != "caller" || errors.Is(err, envelope.ErrUnavailable) {
			t.Errorf("caller's deadline: got %v, want it alone", err)
		}
	})
}

// TestCheckDecryptContainsPanics: a client that panics, or ends its goroutine,
// must not end the process or hang the caller.
func TestCheckDecryptContainsPanics(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	for name, do := range map[string]func(){
		"panic":         func() { panic("the ciphertext") },
		"runtime error": func() { var p *int; *p = 1 },
		"Goexit":        runtime.Goexit,
	} {
		kr := world{t, nil}.keyring(rude{do: do}, arn)
		err := kr.CheckDecrypt(t.Context(), ec)
		if checked(err) != "unavailable" || strings.Contains(err.Error(), "the ciphertext") {
			t.Errorf("%s: got %v, want ErrUnavailable without the panic's value", name, err)
		}
	}
}

type rude struct {
	kmskeyring.Client
	do func()
}

func (c rude) Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	c.do()
	return nil, nil
}
