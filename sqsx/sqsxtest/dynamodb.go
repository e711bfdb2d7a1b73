package sqsxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"
)

// ddbService is Amazon DynamoDB for all accounts and Regions, in memory:
// tables, items, conditions and transactions. Requests are carried out one at a
// time, so no transaction ever conflicts with another one in progress.
//
// It does not use the SDK's types: attribute values are interfaces there, which
// encoding/json cannot read.
//
// It is safe for concurrent use.
type ddbService struct {
	actions map[string]ddbAction // never changed

	mu     sync.Mutex // guards everything below, the tables included
	tables map[ddbTableID]*ddbTable
	tokens memory[ddbToken, ddbDigest] // of transactions that were carried out
	stale  int                         // how many calls of StaleReads have not ended
	before map[*ddbTable]map[ddbKey]ddbItem
}

func newDynamoDB() *ddbService {
	return &ddbService{
		actions: map[string]ddbAction{
			"CreateTable":   ddbDecode((*ddbService).createTable),
			"DescribeTable": ddbDecode((*ddbService).describeTable),
			"DeleteTable":   ddbDecode((*ddbService).deleteTable),
			"ListTables":    ddbDecode((*ddbService).listTables),

			"GetItem":            ddbDecode((*ddbService).getItem),
			"PutItem":            ddbDecode((*ddbService).putItem),
			"DeleteItem":         ddbDecode((*ddbService).deleteItem),
			"Query":              ddbDecode((*ddbService).query),
			"Scan":               ddbDecode((*ddbService).scan),
			"TransactWriteItems": ddbDecode((*ddbService).transactWriteItems),
		},
		tables: make(map[ddbTableID]*ddbTable),
	}
}

type ddbAction func(d *ddbService, c caller, body []byte) (any, error)

// ddbDecode adapts a typed action. A parameter that In does not have is
// refused, and not ignored.
func ddbDecode[In, Out any](f func(*ddbService, caller, *In) (Out, error)) ddbAction {
	return func(d *ddbService, c caller, body []byte) (any, error) {
		in := new(In)
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(in); err != nil {
			return nil, ddbDecodeError(err)
		}
		if _, err := dec.Token(); err != io.EOF {
			return nil, refusal("SerializationException", "the request body is more than one JSON value")
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		return f(d, c, in)
	}
}

func ddbDecodeError(err error) error {
	if refused, ok := err.(smithy.APIError); ok { // an attribute value's
		return refused
	}
	if parameter, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return ddbUnsupported("the parameter " + parameter)
	}
	return refusal("SerializationException", "the request body is not the JSON of this action")
}

// call answers one request: body is its JSON, and the result marshals to the
// JSON of the answer. An error is a [smithy.APIError].
func (d *ddbService) call(ctx context.Context, c caller, action string, body []byte) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	run, ok := d.actions[action]
	if !ok {
		return nil, refusal("UnknownOperationException", "this server has no DynamoDB action %q", action)
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	return run(d, c, body)
}

// Limits of the developer guide, "Quotas in Amazon DynamoDB", and of the API
// reference.
const (
	ddbMinTableName       = 3
	ddbMaxTableName       = 255
	ddbMaxKeyName         = 255
	ddbMaxAttributeName   = 65_535
	ddbMaxPartitionKey    = 2048
	ddbMaxSortKey         = 1024
	ddbMaxItem            = 400 << 10
	ddbMaxNesting         = 32
	ddbMaxDigits          = 38
	ddbMaxExpression      = 4 << 10
	ddbMaxOperators       = 300
	ddbMaxInOperands      = 100
	ddbMaxTransactItems   = 100
	ddbMaxTransactBytes   = 4 << 20
	ddbMaxToken           = 36
	ddbTokenLife          = 10 * time.Minute
	ddbMaxPage            = 1 << 20 // bytes of items that a Query or a Scan reads
	ddbMaxListTables      = 100
	ddbMaxNumberMagnitude = 125
	ddbMinNumberMagnitude = -130
)

// ddbError is an error answer that says more than a code and a text.
type ddbError struct {
	code, message string
	item          ddbItem     // of ConditionalCheckFailedException, if the request asks for it
	reasons       []ddbReason // of TransactionCanceledException
}

func (e *ddbError) Error() string                 { return e.code + ": " + e.message }
func (e *ddbError) ErrorCode() string             { return e.code }
func (e *ddbError) ErrorMessage() string          { return e.message }
func (e *ddbError) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }

