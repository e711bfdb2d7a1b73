package sqsxtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ddbTableID is what the ARN of a table holds. Regions and accounts are
// separate namespaces.
type ddbTableID struct{ region, account, name string }

func (id ddbTableID) arn() string {
	return "arn:" + partitionOf(id.region) + ":dynamodb:" + id.region + ":" + id.account + ":table/" + id.name
}

type ddbTable struct {
	ddbTableID
	id          string
	created     time.Time
	partition   ddbKeyAttribute
	sort        *ddbKeyAttribute // nil: the table has none
	provisioned *ddbThroughput   // nil: paid per request
	items       map[ddbKey]ddbItem
}

type ddbKeyAttribute struct{ name, kind string }

// ddbKey identifies an item of a table. The texts are those of the values,
// which are the same for equal values.
type ddbKey struct{ partition, sort string }

// table finds the table that a request names, by name or by ARN.
func (d *ddbService) table(c caller, name *string) (*ddbTable, error) {
	id, err := ddbFindID(c, name)
	if err != nil {
		return nil, err
	}
	t, ok := d.tables[id]
	if !ok {
		return nil, refusal("ResourceNotFoundException", "Requested resource not found")
	}
	return t, nil
}

// describedTable is table with the error of the operations on tables.
func (d *ddbService) describedTable(c caller, name *string) (*ddbTable, error) {
	id, err := ddbFindID(c, name)
	if err != nil {
		return nil, err
	}
	t, ok := d.tables[id]
	if !ok {
		return nil, refusal("ResourceNotFoundException", "Requested resource not found: Table: %s not found", id.name)
	}
	return t, nil
}

// ddbFindID reads the name or the ARN of a table. An ARN may be of another
// account: there are no permissions. It cannot be of another Region.
func ddbFindID(c caller, name *string) (ddbTableID, error) {
	if name == nil {
		return ddbTableID{}, ddbInvalid("The parameter 'TableName' is required but was not present in the request")
	}
	if !strings.HasPrefix(*name, "arn:") {
		return ddbTableID{region: c.region, account: c.account, name: *name}, ddbCheckName(*name)
	}
	p := strings.SplitN(*name, ":", 6)
	if len(p) == 6 && isAccount(p[4]) {
		id := ddbTableID{region: p[3], account: p[4], name: strings.TrimPrefix(p[5], "table/")}
		if id.arn() == *name && ddbCheckName(id.name) == nil {
			if id.region != c.region {
				return id, refusal("ResourceNotFoundException", "Requested resource not found: the table is in %s, the request was sent to %s", id.region, c.region)
			}
			return id, nil
		}
	}
	return ddbTableID{}, ddbInvalid("Invalid table ARN: %.2048s", *name)
}

func ddbCheckName(name string) error {
	if len(name) < ddbMinTableName || len(name) > ddbMaxTableName {
		return ddbInvalid("TableName must be at least %d characters long and at most %d characters long", ddbMinTableName, ddbMaxTableName)
	}
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.'
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !legal(r) }) {
		return ddbInvalid("1 validation error detected: Value '%s' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+", name)
	}
	return nil
}

type (
	ddbAttributeDefinition struct{ AttributeName, AttributeType string }
	ddbKeySchemaElement    struct{ AttributeName, KeyType string }
	ddbThroughput          struct{ ReadCapacityUnits, WriteCapacityUnits int64 }

	ddbCreateTableInput struct {
		TableName             *string
		AttributeDefinitions  []ddbAttributeDefinition
		KeySchema             []ddbKeySchemaElement
		BillingMode           string
		ProvisionedThroughput *ddbThroughput
	}
	ddbTableInput struct{ TableName *string }

	ddbBilling struct{ BillingMode string }

	ddbTableDescription struct {
		AttributeDefinitions  []ddbAttributeDefinition
		BillingModeSummary    *ddbBilling `json:",omitempty"`
		CreationDateTime      *kmsTime
		ItemCount             int
		KeySchema             []ddbKeySchemaElement
		ProvisionedThroughput ddbThroughputDescription
		TableArn              string
		TableID               string `json:"TableId"`
		TableName             string
		TableSizeBytes        int
		TableStatus           string
	}
	ddbThroughputDescription struct {
		NumberOfDecreasesToday int64
		ddbThroughput
	}
	ddbTableOutput  struct{ Table ddbTableDescription }
	ddbChangeOutput struct{ TableDescription ddbTableDescription }
)

