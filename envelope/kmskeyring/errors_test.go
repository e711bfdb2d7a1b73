package kmskeyring_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/envelope/kmskeyring"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// coded is an error of KMS with the status that it is sent with.
type coded struct {
	*smithy.GenericAPIError
	status int
}

func (c coded) HTTPStatusCode() int { return c.status }

func answer(status int, code string) error {
	return coded{&smithy.GenericAPIError{Code: code, Message: "as asked"}, status}
}

// TestClasses is the table of what an answer of KMS means: when generating,
// when decrypting under a key that the configuration names, and when decrypting
// under one that only the message names.
func TestClasses(t *testing.T) {
	t.Parallel()
	const unavailable, message, key, sealing, entry, unknown = "unavailable", "message", "refused: key", "refused: sealing", "refused: entry", "refused: unknown reach"
	for _, test := range []struct {
		status                        int
		code                          string
		generate, configured, foreign string
		attempts                      int
	}{
		{500, "KMSInternalException", unavailable, unavailable, unavailable, 2},
		{500, "KeyUnavailableException", unavailable, unavailable, unavailable, 2},
		{503, "DependencyTimeoutException", unavailable, unavailable, unavailable, 2},
		{500, "InternalFailure", unavailable, unavailable, unavailable, 2},
		{503, "ServiceUnavailable", unavailable, unavailable, unavailable, 2},
		{400, "ThrottlingException", unavailable, unavailable, unavailable, 2},
		{400, "LimitExceededException", unavailable, unavailable, unavailable, 2},
		{400, "KMSInternalException", unavailable, unavailable, unavailable, 1}, // by code, not by status
		{502, "UnknownError", unavailable, unavailable, unavailable, 2},
		{400, "UnknownError", unavailable, unavailable, unavailable, 1},
		{500, "BrandNewException", unavailable, unavailable, unavailable, 2},

		{400, "ExpiredTokenException", unavailable, unavailable, unavailable, 1},
		{403, "ExpiredToken", unavailable, unavailable, unavailable, 1},
		{400, "UnrecognizedClientException", unavailable, unavailable, unavailable, 1},
		{403, "InvalidClientTokenId", unavailable, unavailable, unavailable, 1},
		{400, "IncompleteSignature", unavailable, unavailable, unavailable, 1},
		{403, "InvalidSignatureException", unavailable, unavailable, unavailable, 1},
		{400, "RequestExpired", unavailable, unavailable, unavailable, 1},

		{400, "InvalidCiphertextException", unknown, message, message, 1},
		{400, "IncorrectKeyException", unknown, message, message, 1},
		{400, "ValidationException", unknown, message, message, 1},

		{400, "DisabledException", sealing, key, message, 1},
		{409, "DisabledException", sealing, key, message, 1},
		{400, "KMSInvalidStateException", sealing, key, message, 1},
		{400, "NotFoundException", unknown, key, message, 1},
		{400, "InvalidKeyUsageException", sealing, key, message, 1},
		{400, "AccessDeniedException", entry, entry, message, 1},
		{400, "InvalidGrantTokenException", entry, entry, message, 1},
		{400, "InvalidArnException", unknown, unknown, message, 1},
		{400, "UnsupportedOperationException", unknown, unknown, message, 1},
		{400, "BrandNewException", unknown, unknown, message, 1},
	} {
		t.Run(fmt.Sprint(test.status, " ", test.code), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.client("us-east-1", ours)
				id, arn := w.key(client, false)
				oldID, _ := w.key(client, false)
				w.alias(client, "alias/orders", id)
				kr := w.keyring(client, "alias/orders")
				current, old := w.generate(kr), w.generate(w.keyring(client, oldID))
				w.opens(kr, current)

				w.srv.Intercept(func(*sqsxtest.Request) error { return answer(test.status, test.code) })
				generate := w.srv.Count("kms:GenerateDataKey")
				_, err := kr.GenerateDataKey(t.Context(), ec)
				check(t, "GenerateDataKey", err, test.generate, test.code, arn)
				if n := w.srv.Count("kms:GenerateDataKey") - generate; n != test.attempts {
					t.Errorf("GenerateDataKey: %d attempts, want %d", n, test.attempts)
				}
				_, err = kr.WrapDataKey(t.Context(), current, ec)
				check(t, "WrapDataKey", err, test.generate, test.code, arn)

				decrypt := w.srv.Count("kms:Decrypt")
				_, err = kr.DecryptDataKey(t.Context(), current.EncryptedDataKeys(), ec)
				check(t, "DecryptDataKey", err, test.configured, test.code, arn)
				if n := w.srv.Count("kms:Decrypt") - decrypt; n != test.attempts {
					t.Errorf("DecryptDataKey: %d attempts, want %d", n, test.attempts)
				}
				_, err = kr.DecryptDataKey(t.Context(), old.EncryptedDataKeys(), ec)
				check(t, "DecryptDataKey, foreign", err, test.foreign, test.code, "")

				// One such answer beside a good one, or one that is only the
				// message's fault, does not hide what may open the message later.
				both := append(old.EncryptedDataKeys(), current.EncryptedDataKeys()...)
				_, err = kr.DecryptDataKey(t.Context(), both, ec)
				want := test.configured
				if test.foreign == unavailable {
					want = unavailable
				}
				if got := class(t.Context(), err); got != want {
					t.Errorf("both: got class %q (%v), want %q", got, err, want)
				}
			})
		})
	}
}