// ddbReason says of one item of a transaction why it was cancelled.
type ddbReason struct {
	Code    string
	Item    ddbItem `json:",omitempty"`
	Message string  `json:",omitempty"`
}

func ddbInvalid(format string, args ...any) error {
	return refusal("ValidationException", format, args...)
}

// ddbUnsupported refuses what DynamoDB has and this server has not.
func ddbUnsupported(what string) error {
	return ddbInvalid("sqsxtest does not support %s", what)
}

// ddbOneOf refuses a value that this server does not support, and the service
// may.
func ddbOneOf(parameter, value string, supported ...string) error {
	for _, s := range supported {
		if value == s {
			return nil
		}
	}
	return ddbUnsupported(fmt.Sprintf("%s %q", parameter, value))
}

// ddbWireError has one code for an error. The shape's namespace is the model's
// for the errors that the model has.
func ddbWireError(err smithy.APIError) wireError {
	const model, coral = "com.amazonaws.dynamodb.v20120810#", "com.amazon.coral.service#"
	code := err.ErrorCode()
	w := wireError{shape: coral + code, status: plainStatus(err)}
	switch code {
	case "ConditionalCheckFailedException", "IdempotentParameterMismatchException", "InternalServerError",
		"ItemCollectionSizeLimitExceededException", "LimitExceededException", "ProvisionedThroughputExceededException",
		"ReplicatedWriteConflictException", "RequestLimitExceeded", "ResourceInUseException", "ResourceNotFoundException",
		"ThrottlingException", "TransactionCanceledException", "TransactionConflictException", "TransactionInProgressException":
		w.shape = model + code
	case "ValidationException":
		w.shape = "com.amazon.coral.validate#" + code
	}
	return w
}

// ddbErrorBody is the JSON of an error. The model has the text of three errors
// under a name with a capital letter.
func ddbErrorBody(shape string, err smithy.APIError) map[string]any {
	body := map[string]any{"__type": shape}
	switch err.ErrorCode() {
	case "IdempotentParameterMismatchException", "TransactionCanceledException", "TransactionInProgressException":
		body["Message"] = err.ErrorMessage()
	default:
		body["message"] = err.ErrorMessage()
	}
	own, ok := err.(*ddbError)
	switch {
	case ok && own.reasons != nil:
		body["CancellationReasons"] = own.reasons
	case ok && own.item != nil:
		body["Item"] = own.item
	case err.ErrorCode() == "TransactionCanceledException":
		if reasons := ddbReasonsOf(err); reasons != nil {
			body["CancellationReasons"] = reasons
		}
	}
	return body
}

// ddbReasonsOf reads the reasons of an error of the SDK that the function given
// to Intercept returned. Its fields have the names of the wire.
func ddbReasonsOf(err error) (reasons []ddbReason) {
	text, failed := json.Marshal(err)
	if failed != nil {
		return nil
	}
	var doc struct {
		CancellationReasons []struct{ Code, Message string }
	}
	if json.Unmarshal(text, &doc) != nil {
		return nil
	}
	for _, r := range doc.CancellationReasons {
		reasons = append(reasons, ddbReason{Code: r.Code, Message: r.Message})
	}
	return reasons
}

// ddbChecksum is the value of the X-Amz-Crc32 header, which the SDKs check.
func ddbChecksum(body []byte) string {
	return strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10)
}

// StaleReads has reads of DynamoDB that are not consistent return every table
// as it is now, until fresh is called: GetItem, Query and Scan without
// ConsistentRead. Consistent reads, conditions and transactions see what was
// written last, as always.
//
//	fresh := server.StaleReads()
//	// rotate, and see that readers survive an old or a missing item
//	fresh()
//
// Without it, all reads return what was written last, although the service
// promises that for consistent reads only. If it is called again before fresh,
// the state of the first call stays, until the last of them has ended. fresh
// may be called more than once.
func (s *Server) StaleReads() (fresh func()) {
	d := s.dynamodb
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stale++; d.stale == 1 {
		d.before = make(map[*ddbTable]map[ddbKey]ddbItem, len(d.tables))
		for _, t := range d.tables {
			d.before[t] = maps.Clone(t.items)
		}
	}
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.stale--; d.stale == 0 {
			d.before = nil
		}
	})
}

// view is what a read of a table sees.
func (d *ddbService) view(t *ddbTable, consistent bool) map[ddbKey]ddbItem {
	if d.stale > 0 && !consistent {
		return d.before[t] // nil for a table that is newer: it was empty
	}
	return t.items
}