func (t *ddbTable) describe(status string) ddbTableDescription {
	out := ddbTableDescription{
		CreationDateTime: kmsTimeOf(t.created), ItemCount: len(t.items), TableArn: t.arn(), TableID: t.id, TableName: t.name, TableStatus: status,
		AttributeDefinitions: []ddbAttributeDefinition{{t.partition.name, t.partition.kind}},
		KeySchema:            []ddbKeySchemaElement{{t.partition.name, "HASH"}},
	}
	if t.sort != nil {
		out.AttributeDefinitions = append(out.AttributeDefinitions, ddbAttributeDefinition{t.sort.name, t.sort.kind})
		out.KeySchema = append(out.KeySchema, ddbKeySchemaElement{t.sort.name, "RANGE"})
	}
	if t.provisioned != nil {
		out.ProvisionedThroughput.ddbThroughput = *t.provisioned
	} else {
		out.BillingModeSummary = &ddbBilling{"PAY_PER_REQUEST"}
	}
	for _, item := range t.items {
		out.TableSizeBytes += item.size()
	}
	return out
}

func (d *ddbService) createTable(c caller, in *ddbCreateTableInput) (out ddbChangeOutput, err error) {
	id, err := ddbFindID(c, in.TableName)
	if err != nil {
		return out, err
	}
	if id.account != c.account {
		return out, refusal("AccessDeniedException", "Cross-account access is not allowed for CreateTable")
	}
	t := &ddbTable{ddbTableID: id, id: newUUID(), created: time.Now(), items: make(map[ddbKey]ddbItem)}
	if err := t.setBilling(in); err != nil {
		return out, err
	}
	if err := t.setKeys(in); err != nil {
		return out, err
	}
	if _, exists := d.tables[id]; exists {
		return out, refusal("ResourceInUseException", "Table already exists: %s", id.name)
	}
	d.tables[id] = t
	return ddbChangeOutput{t.describe("ACTIVE")}, nil
}