// TestReachOfARefusedSeal: an alias may have moved since it named the key that
// sealed last, so its refusal leaves what opens under that key alone. A key ID
// and an ARN are one key forever.
func TestReachOfARefusedSeal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	w.alias(client, "alias/orders", id)
	for keyID, want := range map[string]string{
		arn:            "refused: key",
		id:             "refused: key",
		"alias/orders": "refused: sealing",
		"arn:aws:kms:us-east-1:" + ours + ":alias/orders": "refused: sealing",
	} {
		kr := w.keyring(client, keyID)
		key := w.generate(kr)
		w.srv.Intercept(func(*sqsxtest.Request) error { return answer(400, "DisabledException") })
		_, err := kr.GenerateDataKey(t.Context(), ec)
		check(t, keyID+": GenerateDataKey", err, want, "DisabledException", arn)
		_, err = kr.WrapDataKey(t.Context(), key, ec)
		check(t, keyID+": WrapDataKey", err, want, "DisabledException", arn)
		w.srv.Intercept(only("kms:Decrypt", answer(400, "DisabledException")))
		_, err = kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
		check(t, keyID+": DecryptDataKey", err, "refused: key", "DisabledException", arn)
		w.srv.Intercept(nil)
	}
}

func check(t *testing.T, name string, err error, want, code, keyInfo string) {
	t.Helper()
	if got := class(t.Context(), err); got != want {
		t.Errorf("%s: got class %q (%v), want %q", name, got, err, want)
	}
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != code {
		t.Errorf("%s: the service's error %q is not in the chain of %v", name, code, err)
	}
	if refused, ok := errors.AsType[*envelope.RefusedError](err); ok && refused.KeyInfo != "" && refused.KeyInfo != keyInfo {
		t.Errorf("%s: reaches %q, want %q", name, refused.KeyInfo, keyInfo)
	}
	if text := err.Error(); strings.Contains(text, ec["sealq:queue"]) {
		t.Errorf("%s: error %q holds a value of the encryption context", name, text)
	}
}

func TestServiceErrorTypeIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	kr := w.keyring(client, arn)
	key := w.generate(kr)
	w.disable(client, id)
	_, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
	if _, ok := errors.AsType[*types.DisabledException](err); !ok {
		t.Errorf("got %v, want a DisabledException in the chain", err)
	}
	if _, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &id}); err != nil {
		t.Fatal(err)
	}
	_, err = kr.GenerateDataKey(t.Context(), ec)
	if _, ok := errors.AsType[*types.KMSInvalidStateException](err); !ok || class(t.Context(), err) != "refused: key" {
		t.Errorf("got %v, want a refusal for KMSInvalidStateException", err)
	}
}

