package sqsxtest

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
)

// refusal is an error answer of the service: code is the name of the error's
// shape.
func refusal(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// missing is the refusal of a request without a parameter that it must have.
func missing(parameter string) error {
	return refusal("MissingParameter", "The request must contain the parameter %s.", parameter)
}

// wireError is how an error is written on the wire.
type wireError struct {
	shape  string // the body's __type
	query  string // code in the X-Amzn-Query-Error header, which the SDK prefers
	status int
	fault  string // Sender or Receiver
}

// sqsWireError finds the wire form of an error from its code, which may be the
// name of the shape ("QueueDoesNotExist") or the code of the query protocol
// ("AWS.SimpleQueueService.NonExistentQueue"). Shapes, codes and statuses are
// those of the service's model, as the SDK's service/sqs/schemas has them.
func sqsWireError(err smithy.APIError) wireError {
	const model, coral, query = "com.amazonaws.sqs#", "com.amazon.coral.service#", "AWS.SimpleQueueService."
	w := wireError{fault: faultName(err)}
	switch name := strings.TrimPrefix(err.ErrorCode(), query); name {
	case "QueueDoesNotExist", "NonExistentQueue":
		w.shape, w.query, w.status = model+"QueueDoesNotExist", query+"NonExistentQueue", 400
	case "QueueNameExists", "QueueAlreadyExists":
		w.shape, w.query, w.status = model+"QueueNameExists", "QueueAlreadyExists", 400
	case "BatchEntryIdsNotDistinct", "BatchRequestTooLong", "EmptyBatchRequest", "InvalidBatchEntryId", "MessageNotInflight",
		"QueueDeletedRecently", "TooManyEntriesInBatchRequest", "UnsupportedOperation":
		w.shape, w.query, w.status = model+name, query+name, 400
	case "PurgeQueueInProgress":
		w.shape, w.query, w.status = model+name, query+name, 403
	case "InvalidAttributeName", "InvalidAttributeValue", "InvalidIdFormat", "InvalidMessageContents":
		w.shape, w.query, w.status = model+name, name, 400
	case "InvalidAddress", "ReceiptHandleIsInvalid", "ResourceNotFoundException":
		w.shape, w.query, w.status = model+name, name, 404
	case "InvalidSecurity", "OverLimit", "RequestThrottled":
		w.shape, w.query, w.status = model+name, name, 403
	case "KmsAccessDenied", "KMS.AccessDeniedException":
		w.shape, w.query, w.status = model+"KmsAccessDenied", "KMS.AccessDeniedException", 400
	case "KmsDisabled", "KMS.DisabledException":
		w.shape, w.query, w.status = model+"KmsDisabled", "KMS.DisabledException", 400
	case "KmsInvalidKeyUsage", "KMS.InvalidKeyUsageException":
		w.shape, w.query, w.status = model+"KmsInvalidKeyUsage", "KMS.InvalidKeyUsageException", 400
	case "KmsInvalidState", "KMS.InvalidStateException":
		w.shape, w.query, w.status = model+"KmsInvalidState", "KMS.InvalidStateException", 400
	case "KmsNotFound", "KMS.NotFoundException":
		w.shape, w.query, w.status = model+"KmsNotFound", "KMS.NotFoundException", 400
	case "KmsOptInRequired", "KMS.OptInRequired":
		w.shape, w.query, w.status = model+"KmsOptInRequired", "KMS.OptInRequired", 403
	case "KmsThrottled", "KMS.ThrottlingException":
		w.shape, w.query, w.status = model+"KmsThrottled", "KMS.ThrottlingException", 400
	case "InvalidParameterValue":
		w.shape, w.query, w.status = coral+"InvalidParameterValueException", name, 400
	case "MissingParameter":
		w.shape, w.query, w.status = coral+"MissingRequiredParameterException", name, 400
	case "AccessDenied", "AccessDeniedException":
		w.shape, w.query, w.status = coral+"AccessDeniedException", name, 403
	default:
		w.shape, w.query, w.status = coral+name, err.ErrorCode(), plainStatus(err)
	}
	return w
}

// kmsWireError is simpler: KMS has one code for an error, and answers 400 for
// whatever is the client's fault.
func kmsWireError(err smithy.APIError) wireError {
	return wireError{shape: err.ErrorCode(), status: plainStatus(err)}
}

// plainStatus is the HTTP status of an error whose model has none.
func plainStatus(err smithy.APIError) int {
	switch err.ErrorCode() {
	case "ServiceUnavailable", "ServiceUnavailableException", "DependencyTimeoutException":
		return http.StatusServiceUnavailable
	case "InternalFailure", "InternalError", "InternalServerError", "InternalServiceError":
		return http.StatusInternalServerError
	case "RequestEntityTooLarge":
		return http.StatusRequestEntityTooLarge
	}
	if err.ErrorFault() == smithy.FaultServer {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

func faultName(err smithy.APIError) string {
	if err.ErrorFault() == smithy.FaultServer || plainStatus(err) >= 500 {
		return "Receiver"
	}
	return "Sender"
}
