package sqsxtest

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ddbPlaceholders are what the expressions of a request refer to.
type ddbPlaceholders struct {
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues ddbOperands
}

// ddbExpressions reads the expressions of one request.
type ddbExpressions struct {
	ddbPlaceholders
	parsed int
	used   map[string]bool // placeholders
}

// finish refuses placeholders that no expression uses. parameter is the
// expression that the action takes.
func (e *ddbExpressions) finish(parameter string) error {
	names, values := slices.Sorted(maps.Keys(e.ExpressionAttributeNames)), slices.Sorted(maps.Keys(e.ExpressionAttributeValues))
	for _, kind := range []struct {
		field, mark, without string
		set                  bool
		keys                 []string
	}{
		{"ExpressionAttributeNames", "#", "", e.ExpressionAttributeNames != nil, names},
		{"ExpressionAttributeValues", ":", ": " + parameter + " is null", e.ExpressionAttributeValues != nil, values},
	} {
		if !kind.set {
			continue
		}
		if e.parsed == 0 {
			return ddbInvalid("%s can only be specified when using expressions%s", kind.field, kind.without)
		}
		if len(kind.keys) == 0 {
			return ddbInvalid("%s must not be empty", kind.field)
		}
		for _, key := range kind.keys {
			if rest, ok := strings.CutPrefix(key, kind.mark); !ok || !ddbIdentifier(rest) {
				return ddbInvalid("%s contains invalid key: Syntax error; key: \"%s\"", kind.field, key)
			}
		}
		if unused := slices.DeleteFunc(kind.keys, func(key string) bool { return e.used[key] }); len(unused) > 0 {
			return ddbInvalid("Value provided in %s unused in expressions: keys: {%s}", kind.field, strings.Join(unused, ", "))
		}
	}
	return nil
}

// ddbNode is a condition.
type ddbNode struct {
	// AND, OR and NOT have nodes; =, <>, <, <=, >, >=, BETWEEN, IN and the
	// functions have operands.
	operator string
	nodes    []*ddbNode
	operands []ddbOperand
	parens   bool // written in parentheses
}

// ddbOperand is a value of the request, or what a path leads to in an item.
type ddbOperand struct {
	value *ddbValue // nil: a path
	path  []ddbStep
	size  bool // size(operand)
}

// ddbStep is one step of a path: an attribute of a map, or an element of a
// list.
type ddbStep struct {
	name  string
	index int // used if name is empty
}

// names reports whether the condition has a path that begins with an attribute.
func (n *ddbNode) names(attribute string) bool {
	return slices.ContainsFunc(n.operands, func(o ddbOperand) bool { return len(o.path) > 0 && o.path[0].name == attribute }) ||
		slices.ContainsFunc(n.nodes, func(child *ddbNode) bool { return child.names(attribute) })
}

// holds evaluates the condition for an item, which may be nil.
func (n *ddbNode) holds(item ddbItem) bool {
	switch n.operator {
	case "AND":
		return n.nodes[0].holds(item) && n.nodes[1].holds(item)
	case "OR":
		return n.nodes[0].holds(item) || n.nodes[1].holds(item)
	case "NOT":
		return !n.nodes[0].holds(item)
	}
	values, found := make([]ddbValue, len(n.operands)), make([]bool, len(n.operands))
	for i, o := range n.operands {
		values[i], found[i] = o.of(item)
	}
	all := !slices.Contains(found, false)
	switch n.operator {
	case "attribute_exists":
		return found[0]
	case "attribute_not_exists":
		return !found[0]
	case "attribute_type":
		return all && values[0].kind == values[1].text
	case "begins_with":
		return all && values[0].kind == values[1].kind && (values[0].kind == "S" || values[0].kind == "B") && strings.HasPrefix(values[0].text, values[1].text)
	case "contains":
		return all && values[0].contains(values[1])
	case "=":
		return all && values[0].equal(values[1])
	case "<>": // an attribute that is missing differs from every value
		return !all || !values[0].equal(values[1])
	case "IN":
		for i := range values[1:] {
			if found[0] && found[i+1] && values[0].equal(values[i+1]) {
				return true
			}
		}
		return false
	case "BETWEEN":
		return all && ddbHolds(values[0], ">=", values[1]) && ddbHolds(values[0], "<=", values[2])
	}
	return all && ddbHolds(values[0], n.operator, values[1])
}

