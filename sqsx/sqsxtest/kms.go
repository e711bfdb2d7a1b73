package sqsxtest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

// kmsService is AWS KMS for all accounts and Regions, in memory. The keys are
// real AES and HMAC keys and the ciphertexts are bound to their encryption
// context, so that a mistake in one fails here as it would there. Key policies
// and grants are stored, and permit and forbid nothing: every account may use
// every key that it can name.
//
// It is safe for concurrent use.
type kmsService struct {
	actions map[string]kmsAction // never changed

	mu        sync.Mutex // guards everything below, the keys included
	keys      map[kmsKeyRef]*kmsKey
	aliases   map[kmsAliasRef]*kmsAlias
	materials map[kmsMaterialID]*kmsMaterial
}

func newKMS() *kmsService {
	return &kmsService{
		actions:   kmsActions(),
		keys:      make(map[kmsKeyRef]*kmsKey),
		aliases:   make(map[kmsAliasRef]*kmsAlias),
		materials: make(map[kmsMaterialID]*kmsMaterial),
	}
}

// kmsCaller is who asks, and where.
type kmsCaller struct{ region, account string }

type kmsAction func(k *kmsService, c kmsCaller, body []byte) (any, error)

// kmsActions holds every action that the service knows.
func kmsActions() map[string]kmsAction {
	return map[string]kmsAction{
		"CreateKey":            kmsDecode((*kmsService).createKey),
		"DescribeKey":          kmsDecode((*kmsService).describeKey),
		"UpdateKeyDescription": kmsDecode((*kmsService).updateKeyDescription),
		"ListKeys":             kmsDecode((*kmsService).listKeys),
		"EnableKey":            kmsDecode((*kmsService).enableKey),
		"DisableKey":           kmsDecode((*kmsService).disableKey),
		"ScheduleKeyDeletion":  kmsDecode((*kmsService).scheduleKeyDeletion),
		"CancelKeyDeletion":    kmsDecode((*kmsService).cancelKeyDeletion),
		"ReplicateKey":         kmsDecode((*kmsService).replicateKey),

		"EnableKeyRotation":    kmsDecode((*kmsService).enableKeyRotation),
		"DisableKeyRotation":   kmsDecode((*kmsService).disableKeyRotation),
		"GetKeyRotationStatus": kmsDecode((*kmsService).getKeyRotationStatus),
		"RotateKeyOnDemand":    kmsDecode((*kmsService).rotateKeyOnDemand),

		"CreateAlias": kmsDecode((*kmsService).createAlias),
		"UpdateAlias": kmsDecode((*kmsService).updateAlias),
		"DeleteAlias": kmsDecode((*kmsService).deleteAlias),
		"ListAliases": kmsDecode((*kmsService).listAliases),

		"TagResource":      kmsDecode((*kmsService).tagResource),
		"UntagResource":    kmsDecode((*kmsService).untagResource),
		"ListResourceTags": kmsDecode((*kmsService).listResourceTags),

		"GetKeyPolicy":    kmsDecode((*kmsService).getKeyPolicy),
		"PutKeyPolicy":    kmsDecode((*kmsService).putKeyPolicy),
		"ListKeyPolicies": kmsDecode((*kmsService).listKeyPolicies),

		"CreateGrant":         kmsDecode((*kmsService).createGrant),
		"ListGrants":          kmsDecode((*kmsService).listGrants),
		"ListRetirableGrants": kmsDecode((*kmsService).listRetirableGrants),
		"RetireGrant":         kmsDecode((*kmsService).retireGrant),
		"RevokeGrant":         kmsDecode((*kmsService).revokeGrant),

		"GenerateDataKey":                 kmsDecode((*kmsService).generateDataKey),
		"GenerateDataKeyWithoutPlaintext": kmsDecode((*kmsService).generateDataKeyWithoutPlaintext),
		"Encrypt":                         kmsDecode((*kmsService).encrypt),
		"Decrypt":                         kmsDecode((*kmsService).decrypt),
		"ReEncrypt":                       kmsDecode((*kmsService).reEncrypt),
		"GenerateMac":                     kmsDecode((*kmsService).generateMac),
		"VerifyMac":                       kmsDecode((*kmsService).verifyMac),
		"GenerateRandom":                  kmsDecode((*kmsService).generateRandom),
	}
}