// TestCredentialsAreNotTheKey: an answer of STS inside a call of KMS says
// nothing about the key, whatever its code.
func TestCredentialsAreNotTheKey(t *testing.T) {
	t.Parallel()
	denied := &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized to assume the role"}
	for name, cause := range map[string]error{
		"STS": &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusForbidden}}, Err: denied,
		}},
		"its own endpoint": denied,
		"no API error":     errors.New("no EC2 IMDS role found"),
		"its own deadline": context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			client := w.client("us-east-1", ours)
			_, arn := w.key(client, false)
			key := w.generate(w.keyring(client, arn))
			broken := w.client("us-east-1", ours, func(o *kms.Options) {
				o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, cause })
			})
			kr := w.keyring(broken, arn)
			if _, err := kr.GenerateDataKey(t.Context(), ec); class(t.Context(), err) != "unavailable" {
				t.Errorf("GenerateDataKey: got %v, want ErrUnavailable", err)
			}
			if _, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec); class(t.Context(), err) != "unavailable" || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("DecryptDataKey: got %v, want ErrUnavailable, and not the caller's deadline", err)
			}
		})
	}
}

func TestClockSkewIsNotTheKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		_, arn := w.key(client, false)
		cfg := w.config("us-east-1", ours)
		transport := cfg.HTTPClient
		skewed := kms.NewFromConfig(cfg, func(o *kms.Options) {
			o.HTTPClient = doFunc(func(r *http.Request) (*http.Response, error) {
				resp, err := transport.Do(r)
				if err == nil {
					// The service's clock runs away from any correction.
					resp.Header.Set("Date", time.Now().Add(time.Duration(w.srv.Count("kms:GenerateDataKey"))*time.Hour).UTC().Format(http.TimeFormat))
				}
				return resp, err
			})
		})
		w.srv.Intercept(func(*sqsxtest.Request) error { return answer(400, "AccessDeniedException") })
		if _, err := w.keyring(skewed, arn).GenerateDataKey(t.Context(), ec); class(t.Context(), err) != "unavailable" {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		if _, err := w.keyring(client, arn).GenerateDataKey(t.Context(), ec); class(t.Context(), err) != "refused: entry" {
			t.Errorf("clocks agree: got %v, want a refusal", err)
		}
	})
}

type doFunc func(*http.Request) (*http.Response, error)

func (f doFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.client("us-east-1", ours)
		_, arn := w.key(client, false)
		kr := w.keyring(client, arn)
		key := w.generate(kr)
		for name, cause := range map[string]error{
			"refused":   &net.OpError{Op: "dial", Err: errors.New("connection refused")},
			"cancelled": context.Canceled, // by the transport, not by the caller
			"lost":      sqsxtest.ErrResponseLost,
		} {
			w.srv.Intercept(func(*sqsxtest.Request) error { return cause })
			_, err := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
			if class(t.Context(), err) != "unavailable" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v, want ErrUnavailable only", name, err)
			}
		}
	})
}

