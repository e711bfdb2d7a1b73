package sqsxtest

import (
	"slices"
)

type (
	ddbGetItemInput struct {
		TableName              *string
		Key                    ddbItem
		ConsistentRead         bool
		ReturnConsumedCapacity string
	}
	ddbItemOutput struct {
		Item ddbItem `json:",omitempty"`
	}
)

func (d *ddbService) getItem(c caller, in *ddbGetItemInput) (out ddbItemOutput, err error) {
	if err := ddbOneOf("ReturnConsumedCapacity", in.ReturnConsumedCapacity, "", "NONE"); err != nil {
		return out, err
	}
	t, err := d.table(c, in.TableName)
	if err != nil {
		return out, err
	}
	key, err := t.keyOf(in.Key)
	if err != nil {
		return out, err
	}
	out.Item = d.view(t, in.ConsistentRead)[key]
	return out, nil
}

type (
	// ddbGuarded is what all writes have, those in a transaction too.
	ddbGuarded struct {
		TableName           *string
		ConditionExpression *string
		ddbPlaceholders
		ReturnValuesOnConditionCheckFailure string
	}
	ddbPut struct {
		ddbGuarded
		Item ddbItem
	}
	ddbDelete struct { // and ConditionCheck
		ddbGuarded
		Key ddbItem
	}
	ddbReturns struct {
		ReturnValues                string
		ReturnConsumedCapacity      string
		ReturnItemCollectionMetrics string
	}
	ddbPutItemInput struct {
		ddbPut
		ddbReturns
	}
	ddbDeleteItemInput struct {
		ddbDelete
		ddbReturns
	}
	ddbWriteOutput struct {
		Attributes ddbItem `json:",omitempty"`
	}
)

// ddbWrite is a write that is ready to be carried out.
type ddbWrite struct {
	table     *ddbTable
	condition *ddbNode // nil: none
	returnOld bool     // in the error, if the condition does not hold
	key       ddbKey
	item      ddbItem // nil: the item is deleted
	checkOnly bool    // nothing is changed
}

// guard prepares all of a write but its item.
func (d *ddbService) guard(c caller, in *ddbGuarded) (w ddbWrite, err error) {
	if err := ddbOneOf("ReturnValuesOnConditionCheckFailure", in.ReturnValuesOnConditionCheckFailure, "", "NONE", "ALL_OLD"); err != nil {
		return w, err
	}
	w.returnOld = in.ReturnValuesOnConditionCheckFailure == "ALL_OLD"
	expressions := ddbExpressions{ddbPlaceholders: in.ddbPlaceholders}
	if w.condition, err = expressions.parse("ConditionExpression", in.ConditionExpression); err != nil {
		return w, err
	}
	if err := expressions.finish("ConditionExpression"); err != nil {
		return w, err
	}
	w.table, err = d.table(c, in.TableName)
	return w, err
}

// put and remove prepare a write of a transaction, or one by itself. An error
// of item is what is wrong with the item or the key: a transaction reports it
// otherwise than all other errors.
func (d *ddbService) put(c caller, in *ddbPut) (w ddbWrite, item, err error) {
	if in.Item == nil {
		return w, nil, ddbInvalid("The parameter 'Item' is required but was not present in the request")
	}
	if w, err = d.guard(c, &in.ddbGuarded); err != nil {
		return w, nil, err
	}
	w.item = in.Item
	w.key, item = w.table.keyOfItem(in.Item)
	return w, item, nil
}

func (d *ddbService) remove(c caller, in *ddbDelete) (w ddbWrite, item, err error) {
	if in.Key == nil {
		return w, nil, ddbInvalid("The parameter 'Key' is required but was not present in the request")
	}
	if w, err = d.guard(c, &in.ddbGuarded); err != nil {
		return w, nil, err
	}
	w.key, item = w.table.keyOf(in.Key)
	return w, item, nil
}

// holds reports whether the condition of a write holds. An item that does not
// exist is one without attributes.
func (w *ddbWrite) holds() bool {
	return w.condition == nil || w.condition.holds(w.table.items[w.key])
}