// ddbHolds compares two values by their order: false if they have none.
func ddbHolds(a ddbValue, operator string, b ddbValue) bool {
	if a.kind != b.kind || !ddbOrdered(a.kind) {
		return false
	}
	switch c := a.compare(b); operator {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}

// contains reports whether a string or a binary has w in it, or a set or a list
// has w as a member.
func (v ddbValue) contains(w ddbValue) bool {
	switch v.kind {
	case "S", "B":
		return v.kind == w.kind && strings.Contains(v.text, w.text)
	}
	return slices.ContainsFunc(v.members, w.equal)
}

// of returns what the operand is for an item.
func (o ddbOperand) of(item ddbItem) (v ddbValue, ok bool) {
	switch {
	case o.value != nil:
		v = *o.value
	default:
		v = ddbValue{kind: "M", fields: item}
		for _, step := range o.path {
			if step.name != "" {
				if v, ok = v.fields[step.name]; !ok {
					return v, false
				}
				continue
			}
			if v.kind != "L" || step.index >= len(v.members) {
				return v, false
			}
			v = v.members[step.index]
		}
	}
	if !o.size {
		return v, true
	}
	n := 0
	switch v.kind {
	case "S", "B":
		n = len(v.text)
	case "M":
		n = len(v.fields)
	case "L", "SS", "NS", "BS":
		n = len(v.members)
	default:
		return v, false
	}
	return ddbValue{kind: "N", text: strconv.Itoa(n)}, true
}

// kind is the type of an operand that is known without an item: "" for a path.
func (o ddbOperand) kind() string {
	switch {
	case o.size:
		return "N"
	case o.value != nil:
		return o.value.kind
	}
	return ""
}

// parse reads the expression that a parameter of the request has. Without one,
// the result is nil.
func (e *ddbExpressions) parse(parameter string, text *string) (*ddbNode, error) {
	if text == nil {
		return nil, nil
	}
	e.parsed++
	invalid := func(message string) error { return ddbInvalid("Invalid %s: %s", parameter, message) }
	if *text == "" {
		return nil, invalid("The expression can not be empty;")
	}
	if len(*text) > ddbMaxExpression {
		return nil, invalid("Expression size has exceeded the maximum allowed size; expression size: " + strconv.Itoa(len(*text)))
	}
	if e.used == nil {
		e.used = make(map[string]bool)
	}
	p := ddbParser{expressions: e, rest: *text}
	p.next()
	n := p.or()
	if p.problem == "" && p.token != "" {
		p.syntax()
	}
	if p.problem == "" && p.operators > ddbMaxOperators {
		p.problem = "The expression contains too many operators; operator count: " + strconv.Itoa(p.operators)
	}
	if p.problem != "" {
		return nil, invalid(p.problem)
	}
	return n, nil
}

// ddbParser reads a condition by recursive descent. Its depth is bounded by the
// length of the expression. After the first problem every method returns at
// once, and the results have no meaning.
type ddbParser struct {
	expressions *ddbExpressions
	rest        string // what follows token
	token       string // "" at the end
	problem     string
	operators   int
	depth       int // parentheses that are open
}

func (p *ddbParser) fail(problem string) {
	if p.problem == "" {
		p.problem = problem
	}
	p.token, p.rest = "", ""
}

func (p *ddbParser) syntax() {
	token, near := p.token, strings.TrimSpace(p.token+p.rest)
	if token == "" {
		token, near = "<EOF>", ""
	}
	p.fail("Syntax error; token: \"" + token + "\", near: \"" + near[:min(len(near), 20)] + "\"")
}

// next takes the next token: a name, a placeholder, an index, or an operator.
func (p *ddbParser) next() {
	s := strings.TrimLeft(p.rest, " \t\r\n")
	n := 0
	switch {
	case s == "":
	case strings.HasPrefix(s, "<=") || strings.HasPrefix(s, ">=") || strings.HasPrefix(s, "<>"):
		n = 2
	case strings.IndexByte("()[],.=<>", s[0]) >= 0:
		n = 1
	case s[0] == '#' || s[0] == ':' || ddbWordByte(s[0]):
		for n = 1; n < len(s) && ddbWordByte(s[n]); n++ {
		}
	default:
		p.token, p.rest = s[:1], s[1:]
		p.syntax()
		return
	}
	p.token, p.rest = s[:n], s[n:]
}

func ddbWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// ddbIdentifier reports whether s has letters, digits and underscores only.
func ddbIdentifier(s string) bool {
	for i := range len(s) {
		if !ddbWordByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// ddbKeyword reports whether a word has a meaning in expressions.
func ddbKeyword(word string) bool {
	return slices.Contains([]string{"AND", "BETWEEN", "IN", "NOT", "OR"}, strings.ToUpper(word))
}

// take moves past a token if it is the next one. Words may be in any case.
func (p *ddbParser) take(token string) bool {
	if p.token == "" || !strings.EqualFold(p.token, token) {
		return false
	}
	p.next()
	return true
}

func (p *ddbParser) expect(token string) {
	if p.problem == "" && !p.take(token) {
		p.syntax()
	}
}

func (p *ddbParser) or() *ddbNode {
	n := p.and()
	for p.take("OR") {
		p.operators++
		n = &ddbNode{operator: "OR", nodes: []*ddbNode{n, p.and()}}
	}
	return n
}

func (p *ddbParser) and() *ddbNode {
	n := p.not()
	for p.take("AND") {
		p.operators++
		n = &ddbNode{operator: "AND", nodes: []*ddbNode{n, p.not()}}
	}
	return n
}

func (p *ddbParser) not() *ddbNode {
	if p.take("NOT") {
		p.operators++
		return &ddbNode{operator: "NOT", nodes: []*ddbNode{p.not()}}
	}
	if p.take("(") {
		p.depth++
		n := p.or()
		p.depth--
		if p.problem == "" && n.parens {
			p.fail("The expression has redundant parentheses;")
		}
		p.expect(")")
		n.parens = true
		return n
	}
	return p.condition()
}

// condition reads a comparison or a function.
func (p *ddbParser) condition() *ddbNode {
	if name := p.token; ddbIdentifier(name) && strings.HasPrefix(strings.TrimLeft(p.rest, " \t\r\n"), "(") && name != "size" {
		return p.function(name)
	}
	n := &ddbNode{operands: []ddbOperand{p.operand()}}
	switch token := p.token; {
	case p.problem != "":
	case slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, token):
		p.next()
		n.operator = token
		n.operands = append(n.operands, p.operand())
		if token != "=" && token != "<>" {
			p.wantOrdered(n)
		}
	case p.take("BETWEEN"):
		n.operator = "BETWEEN"
		low := p.operand()
		p.expect("AND")
		n.operands = append(n.operands, low, p.operand())
		p.wantOrdered(n)
		p.checkBounds(n)
	case p.take("IN"):
		n.operator = "IN"
		p.expect("(")
		n.operands = append(n.operands, p.list()...)
		if len(n.operands) > 1+ddbMaxInOperands {
			p.fail("Incorrect number of operands for operator or function; operator or function: IN, number of operands: " + strconv.Itoa(len(n.operands)-1))
		}
	case token == ")" && p.depth > 0 && !n.operands[0].size && n.operands[0].value == nil:
		// (a) = :v, which the service takes.
		p.fail("sqsxtest does not support parentheses around one operand, near: \"" + p.token + p.rest[:min(len(p.rest), 20)] + "\"")
	case n.operands[0].size:
		p.fail("The function is not allowed to be used this way in an expression; function: size")
	default:
		p.syntax()
	}
	p.operators++
	p.checkDistinct(n)
	return n
}

// function reads a function that is a condition by itself.
func (p *ddbParser) function(name string) *ddbNode {
	count, known := map[string]int{"attribute_exists": 1, "attribute_not_exists": 1, "attribute_type": 2, "begins_with": 2, "contains": 2}[name]
	if !known {
		if ddbKeyword(name) {
			p.syntax()
		}
		p.fail("Invalid function name; function: " + name)
		return &ddbNode{}
	}
	p.next()
	p.expect("(")
	n := &ddbNode{operator: name, operands: p.list()}
	p.operators++
	if p.problem != "" {
		return n
	}
	if slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, p.token) || strings.EqualFold(p.token, "BETWEEN") || strings.EqualFold(p.token, "IN") {
		p.fail("The function is not allowed to be used this way in an expression; function: " + name)
		return n
	}
	if len(n.operands) != count {
		p.fail("Incorrect number of operands for operator or function; operator or function: " + name + ", number of operands: " + strconv.Itoa(len(n.operands)))
		return n
	}
	last := n.operands[count-1]
	switch name {
	case "attribute_exists", "attribute_not_exists":
		if last.value != nil || last.size {
			p.fail("Operator or function requires a document path; operator or function: " + name)
		}
	case "attribute_type":
		kinds := []string{"B", "BOOL", "BS", "L", "M", "N", "NS", "NULL", "S", "SS"}
		switch {
		case last.kind() != "S":
			p.wrongKind(name, last)
		case !slices.Contains(kinds, last.value.text):
			p.fail("Invalid attribute type name found; type: " + last.value.text + ", valid types: {" + strings.Join(kinds, ",") + "}")
		}
	case "begins_with":
		for _, o := range n.operands {
			if kind := o.kind(); kind != "" && kind != "S" && kind != "B" {
				p.wrongKind(name, o)
			}
		}
	}
	p.checkDistinct(n)
	return n
}

func (p *ddbParser) wrongKind(operator string, o ddbOperand) {
	kind := o.kind()
	if kind == "" {
		kind = "a document path"
	}
	p.fail("Incorrect operand type for operator or function; operator or function: " + operator + ", operand type: " + kind)
}

// wantOrdered refuses operands that are known not to be numbers, strings or
// binaries.
func (p *ddbParser) wantOrdered(n *ddbNode) {
	for _, o := range n.operands {
		if kind := o.kind(); kind != "" && !ddbOrdered(kind) {
			p.wrongKind(n.operator, o)
		}
	}
}

// checkBounds refuses a BETWEEN that can never hold.
func (p *ddbParser) checkBounds(n *ddbNode) {
	if p.problem != "" {
		return
	}
	low, high := n.operands[1].value, n.operands[2].value
	if low == nil || high == nil || n.operands[1].size || n.operands[2].size {
		return
	}
	switch {
	case low.kind != high.kind:
		p.fail("The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: {" + low.kind + "}, upper bound operand: AttributeValue: {" + high.kind + "}")
	case low.compare(*high) > 0:
		p.fail("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
	}
}

// checkDistinct refuses to compare an attribute with itself.
func (p *ddbParser) checkDistinct(n *ddbNode) {
	if p.problem != "" || len(n.operands) != 2 {
		return
	}
	a, b := n.operands[0], n.operands[1]
	if a.value == nil && b.value == nil && a.size == b.size && slices.Equal(a.path, b.path) {
		steps := make([]string, len(a.path))
		for i, step := range a.path {
			if steps[i] = step.name; step.name == "" {
				steps[i] = "[" + strconv.Itoa(step.index) + "]"
			}
		}
		p.fail("The first operand must be distinct from the remaining operands for this operator or function; operator: " + n.operator + ", first operand: [" + strings.Join(steps, ", ") + "]")
	}
}

// list reads operands up to the closing parenthesis.
func (p *ddbParser) list() []ddbOperand {
	all := []ddbOperand{p.operand()}
	for p.take(",") {
		all = append(all, p.operand())
	}
	p.expect(")")
	return all
}

func (p *ddbParser) operand() (o ddbOperand) {
	token := p.token
	if p.problem != "" {
		return o
	}
	if strings.HasPrefix(token, ":") {
		v, ok := p.expressions.ExpressionAttributeValues[token]
		if !ok {
			p.fail("An expression attribute value used in expression is not defined; attribute value: " + token)
			return o
		}
		p.expressions.used[token] = true
		p.next()
		o.value = &v
		return o
	}
	if token == "size" && strings.HasPrefix(strings.TrimLeft(p.rest, " \t\r\n"), "(") {
		p.next()
		p.next()
		o = p.operand()
		if p.problem == "" && o.size {
			p.fail("The function is not allowed to be used this way in an expression; function: size")
		}
		if kind := o.kind(); kind == "N" || kind == "BOOL" || kind == "NULL" {
			p.wrongKind("size", o)
		}
		o.size = true
		p.operators++
		p.expect(")")
		return o
	}
	o.path = []ddbStep{{name: p.name()}}
	for p.problem == "" {
		switch {
		case p.take("."):
			o.path = append(o.path, ddbStep{name: p.name()})
		case p.take("["):
			index, err := strconv.Atoi(p.token)
			if err != nil {
				p.syntax()
				return o
			}
			p.next()
			p.expect("]")
			o.path = append(o.path, ddbStep{index: index})
		default:
			return o
		}
	}
	return o
}

// name reads the name of an attribute, or a placeholder for one.
func (p *ddbParser) name() string {
	token := p.token
	switch {
	case p.problem != "":
		return ""
	case strings.HasPrefix(token, "#"):
		name, ok := p.expressions.ExpressionAttributeNames[token]
		if !ok {
			p.fail("An expression attribute name used in the document path is not defined; attribute name: " + token)
			return ""
		}
		if name == "" {
			p.fail("ExpressionAttributeNames contains invalid value: an attribute name cannot be empty; key: " + token)
			return ""
		}
		p.expressions.used[token] = true
		p.next()
		return name
	case !ddbIdentifier(token) || token[0] >= '0' && token[0] <= '9' || ddbKeyword(token):
		p.syntax()
		return ""
	case strings.HasPrefix(strings.TrimLeft(p.rest, " \t\r\n"), "("):
		p.fail("The function is not allowed to be used this way in an expression; function: " + token)
		return ""
	case ddbReserved(token):
		p.fail("Attribute name is a reserved keyword; reserved keyword: " + token)
		return ""
	}
	p.next()
	return token
}