// kmsDecode adapts a typed action. The SDK's input types have the field names
// of the wire and encoding/json reads them; its output types carry SDK
// metadata, so the answers have types of their own.
func kmsDecode[In, Out any](f func(*kmsService, kmsCaller, *In) (Out, error)) kmsAction {
	return func(k *kmsService, c kmsCaller, body []byte) (any, error) {
		in := new(In)
		if err := json.Unmarshal(body, in); err != nil {
			return nil, &smithy.GenericAPIError{Code: "SerializationException", Message: "the request body is not the JSON of this action", Fault: smithy.FaultClient}
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		return f(k, c, in)
	}
}

// call answers one request: body is its JSON, and the result marshals to the
// JSON of the answer. An error is a [smithy.APIError].
func (k *kmsService) call(ctx context.Context, region, account, action string, body []byte) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	run, ok := k.actions[action]
	if !ok {
		return nil, &smithy.GenericAPIError{
			Code: "UnknownOperationException", Fault: smithy.FaultClient,
			Message: fmt.Sprintf("this server has no KMS action %q", action),
		}
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	return run(k, kmsCaller{region: region, account: account}, body)
}

// kmsEmpty is the answer of actions that return nothing.
type kmsEmpty struct{}

// kmsTime is a timestamp as the protocol writes it: seconds since 1970.
type kmsTime float64

func kmsTimeOf(t time.Time) *kmsTime {
	s := kmsTime(float64(t.UnixMilli()) / 1e3)
	return &s
}

// Limits of the KMS API reference, of the parameters of the same names.
const (
	kmsMaxKeyIDLength      = 2048
	kmsMaxAliasLength      = 256
	kmsMaxBlob             = 6144
	kmsMaxPlaintext        = 4096
	kmsMaxNumberOfBytes    = 1024
	kmsMaxContextBytes     = 8192
	kmsMaxGrantTokens      = 10
	kmsMaxDescription      = 8192
	kmsMinPendingDays      = 7
	kmsMaxPendingDays      = 30
	kmsMaxListKeys         = 1000
	kmsDefaultListKeys     = 100
	kmsMaxListAliases      = 100
	kmsDefaultListAliases  = 50
	kmsDefaultPendingDays  = kmsMaxPendingDays
	kmsMaxListGrants       = 100
	kmsDefaultListGrants   = 50
	kmsMaxListTags         = 50
	kmsMinRotationDays     = 90
	kmsMaxRotationDays     = 2560
	kmsDefaultRotationDays = 365
	kmsMaxTagKey           = 128
	kmsMaxTagValue         = 256
	kmsMaxPrincipal        = 256
	kmsMaxConstraintPairs  = 8
	kmsMaxConstraintValue  = 384
	kmsMaxMessage          = 4096 // to authenticate
	kmsMaxPolicyParameter  = 131_072
	kmsBlobOverhead        = 152 // measured on the service's blobs: 184 bytes hold a 32-byte key
	kmsMaterialKeySize     = 32
	kmsReservedAliasPrefix = "alias/aws/"

	// Quotas of the developer guide.
	kmsMaxOnDemandRotations = 25 // of a key
	kmsMaxTags              = 50
	kmsMaxPolicy            = 32 << 10 // bytes
)

func kmsValidation(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func kmsAccessDenied(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func kmsNotFound(format string, args ...any) error {
	return &types.NotFoundException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func kmsCheckLength(field string, n, low, high int) error {
	if n < low || n > high {
		return kmsValidation("1 validation error detected: Value at '%s' failed to satisfy constraint: length is %d, must be between %d and %d", field, n, low, high)
	}
	return nil
}

// kmsPage cuts one page out of a sorted list. The marker is the sort key of the
// last entry of the page before.
func kmsPage[T any](all []T, key func(T) string, marker *string, limit *int32, standard, top int) (page []T, next string, err error) {
	n := standard
	if limit != nil {
		n = int(*limit)
		if n < 1 || n > top {
			return nil, "", kmsValidation("1 validation error detected: Value at 'limit' is %d, must be between 1 and %d", n, top)
		}
	}
	if marker != nil {
		start := -1
		for i, e := range all {
			if key(e) == *marker {
				start = i + 1
			}
		}
		if start < 0 {
			return nil, "", &types.InvalidMarkerException{Message: aws.String("the marker is not one that this server returned")}
		}
		all = all[start:]
	}
	if len(all) <= n {
		return all, "", nil
	}
	return all[:n], key(all[n-1]), nil
}