// failed is what a refused write says of the item, if the request asks for it.
func (w *ddbWrite) failed() ddbItem {
	if !w.returnOld {
		return nil
	}
	return w.table.items[w.key]
}

func (w *ddbWrite) apply() {
	switch {
	case w.checkOnly:
	case w.item == nil:
		delete(w.table.items, w.key)
	default:
		w.table.items[w.key] = w.item
	}
}

const ddbConditionFailed = "The conditional request failed"

// write carries out one write by itself.
func (in *ddbReturns) write(w ddbWrite) (out ddbWriteOutput, err error) {
	if err := in.check(); err != nil {
		return out, err
	}
	if err := ddbOneOf("ReturnValues", in.ReturnValues, "", "NONE", "ALL_OLD"); err != nil {
		return out, err
	}
	if !w.holds() {
		return out, &ddbError{code: "ConditionalCheckFailedException", message: ddbConditionFailed, item: w.failed()}
	}
	if in.ReturnValues == "ALL_OLD" {
		out.Attributes = w.table.items[w.key]
	}
	w.apply()
	return out, nil
}

func (in *ddbReturns) check() error {
	if err := ddbOneOf("ReturnConsumedCapacity", in.ReturnConsumedCapacity, "", "NONE"); err != nil {
		return err
	}
	return ddbOneOf("ReturnItemCollectionMetrics", in.ReturnItemCollectionMetrics, "", "NONE")
}

func (d *ddbService) putItem(c caller, in *ddbPutItemInput) (out ddbWriteOutput, err error) {
	w, itemErr, err := d.put(c, &in.ddbPut)
	if err != nil {
		return out, err
	}
	if itemErr != nil {
		return out, itemErr
	}
	return in.write(w)
}

func (d *ddbService) deleteItem(c caller, in *ddbDeleteItemInput) (out ddbWriteOutput, err error) {
	w, itemErr, err := d.remove(c, &in.ddbDelete)
	if err != nil {
		return out, err
	}
	if itemErr != nil {
		return out, itemErr
	}
	return in.write(w)
}

type (
	// ddbSelection is what Query and Scan have in common.
	ddbSelection struct {
		TableName         *string
		ConsistentRead    bool
		ExclusiveStartKey ddbItem
		FilterExpression  *string
		ddbPlaceholders
		Limit                  *int
		ReturnConsumedCapacity string
		Select                 string
	}
	ddbScanInput  struct{ ddbSelection }
	ddbQueryInput struct {
		ddbSelection
		KeyConditionExpression *string
		ScanIndexForward       *bool
	}
	ddbSelectionOutput struct {
		Count            int
		Items            []ddbItem `json:",omitempty"`
		LastEvaluatedKey ddbItem   `json:",omitempty"`
		ScannedCount     int
	}
)

func (d *ddbService) scan(c caller, in *ddbScanInput) (out ddbSelectionOutput, err error) {
	expressions := ddbExpressions{ddbPlaceholders: in.ddbPlaceholders}
	filter, err := expressions.parse("FilterExpression", in.FilterExpression)
	if err != nil {
		return out, err
	}
	if err := expressions.finish("FilterExpression"); err != nil {
		return out, err
	}
	t, err := d.table(c, in.TableName)
	if err != nil {
		return out, err
	}
	return d.page(t, &in.ddbSelection, filter, false, func(ddbItem) bool { return true })
}