func (t *ddbTable) setBilling(in *ddbCreateTableInput) error {
	switch in.BillingMode {
	case "PAY_PER_REQUEST":
		if in.ProvisionedThroughput != nil {
			return ddbInvalid("One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
		}
	case "PROVISIONED", "":
		if in.ProvisionedThroughput == nil {
			return ddbInvalid("One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
		}
		if in.ProvisionedThroughput.ReadCapacityUnits < 1 || in.ProvisionedThroughput.WriteCapacityUnits < 1 {
			return ddbInvalid("1 validation error detected: Value at 'provisionedThroughput' failed to satisfy constraint: Member must have value greater than or equal to 1")
		}
		t.provisioned = in.ProvisionedThroughput
	default:
		return ddbInvalid("1 validation error detected: Value '%s' at 'billingMode' failed to satisfy constraint: Member must satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]", in.BillingMode)
	}
	return nil
}

func (t *ddbTable) setKeys(in *ddbCreateTableInput) error {
	kinds := make(map[string]string)
	for _, a := range in.AttributeDefinitions {
		if !ddbOrdered(a.AttributeType) {
			return ddbInvalid("1 validation error detected: Value '%s' at 'attributeDefinitions.member.attributeType' failed to satisfy constraint: Member must satisfy enum value set: [B, N, S]", a.AttributeType)
		}
		if _, twice := kinds[a.AttributeName]; twice {
			return ddbInvalid("Duplicate AttributeName in AttributeDefinitions: %s", a.AttributeName)
		}
		kinds[a.AttributeName] = a.AttributeType
	}
	if n := len(in.KeySchema); n < 1 || n > 2 {
		return ddbInvalid("1 validation error detected: Value at 'keySchema' failed to satisfy constraint: Member must have length between 1 and 2")
	}
	for i, want := range []string{"HASH", "RANGE"}[:len(in.KeySchema)] {
		k := in.KeySchema[i]
		if n := len(k.AttributeName); n < 1 || n > ddbMaxKeyName {
			return ddbInvalid("1 validation error detected: Value at 'keySchema.%d.member.attributeName' failed to satisfy constraint: Member must have length between 1 and %d", i+1, ddbMaxKeyName)
		}
		if k.KeyType != want {
			return ddbInvalid("Invalid KeySchema: The %s KeySchemaElement is not a %s key type", []string{"first", "second"}[i], want)
		}
		kind, defined := kinds[k.AttributeName]
		if !defined {
			return ddbInvalid("One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: %v",
				k.AttributeName, slices.Sorted(maps.Keys(kinds)))
		}
		if i == 0 {
			t.partition = ddbKeyAttribute{k.AttributeName, kind}
			continue
		}
		if k.AttributeName == t.partition.name {
			return ddbInvalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
		}
		t.sort = &ddbKeyAttribute{k.AttributeName, kind}
	}
	if len(kinds) != len(in.KeySchema) {
		return ddbInvalid("One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	return nil
}

func (d *ddbService) describeTable(c caller, in *ddbTableInput) (out ddbTableOutput, err error) {
	t, err := d.describedTable(c, in.TableName)
	if err != nil {
		return out, err
	}
	return ddbTableOutput{t.describe("ACTIVE")}, nil
}

func (d *ddbService) deleteTable(c caller, in *ddbTableInput) (out ddbChangeOutput, err error) {
	t, err := d.describedTable(c, in.TableName)
	if err != nil {
		return out, err
	}
	delete(d.tables, t.ddbTableID)
	return ddbChangeOutput{t.describe("DELETING")}, nil
}

type (
	ddbListTablesInput struct {
		ExclusiveStartTableName *string
		Limit                   *int
	}
	ddbListTablesOutput struct {
		LastEvaluatedTableName string `json:",omitempty"`
		TableNames             []string
	}
)

func (d *ddbService) listTables(c caller, in *ddbListTablesInput) (out ddbListTablesOutput, err error) {
	limit := ddbMaxListTables
	if in.Limit != nil {
		if limit = *in.Limit; limit < 1 || limit > ddbMaxListTables {
			return out, ddbInvalid("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value between 1 and %d", limit, ddbMaxListTables)
		}
	}
	out.TableNames = []string{}
	for id := range d.tables {
		if id.region == c.region && id.account == c.account && (in.ExclusiveStartTableName == nil || id.name > *in.ExclusiveStartTableName) {
			out.TableNames = append(out.TableNames, id.name)
		}
	}
	slices.Sort(out.TableNames)
	if len(out.TableNames) > limit {
		out.TableNames = out.TableNames[:limit]
		out.LastEvaluatedTableName = out.TableNames[limit-1]
	}
	return out, nil
}

// keyAttributes are the partition key and, if there is one, the sort key.
func (t *ddbTable) keyAttributes() []ddbKeyAttribute {
	if t.sort == nil {
		return []ddbKeyAttribute{t.partition}
	}
	return []ddbKeyAttribute{t.partition, *t.sort}
}

// keyOf returns the key that a request names, which has the key attributes and
// no other.
func (t *ddbTable) keyOf(key ddbItem) (ddbKey, error) {
	attributes := t.keyAttributes()
	mismatch := ddbInvalid("The provided key element does not match the schema")
	if len(key) != len(attributes) {
		return ddbKey{}, mismatch
	}
	for _, a := range attributes {
		if key[a.name].kind != a.kind {
			return ddbKey{}, mismatch
		}
	}
	return t.checkedKey(key)
}

// keyOfItem returns the key of a whole item, which must be small enough.
func (t *ddbTable) keyOfItem(item ddbItem) (ddbKey, error) {
	for _, a := range t.keyAttributes() {
		v, ok := item[a.name]
		if !ok {
			return ddbKey{}, ddbInvalid("One or more parameter values were invalid: Missing the key %s in the item", a.name)
		}
		if v.kind != a.kind {
			return ddbKey{}, ddbInvalid("One or more parameter values were invalid: Type mismatch for key %s expected: %s actual: %s", a.name, a.kind, v.kind)
		}
	}
	key, err := t.checkedKey(item)
	if err != nil {
		return ddbKey{}, err
	}
	if item.size() > ddbMaxItem {
		return ddbKey{}, ddbInvalid("Item size has exceeded the maximum allowed size")
	}
	return key, nil
}

// checkedKey returns the key of an item that has it, and checks its length.
func (t *ddbTable) checkedKey(item ddbItem) (ddbKey, error) {
	for _, a := range t.keyAttributes() {
		if v := item[a.name]; v.text == "" {
			return ddbKey{}, ddbInvalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty %s value. Key: %s",
				map[string]string{"S": "string", "B": "binary"}[v.kind], a.name)
		}
	}
	key := ddbKey{partition: item[t.partition.name].text}
	if t.partition.kind != "N" && len(key.partition) > ddbMaxPartitionKey {
		return ddbKey{}, ddbInvalid("One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of%d bytes", ddbMaxPartitionKey)
	}
	if t.sort != nil {
		key.sort = item[t.sort.name].text
		if t.sort.kind != "N" && len(key.sort) > ddbMaxSortKey {
			return ddbKey{}, ddbInvalid("One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of %d bytes", ddbMaxSortKey)
		}
	}
	return key, nil
}

// keyItem is a key as answers have it.
func (t *ddbTable) keyItem(key ddbKey) ddbItem {
	item := ddbItem{t.partition.name: {kind: t.partition.kind, text: key.partition}}
	if t.sort != nil {
		item[t.sort.name] = ddbValue{kind: t.sort.kind, text: key.sort}
	}
	return item
}

// compare orders keys by partition key, and those of one partition by sort key.
func (t *ddbTable) compare(a, b ddbKey) int {
	if a.partition != b.partition {
		return ddbValue{kind: t.partition.kind, text: a.partition}.compare(ddbValue{kind: t.partition.kind, text: b.partition})
	}
	if t.sort == nil {
		return 0
	}
	return ddbValue{kind: t.sort.kind, text: a.sort}.compare(ddbValue{kind: t.sort.kind, text: b.sort})
}

// NewTable makes a DynamoDB table that is paid per request, and returns its
// ARN. The keys are the names of the partition key and, if the table is to have
// one, of the sort key. Both are strings. The table of a key store reads
//
//	table := server.NewTable("keys", "branch-key-id", "type")
//
// Account, Region and requests are as with [Server.NewKey]. It panics if the
// service would refuse the request, or if there is a table of that name.
func (s *Server) NewTable(name string, keys ...string) (arn string) {
	in := &ddbCreateTableInput{TableName: &name, BillingMode: "PAY_PER_REQUEST"}
	for i, key := range keys {
		kind := "HASH"
		if i > 0 {
			kind = "RANGE"
		}
		in.AttributeDefinitions = append(in.AttributeDefinitions, ddbAttributeDefinition{key, "S"})
		in.KeySchema = append(in.KeySchema, ddbKeySchemaElement{key, kind})
	}
	s.dynamodb.mu.Lock()
	defer s.dynamodb.mu.Unlock()
	out, err := s.dynamodb.createTable(caller{region: DefaultRegion, account: DefaultAccount}, in)
	if err != nil {
		panic(fmt.Sprintf("sqsxtest: NewTable: %q: %v", name, err))
	}
	return out.TableDescription.TableArn
}