// TestAnswersThatCannotBe: what comes back is checked before it is used.
func TestAnswersThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.client("us-east-1", ours)
	id, arn := w.key(client, false)
	_, otherARN := w.key(client, false)
	w.alias(client, "alias/orders", id)
	key := w.generate(w.keyring(client, arn))
	aliasARN := "arn:aws:kms:us-east-1:" + ours + ":alias/orders"

	for name, test := range map[string]struct {
		keyID  string
		change func(*tampered)
	}{
		"nothing":             {arn, func(c *tampered) { c.empty = true }},
		"another key":         {arn, func(c *tampered) { c.keyID = &otherARN }},
		"another key, by ID":  {id, func(c *tampered) { c.keyID = &otherARN }},
		"another account":     {aliasARN, func(c *tampered) { c.keyID = aws.String(strings.Replace(arn, ours, theirs, 1)) }},
		"an alias":            {"alias/orders", func(c *tampered) { c.keyID = &aliasARN }},
		"no key":              {"alias/orders", func(c *tampered) { c.keyID = aws.String("") }},
		"a long name":         {"alias/orders", func(c *tampered) { c.keyID = aws.String(strings.Repeat("x", 1<<20)) }},
		"no plaintext":        {arn, func(c *tampered) { c.plaintext = []byte{} }},
		"key ID, not the ARN": {arn, func(c *tampered) { c.keyID = &id }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := &tampered{Client: client}
			test.change(change)
			kr := world{t, w.srv}.keyring(change, test.keyID)
			_, generateErr := kr.GenerateDataKey(t.Context(), ec)
			_, decryptErr := kr.DecryptDataKey(t.Context(), key.EncryptedDataKeys(), ec)
			for _, err := range []error{generateErr, decryptErr} {
				if class(t.Context(), err) != "unavailable" || len(err.Error()) > 1000 {
					t.Errorf("got %.300v, want a short ErrUnavailable", err)
				}
			}
			if _, err := kr.WrapDataKey(t.Context(), key, ec); change.plaintext == nil && class(t.Context(), err) != "unavailable" {
				t.Errorf("WrapDataKey: got %v, want ErrUnavailable", err)
			}
		})
	}

	for size, blob := range map[int][]byte{0: {}, 6145: make([]byte, 6145)} {
		kr := w.keyring(&tampered{Client: client, blob: blob}, arn)
		if _, err := kr.GenerateDataKey(t.Context(), ec); class(t.Context(), err) != "unavailable" {
			t.Errorf("encrypted data key of %d bytes: got %v, want ErrUnavailable", size, err)
		}
	}
	for _, size := range []int{16, 31, 33} {
		kr := w.keyring(&tampered{Client: client, plaintext: make([]byte, size)}, arn)
		if _, err := kr.GenerateDataKey(t.Context(), ec); class(t.Context(), err) != "unavailable" {
			t.Errorf("data key of %d bytes: got %v, want ErrUnavailable", size, err)
		}
	}
}

// tampered changes what KMS answers.
type tampered struct {
	kmskeyring.Client
	empty           bool
	keyID           *string
	plaintext, blob []byte
}

func (c *tampered) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, optFns ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	out, err := c.Client.GenerateDataKey(ctx, in, optFns...)
	if err != nil || c.empty {
		return nil, err
	}
	c.change(&out.KeyId, &out.Plaintext, &out.CiphertextBlob)
	return out, nil
}

func (c *tampered) Decrypt(ctx context.Context, in *kms.DecryptInput, optFns ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	out, err := c.Client.Decrypt(ctx, in, optFns...)
	if err != nil || c.empty {
		return nil, err
	}
	var blob []byte
	c.change(&out.KeyId, &out.Plaintext, &blob)
	return out, nil
}

func (c *tampered) Encrypt(ctx context.Context, in *kms.EncryptInput, optFns ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	out, err := c.Client.Encrypt(ctx, in, optFns...)
	if err != nil || c.empty {
		return nil, err
	}
	var plaintext []byte
	c.change(&out.KeyId, &plaintext, &out.CiphertextBlob)
	return out, nil
}

func (c *tampered) change(keyID **string, plaintext, blob *[]byte) {
	if c.keyID != nil {
		*keyID = c.keyID
	}
	if c.plaintext != nil {
		*plaintext = c.plaintext
	}
	if c.blob != nil {
		*blob = c.blob
	}
}

// TestClientOfAnotherKind: a Client that is not the SDK's returns the service's
// errors without the SDK's wrapping.
func TestClientOfAnotherKind(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	w := world{t, nil}
	kr := w.keyring(failing{err: &types.DisabledException{}}, arn)
	if _, err := kr.GenerateDataKey(t.Context(), ec); class(t.Context(), err) != "refused: key" {
		t.Errorf("got %v, want a refusal", err)
	}
	kr = w.keyring(failing{err: errors.New("no route")}, arn)
	if _, err := kr.GenerateDataKey(t.Context(), ec); class(t.Context(), err) != "unavailable" {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

type failing struct {
	kmskeyring.Client
	err error
}

func (c failing) GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	return nil, c.err
}