func (d *ddbService) query(c caller, in *ddbQueryInput) (out ddbSelectionOutput, err error) {
	if in.KeyConditionExpression == nil {
		return out, ddbInvalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	expressions := ddbExpressions{ddbPlaceholders: in.ddbPlaceholders}
	filter, err := expressions.parse("FilterExpression", in.FilterExpression)
	if err != nil {
		return out, err
	}
	keys, err := expressions.parse("KeyConditionExpression", in.KeyConditionExpression)
	if err != nil {
		return out, err
	}
	if err := expressions.finish("KeyConditionExpression"); err != nil {
		return out, err
	}
	t, err := d.table(c, in.TableName)
	if err != nil {
		return out, err
	}
	if err := t.checkKeyCondition(keys); err != nil {
		return out, err
	}
	for _, a := range t.keyAttributes() {
		if filter != nil && filter.names(a.name) {
			return out, ddbInvalid("Filter Expression can only contain non-primary key attributes: Primary key attribute: %s", a.name)
		}
	}
	backward := in.ScanIndexForward != nil && !*in.ScanIndexForward
	return d.page(t, &in.ddbSelection, filter, backward, keys.holds)
}

// checkKeyCondition refuses what is not one value of the partition key, and at
// most one condition on the sort key.
func (t *ddbTable) checkKeyCondition(keys *ddbNode) error {
	conditions := []*ddbNode{keys}
	if keys.operator == "AND" {
		conditions = keys.nodes
	}
	partitions, sorts := 0, 0
	for _, n := range conditions {
		if len(n.nodes) > 0 || len(n.operands) < 2 || slices.Contains([]string{"<>", "IN", "contains", "attribute_type"}, n.operator) {
			return ddbInvalid("Invalid operator used in KeyConditionExpression: %s", n.operator)
		}
		path := n.operands[0].path
		if len(path) != 1 || n.operands[0].size {
			return ddbInvalid("Invalid condition in KeyConditionExpression: the first operand must be the name of a key attribute")
		}
		var key ddbKeyAttribute
		switch {
		case path[0].name == t.partition.name:
			partitions++
			if key = t.partition; n.operator != "=" {
				return ddbInvalid("Query key condition not supported")
			}
		case t.sort != nil && path[0].name == t.sort.name:
			sorts++
			key = *t.sort
		default:
			return ddbInvalid("Query condition missed key schema element: %s", t.partition.name)
		}
		for _, o := range n.operands[1:] {
			if o.value == nil {
				return ddbInvalid("Invalid condition in KeyConditionExpression: a key attribute is compared with values only")
			}
			if o.value.kind != key.kind {
				return ddbInvalid("One or more parameter values were invalid: Condition parameter type does not match schema type")
			}
		}
	}
	if partitions != 1 {
		return ddbInvalid("Query condition missed key schema element: %s", t.partition.name)
	}
	if sorts > 1 {
		return ddbInvalid("KeyConditionExpressions must only contain one condition per key")
	}
	return nil
}

// page returns the items that match and pass the filter, as many as one answer
// holds.
func (d *ddbService) page(t *ddbTable, in *ddbSelection, filter *ddbNode, backward bool, match func(ddbItem) bool) (out ddbSelectionOutput, err error) {
	if err := ddbOneOf("ReturnConsumedCapacity", in.ReturnConsumedCapacity, "", "NONE"); err != nil {
		return out, err
	}
	if err := ddbOneOf("Select", in.Select, "", "ALL_ATTRIBUTES", "COUNT"); err != nil {
		return out, err
	}
	if in.Limit != nil && *in.Limit < 1 {
		return out, ddbInvalid("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1", *in.Limit)
	}
	compare := t.compare
	if backward {
		compare = func(a, b ddbKey) int { return t.compare(b, a) }
	}
	var keys []ddbKey
	items := d.view(t, in.ConsistentRead)
	for key, item := range items {
		if match(item) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, compare)
	if in.ExclusiveStartKey != nil {
		start, err := t.keyOf(in.ExclusiveStartKey)
		if err != nil {
			return out, ddbInvalid("The provided starting key is invalid: %s", err.(interface{ ErrorMessage() string }).ErrorMessage())
		}
		keys = slices.DeleteFunc(keys, func(key ddbKey) bool { return compare(key, start) <= 0 })
	}
	bytes := 0
	for i, key := range keys {
		item := items[key]
		out.ScannedCount++
		if filter == nil || filter.holds(item) {
			out.Count++
			if in.Select != "COUNT" {
				out.Items = append(out.Items, item)
			}
		}
		bytes += item.size()
		if full := in.Limit != nil && out.ScannedCount == *in.Limit; full || bytes > ddbMaxPage && i < len(keys)-1 {
			out.LastEvaluatedKey = t.keyItem(key)
			break
		}
	}
	return out, nil
}
