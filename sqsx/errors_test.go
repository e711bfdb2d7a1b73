package sqsx_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/sealq/sealq/sqsx"
)

// TestAliasesShowTheirFields: "go doc" shows the comment of an alias and not
// the fields of its type, so that the comment lists them.
func TestAliasesShowTheirFields(t *testing.T) {
	t.Parallel()
	aliases := map[string]reflect.Type{
		"RefusedError":  reflect.TypeFor[sqsx.RefusedError](),
		"OpenError":     reflect.TypeFor[sqsx.OpenError](),
		"ReceiveError":  reflect.TypeFor[sqsx.ReceiveError](),
		"BatchError":    reflect.TypeFor[sqsx.BatchError](),
		"TooLargeError": reflect.TypeFor[sqsx.TooLargeError](),
	}
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	field := regexp.MustCompile(`(?m)^\t(\w+) +(\S+)`)
	seen := 0
	for _, decl := range file.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		name := general.Specs[0].(*ast.TypeSpec).Name.Name
		typ, known := aliases[name]
		if !known {
			t.Errorf("%s is a new type in errors.go: add it here", name)
			continue
		}
		seen++
		var got, want []string
		for _, m := range field.FindAllStringSubmatch(general.Doc.Text(), -1) {
			got = append(got, m[1]+" "+m[2])
		}
		for f := range typ.Fields() {
			if f.IsExported() {
				want = append(want, f.Name+" "+strings.ReplaceAll(f.Type.String(), "*middleware.OpenError", "*OpenError"))
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the comment of %s lists %q, want %q", name, got, want)
		}
	}
	if seen != len(aliases) {
		t.Errorf("found %d aliases, want %d", seen, len(aliases))
	}
}

// TestErrorsOfSqsx: what a program matches is found by names of this package.
func TestErrorsOfSqsx(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealed, err := w.sealer().SealMessage(t.Context(), arnOf("orders"), &sqs.SendMessageInput{MessageBody: aws.String("x")})
	if err != nil {
		t.Fatal(err)
	}
	message := types.Message{Body: sealed.MessageBody, MessageAttributes: sealed.MessageAttributes}
	altered := message
	altered.Body = aws.String("AAAA" + (*message.Body)[4:])
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		fault   error // of KMS
		queue   string
		message types.Message
		want    []error
		refused bool
	}{
		"outage":        {errors.New("no route"), "orders", message, []error{sqsx.ErrUnavailable}, false},
		"refusal":       {&smithy.GenericAPIError{Code: "DisabledException", Message: "off"}, "orders", message, nil, true},
		"another queue": {nil, "bills", message, []error{sqsx.ErrInvalidMessage, sqsx.ErrContextMismatch}, false},
		"plaintext":     {nil, "orders", types.Message{Body: aws.String("x")}, []error{sqsx.ErrInvalidMessage, sqsx.ErrNotSealed}, false},
		"altered":       {nil, "orders", altered, []error{sqsx.ErrInvalidMessage}, false},
	} {
		w.server.Intercept(kmsFails(tc.fault))
		_, withheld := w.sealer().OpenMessages(t.Context(), arnOf(tc.queue), []types.Message{tc.message})
		if len(withheld) != 1 {
			t.Fatalf("%s: got %d withheld, want 1", name, len(withheld))
		}
		for _, want := range tc.want {
			if !errors.Is(withheld[0], want) {
				t.Errorf("%s: got %v, want %v", name, withheld[0], want)
			}
		}
		if _, ok := errors.AsType[*sqsx.RefusedError](withheld[0]); ok != tc.refused {
			t.Errorf("%s: got %v, want a *RefusedError %v", name, withheld[0], tc.refused)
		}
		for _, class := range []error{sqsx.ErrUnavailable, sqsx.ErrInvalidMessage} {
			if is := errors.Is(withheld[0], class); is != (len(tc.want) > 0 && tc.want[0] == class) {
				t.Errorf("%s: got %v, which is %v: %v", name, withheld[0], class, is)
			}
		}
	}
	if err := w.sealer().CheckSeal(ended, arnOf("orders")); !errors.Is(err, context.Canceled) || errors.Is(err, sqsx.ErrUnavailable) {
		t.Errorf("got %v, want the end of the caller's context alone", err)
	}
}
