package sqsxtest

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"time"
)

type (
	ddbTransactItem struct {
		ConditionCheck *ddbDelete
		Delete         *ddbDelete
		Put            *ddbPut
		Update         json.RawMessage
	}
	ddbTransactInput struct {
		ClientRequestToken          *string
		ReturnConsumedCapacity      string
		ReturnItemCollectionMetrics string
		TransactItems               []ddbTransactItem
	}

	// ddbToken is an account's ClientRequestToken.
	ddbToken struct{ region, account, token string }

	ddbDigest = [sha256.Size]byte
)

// transactWriteItems changes all items or none. A transaction with the token of
// one that was carried out within ten minutes changes nothing, and succeeds.
func (d *ddbService) transactWriteItems(c caller, in *ddbTransactInput) (out struct{}, err error) {
	if err := (&ddbReturns{ReturnConsumedCapacity: in.ReturnConsumedCapacity, ReturnItemCollectionMetrics: in.ReturnItemCollectionMetrics}).check(); err != nil {
		return out, err
	}
	if n := len(in.TransactItems); n < 1 || n > ddbMaxTransactItems {
		return out, ddbInvalid("1 validation error detected: Value at 'transactItems' failed to satisfy constraint: Member must have length less than or equal to %d and greater than or equal to 1", ddbMaxTransactItems)
	}
	writes, reasons, err := d.prepare(c, in.TransactItems)
	if err != nil {
		return out, err
	}
	now := time.Now()
	token, request, err := ddbRequestToken(c, in)
	if err != nil {
		return out, err
	}
	if earlier, ok := d.tokens.get(token, now); ok && token.token != "" {
		if earlier != request {
			return out, &ddbError{code: "IdempotentParameterMismatchException", message: "Request parameters differ from those of an earlier request with the same ClientRequestToken"}
		}
		return out, nil
	}
	cancelled := false
	for i := range writes {
		if reasons[i].Code == "None" && !writes[i].holds() {
			reasons[i] = ddbReason{Code: "ConditionalCheckFailed", Message: ddbConditionFailed, Item: writes[i].failed()}
		}
		cancelled = cancelled || reasons[i].Code != "None"
	}
	if cancelled {
		codes := make([]string, len(reasons))
		for i, r := range reasons {
			codes[i] = r.Code
		}
		return out, &ddbError{code: "TransactionCanceledException", reasons: reasons,
			message: "Transaction cancelled, please refer cancellation reasons for specific reasons [" + strings.Join(codes, ", ") + "]"}
	}
	for i := range writes {
		writes[i].apply()
	}
	if token.token != "" {
		d.tokens.keep(token, request, now, ddbTokenLife)
	}
	return out, nil
}

// prepare reads the writes of a transaction. What is wrong with one item is a
// reason to cancel it; what is wrong with the request is an error.
func (d *ddbService) prepare(c caller, items []ddbTransactItem) ([]ddbWrite, []ddbReason, error) {
	type target struct {
		table *ddbTable
		key   ddbKey
	}
	writes, reasons := make([]ddbWrite, len(items)), make([]ddbReason, len(items))
	seen := make(map[target]bool)
	bytes := 0
	for i, in := range items {
		var itemErr, err error
		switch {
		case len(in.Update) > 0:
			err = ddbUnsupported("Update in a transaction")
		case in.Put != nil && in.Delete == nil && in.ConditionCheck == nil:
			writes[i], itemErr, err = d.put(c, in.Put)
		case in.Put == nil && in.Delete != nil && in.ConditionCheck == nil:
			writes[i], itemErr, err = d.remove(c, in.Delete)
		case in.Put == nil && in.Delete == nil && in.ConditionCheck != nil:
			if in.ConditionCheck.ConditionExpression == nil {
				err = ddbInvalid("1 validation error detected: Value null at 'transactItems.%d.member.conditionCheck.conditionExpression' failed to satisfy constraint: Member must not be null", i+1)
				break
			}
			writes[i], itemErr, err = d.remove(c, in.ConditionCheck)
			writes[i].checkOnly = true
		default:
			err = ddbInvalid("TransactItems can only contain one of Check, Put, Update or Delete")
		}
		if err != nil {
			return nil, nil, err
		}
		if refused, ok := itemErr.(interface{ ErrorMessage() string }); ok {
			reasons[i] = ddbReason{Code: "ValidationError", Message: refused.ErrorMessage()}
			continue
		}
		reasons[i] = ddbReason{Code: "None"}
		w := &writes[i]
		at := target{w.table, w.key}
		if seen[at] {
			return nil, nil, ddbInvalid("Transaction request cannot include multiple operations on one item")
		}
		seen[at] = true
		if bytes += w.item.size(); bytes > ddbMaxTransactBytes {
			return nil, nil, ddbInvalid("Collection of items in the transaction exceeds %d bytes", ddbMaxTransactBytes)
		}
	}
	return writes, reasons, nil
}

// ddbRequestToken returns the token of a request, and a digest that is equal
// for equal requests. Without a token it is empty.
func ddbRequestToken(c caller, in *ddbTransactInput) (token ddbToken, request ddbDigest, err error) {
	if in.ClientRequestToken == nil {
		return token, request, nil
	}
	token = ddbToken{c.region, c.account, *in.ClientRequestToken}
	if n := len(token.token); n < 1 || n > ddbMaxToken {
		return token, request, ddbInvalid("1 validation error detected: Value at 'clientRequestToken' failed to satisfy constraint: Member must have length between 1 and %d", ddbMaxToken)
	}
	text, err := json.Marshal(in.TransactItems) // sorts the names of maps
	if err != nil {
		return token, request, refusal("SerializationException", "%v", err)
	}
	return token, sha256.Sum256(text), nil
}
