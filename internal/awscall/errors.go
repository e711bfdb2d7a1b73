package awscall

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sealq/sealq/internal/keyerr"
)

// Service is what errors say of a service.
type Service struct {
	ID          string // the SDK's ServiceID
	Name        string // in texts
	EndpointEnv string // the variable that sets its endpoint alone
}

// KMS is AWS KMS.
func KMS() Service { return Service{"KMS", "AWS KMS", "AWS_ENDPOINT_URL_KMS"} }

// DynamoDB is Amazon DynamoDB.
func DynamoDB() Service {
	return Service{"DynamoDB", "Amazon DynamoDB", "AWS_ENDPOINT_URL_DYNAMODB"}
}

// Cause is what an error is about, as far as it is the same for all services.
type Cause int

const (
	// Particular is an answer whose code means something to that service.
	Particular Cause = iota
	// Unavailable: the service was not reached, is failing or throttling, or does
	// not accept the credentials or the clock of this process.
	Unavailable
	// Denied: this process has no permission.
	Denied
	// NoOperation: what answered does not have the operation.
	NoOperation
)

// Cause also returns the service's error code, by which alone it goes, and what
// to do about the cause, if it knows. The SDK has no Go types for some of the
// most important codes, and statuses differ from the documented ones.
func (s Service) Cause(err error) (cause Cause, code, remedy string) {
	code, ok := s.code(err)
	if !ok {
		return Unavailable, "", s.WrongEndpoint(err)
	}
	switch code {
	case "InternalFailure", "InternalError", "InternalServerError", "InternalException",
		"ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException",
		"Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
		"TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "LimitExceededException",
		"KMSInternalException", "KeyUnavailableException", "DependencyTimeoutException", // of KMS
		"ProvisionedThroughputExceededException", "TransactionInProgressException", "ReplicatedWriteConflictException": // of DynamoDB
		return Unavailable, code, ""

	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired",
		"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"IncompleteSignature", "IncompleteSignatureException",
		"InvalidSignatureException", "SignatureDoesNotMatch",
		"RequestExpired", "RequestTimeTooSkewed", "AuthFailure":
		return Unavailable, code, "the AWS credentials of this process are wrong, not the key"

	case "AccessDeniedException", "AccessDenied":
		// A service says this too if a clock is wrong, and the SDK marks that case.
		if skewed, ok := errors.AsType[interface {
			error
			RetryableError() bool
		}](err); ok && skewed.RetryableError() {
			return Unavailable, code, "the clock of this machine is wrong"
		}
		return Denied, code, ""

	case "UnknownOperationException", "UnknownOperation", "InvalidAction":
		return NoOperation, code, s.WrongEndpoint(err)
	}
	return Particular, code, ""
}

// IsFailure reports whether an error whose code the caller does not know either
// is a failure of what answered, and no verdict.
func IsFailure(err error, code string) bool {
	status, ok := httpStatus(err)
	return code == "" || code == "UnknownError" || ok && status >= 500
}

// code returns the code of an answer of s. err has none if s was not reached or
// its answer was not understood. It may then have the answer of another
// service: the SDK asks STS, SSO or the instance for credentials inside the
// call, and their refusal is no refusal of s.
func (s Service) code(err error) (code string, ok bool) {
	if _, isCall := errors.AsType[*smithy.OperationError](err); isCall {
		if _, answered := s.Status(err); !answered {
			return "", false
		}
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return "", false
	}
	return api.ErrorCode(), true
}

// Status returns the HTTP status of an answer of s, also if the rest of it was
// not understood.
func (s Service) Status(err error) (status int, answered bool) {
	if call, isCall := errors.AsType[*smithy.OperationError](err); isCall {
		if _, nested := errors.AsType[*smithy.OperationError](call.Err); nested || call.ServiceID != s.ID {
			return 0, false
		}
		err = call.Err
	}
	return httpStatus(err)
}

func httpStatus(err error) (int, bool) {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || response.Response == nil || response.Response.Response == nil {
		return 0, false
	}
	return response.HTTPStatusCode(), true
}

// WrongEndpoint names the host that gave an answer which is not that of s, and
// why it may have been asked. It names nothing else of the URL, which may hold
// a password. It returns "" if no answer arrived.
func (s Service) WrongEndpoint(err error) string {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if _, answered := s.Status(err); !answered || !ok || response.Response.Request == nil || response.Response.Request.URL == nil || isCut(err) {
		return ""
	}
	return fmt.Sprintf("%q answered, and not as %s does: if that is not its endpoint, see AWS_ENDPOINT_URL, %s and the %s client's BaseEndpoint", response.Response.Request.URL.Host, s.Name, s.EndpointEnv, s.ID)
}

// isCut reports whether the answer was lost in transit.
func isCut(err error) bool { return keyerr.IsNetwork(err) || keyerr.IsCut(err) }

// Redact removes from an error what callers must not get. The end of a deadline
// of ours, or of the HTTP client's, must not look like the end of the caller's
// context. An error of decoding holds the answer, and so a key. And an answer
// holds its request, with the context of its caller: a cache remembers errors
// and returns them to other callers.
func Redact(err error) error {
	if refusal, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && refusal.Response != nil && refusal.Response.Response != nil {
		answer := *refusal.Response.Response
		answer.Request, answer.Body = nil, http.NoBody
		refusal.Response = &smithyhttp.Response{Response: &answer}
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		if cut, ok := errors.AsType[net.Error](err); ok && cut.Timeout() {
			return errors.New("the answer did not arrive in time")
		}
		return errors.New("the answer could not be decoded")
	}
	return keyerr.NotCallers(err)
}

// Shorten bounds a text from an answer that goes into an error.
func Shorten(s string) string {
	const limit = 200
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
