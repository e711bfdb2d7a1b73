package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/logging"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/middleware"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const secret = "the launch code is 0000"

// operations calls each of the three operations with a body to protect.
var operations = map[string]func(context.Context, *sqs.Client, ...func(*sqs.Options)) error{
	"SendMessage": func(ctx context.Context, c *sqs.Client, optFns ...func(*sqs.Options)) error {
		_, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret)}, optFns...)
		return err
	},
	"SendMessageBatch": func(ctx context.Context, c *sqs.Client, optFns ...func(*sqs.Options)) error {
		_, err := c.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("a"), MessageBody: aws.String(secret)},
			{Id: aws.String("b"), MessageBody: aws.String(secret)},
		}}, optFns...)
		return err
	},
	"ReceiveMessage": func(ctx context.Context, c *sqs.Client, optFns ...func(*sqs.Options)) error {
		_, err := c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)}, optFns...)
		return err
	},
}

// withStack returns an option that edits the stacks of a client.
func withStack(edit func(*smithymiddleware.Stack) error) func(*sqs.Options) {
	return func(o *sqs.Options) { o.APIOptions = append(slices.Clip(o.APIOptions), edit) }
}

func TestStackOrder(t *testing.T) {
	t.Parallel()
	for name, disabled := range map[string]bool{"checksum": false, "no-checksum": true} {
		for op, invoke := range operations {
			t.Run(name+"/"+op, func(t *testing.T) {
				t.Parallel()
				var got string
				client, _, _ := setup(t, func(o *sqs.Options) { o.DisableMessageChecksumValidation = disabled },
					withStack(func(s *smithymiddleware.Stack) error { got = s.String(); return nil }))
				if err := invoke(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				golden := filepath.Join("testdata", name+"-"+op+".stack")
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("stack differs from %s (-want +got):\n%s", golden, diff)
				}
			})
		}
	}
}

func TestOtherOperationsAreUntouched(t *testing.T) {
	t.Parallel()
	stack := func(optFns ...func(*sqs.Options)) (s string) {
		fake := &fakeSQS{}
		client := fake.client(append(optFns, withStack(func(st *smithymiddleware.Stack) error { s = st.String(); return nil }))...)
		in := &sqs.DeleteMessageInput{QueueUrl: aws.String(queueURL), ReceiptHandle: aws.String("r")}
		if _, err := client.DeleteMessage(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		return s
	}
	var nilMiddleware *middleware.Middleware
	for name, m := range map[string]*middleware.Middleware{"installed": install(t, &toyCodec{}), "nil": nilMiddleware} {
		if diff := cmp.Diff(stack(), stack(m.Install)); diff != "" {
			t.Errorf("%s: stack of DeleteMessage changed (-want +got):\n%s", name, diff)
		}
	}
}

// attacks are ways to lose the middleware, or what it did. Each must end in an
// error and no request, on every operation.
var attacks = map[string]func(*sqs.Options){
	"APIOptions nil": func(o *sqs.Options) { o.APIOptions = nil },
	"APIOptions replaced": func(o *sqs.Options) {
		o.APIOptions = []func(*smithymiddleware.Stack) error{func(*smithymiddleware.Stack) error { return nil }}
	},
	"APIOptions overwritten in place": func(o *sqs.Options) {
		for i := range o.APIOptions {
			o.APIOptions[i] = func(*smithymiddleware.Stack) error { return nil }
		}
	},
	"Initialize cleared": withStack(func(s *smithymiddleware.Stack) error { s.Initialize.Clear(); return nil }),
	"Initialize replaced": withStack(func(s *smithymiddleware.Stack) error {
		s.Initialize = smithymiddleware.NewInitializeStep()
		return nil
	}),
	"sealer removed": withStack(func(s *smithymiddleware.Stack) error {
		_, err := s.Initialize.Remove(middleware.ID)
		return err
	}),
	"sealer swapped": withStack(func(s *smithymiddleware.Stack) error {
		_, err := s.Initialize.Swap(middleware.ID, initialize("other", func(any) {}))
		return err
	}),
	"Initialize cleared, guard unwrapped": withStack(func(s *smithymiddleware.Stack) error {
		s.Initialize.Clear()
		return unguard(s)
	}),
	"guard unwrapped":   withStack(unguard),
	"Serialize cleared": withStack(func(s *smithymiddleware.Stack) error { s.Serialize.Clear(); return nil }),
	"input of another type": withStack(func(s *smithymiddleware.Stack) error {
		return s.Serialize.Add(serialize("swap", func(in *smithymiddleware.SerializeInput) {
			in.Parameters = &sqs.ListQueuesInput{}
		}), smithymiddleware.Before)
	}),
	"outer middleware clears the context": withStack(func(s *smithymiddleware.Stack) error {
		return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("clear", func(
			ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
		) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
			return next.HandleInitialize(smithymiddleware.ClearStackValues(ctx), in)
		}), smithymiddleware.After)
	}),
}

// unguard puts the SDK's own serializer back, as another client has it.
func unguard(s *smithymiddleware.Stack) error {
	var own smithymiddleware.SerializeMiddleware
	client := (&fakeSQS{}).client(withStack(func(bare *smithymiddleware.Stack) error {
		own, _ = bare.Serialize.Get("OperationSerializer")
		return errors.New("stop here")
	}))
	_ = operations[s.ID()](context.Background(), client)
	_, err := s.Serialize.Swap("OperationSerializer", own)
	return err
}

func initialize(id string, look func(params any)) smithymiddleware.InitializeMiddleware {
	return smithymiddleware.InitializeMiddlewareFunc(id, func(
		ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
	) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
		look(in.Parameters)
		return next.HandleInitialize(ctx, in)
	})
}

func serialize(id string, edit func(*smithymiddleware.SerializeInput)) smithymiddleware.SerializeMiddleware {
	return smithymiddleware.SerializeMiddlewareFunc(id, func(
		ctx context.Context, in smithymiddleware.SerializeInput, next smithymiddleware.SerializeHandler,
	) (smithymiddleware.SerializeOutput, smithymiddleware.Metadata, error) {
		edit(&in)
		return next.HandleSerialize(ctx, in)
	})
}

func TestLossIsLoud(t *testing.T) {
	t.Parallel()
	for name, attack := range attacks {
		for op, invoke := range operations {
			// The same attack on one call, on a client under construction, and
			// on a client made from the options of a finished one.
			for where, try := range map[string]func(*testing.T) (*fakeSQS, error){
				"per call": func(t *testing.T) (*fakeSQS, error) {
					client, fake, _ := setup(t)
					return fake, invoke(t.Context(), client, attack)
				},
				"client": func(t *testing.T) (*fakeSQS, error) {
					client, fake, _ := setup(t, attack)
					return fake, invoke(t.Context(), client)
				},
				"re-wrapped": func(t *testing.T) (*fakeSQS, error) {
					client, fake, _ := setup(t)
					return fake, invoke(t.Context(), sqs.New(client.Options(), attack))
				},
			} {
				t.Run(name+"/"+op+"/"+where, func(t *testing.T) {
					t.Parallel()
					fake, err := try(t)
					if !errors.Is(err, middleware.ErrBypassed) {
						t.Errorf("got error %v, want ErrBypassed", err)
					}
					if got := fake.ops(); len(got) != 0 {
						t.Errorf("got requests %v, want none", got)
					}
				})
			}
		}
	}
}

// TestGuardComparesContent covers middlewares inside the sealer that change
// what it made.
func TestGuardComparesContent(t *testing.T) {
	t.Parallel()
	entries := func(p any, edit func(body **string, attributes *map[string]types.MessageAttributeValue)) {
		switch in := p.(type) {
		case *sqs.SendMessageInput:
			edit(&in.MessageBody, &in.MessageAttributes)
		case *sqs.SendMessageBatchInput:
			last := &in.Entries[len(in.Entries)-1]
			edit(&last.MessageBody, &last.MessageAttributes)
		}
	}
	for name, edit := range map[string]func(body **string, attributes *map[string]types.MessageAttributeValue){
		"body replaced":      func(b **string, _ *map[string]types.MessageAttributeValue) { *b = aws.String(secret) },
		"body removed":       func(b **string, _ *map[string]types.MessageAttributeValue) { *b = nil },
		"body written":       func(b **string, _ *map[string]types.MessageAttributeValue) { **b = secret },
		"attribute removed":  func(_ **string, a *map[string]types.MessageAttributeValue) { delete(*a, toyName) },
		"attribute replaced": func(_ **string, a *map[string]types.MessageAttributeValue) { (*a)[toyName] = binaryValue([]byte("x")) },
		"attribute retyped": func(_ **string, a *map[string]types.MessageAttributeValue) {
			v := (*a)[toyName]
			v.DataType = aws.String("Binary.x")
			(*a)[toyName] = v
		},
		"attribute scribbled": func(_ **string, a *map[string]types.MessageAttributeValue) { (*a)[toyName].BinaryValue[0] ^= 1 },
		"all attributes gone": func(_ **string, a *map[string]types.MessageAttributeValue) { *a = nil },
	} {
		for _, op := range []string{"SendMessage", "SendMessageBatch"} {
			for step, attack := range map[string]func(*smithymiddleware.Stack) error{
				"Initialize": func(s *smithymiddleware.Stack) error {
					return s.Initialize.Add(initialize("swap", func(p any) { entries(p, edit) }), smithymiddleware.After)
				},
				// As close to the serializer as anybody can get.
				"Serialize": func(s *smithymiddleware.Stack) error {
					return s.Serialize.Insert(serialize("swap", func(in *smithymiddleware.SerializeInput) {
						entries(in.Parameters, edit)
					}), "OperationSerializer", smithymiddleware.Before)
				},
			} {
				t.Run(name+"/"+op+"/"+step, func(t *testing.T) {
					t.Parallel()
					client, fake, _ := setup(t, withStack(attack))
					if err := operations[op](t.Context(), client); !errors.Is(err, middleware.ErrBypassed) {
						t.Errorf("got error %v, want ErrBypassed", err)
					}
					if got := fake.ops(); len(got) != 0 {
						t.Errorf("got requests %v, want none", got)
					}
				})
			}
		}
	}
}

// TestGuardedAttributes covers middlewares inside the sealer that change,
// remove or add a message attribute that the codec guards. What it does not
// guard, and what is not sealed, they may change.
func TestGuardedAttributes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit    func(map[string]types.MessageAttributeValue)
		refused bool
	}{
		"replaced":     {func(a map[string]types.MessageAttributeValue) { a["kind"] = stringValue("refund") }, true},
		"written":      {func(a map[string]types.MessageAttributeValue) { *a["kind"].StringValue = "refund" }, true},
		"retyped":      {func(a map[string]types.MessageAttributeValue) { *a["kind"].DataType = "String.x" }, true},
		"scribbled":    {func(a map[string]types.MessageAttributeValue) { a["bytes"].BinaryValue[0] ^= 1 }, true},
		"removed":      {func(a map[string]types.MessageAttributeValue) { delete(a, "kind") }, true},
		"added":        {func(a map[string]types.MessageAttributeValue) { a["absent"] = stringValue("x") }, true},
		"another":      {func(a map[string]types.MessageAttributeValue) { a["free"] = stringValue("x") }, false},
		"another gone": {func(a map[string]types.MessageAttributeValue) { delete(a, "free") }, false},
	} {
		for as, asIs := range map[string]bool{"sealed": false, "as is": true} {
			t.Run(name+"/"+as, func(t *testing.T) {
				t.Parallel()
				client, fake, codec := setup(t, withStack(func(s *smithymiddleware.Stack) error {
					return s.Initialize.Add(initialize("edit", func(p any) {
						switch in := p.(type) {
						case *sqs.SendMessageInput:
							tc.edit(in.MessageAttributes)
						case *sqs.SendMessageBatchInput:
							tc.edit(in.Entries[1].MessageAttributes)
						}
					}), smithymiddleware.After)
				}))
				codec.guarded, codec.asIs = []string{"kind", "bytes", "absent"}, asIs
				attributes := map[string]types.MessageAttributeValue{"kind": stringValue("order"), "bytes": binaryValue([]byte{1}), "free": stringValue("v")}
				_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageAttributes: attributes})
				_, errOfBatch := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{
					{Id: aws.String("a"), MessageBody: aws.String(secret)},
					{Id: aws.String("b"), MessageBody: aws.String(secret), MessageAttributes: attributes},
				}})
				for _, err := range []error{err, errOfBatch} {
					if refused := errors.Is(err, middleware.ErrBypassed); refused != (tc.refused && !asIs) || err != nil && !refused {
						t.Errorf("got error %v, ErrBypassed: want %t", err, tc.refused && !asIs)
					}
				}
				if got := len(fake.ops()); (got == 0) != (tc.refused && !asIs) {
					t.Errorf("got %d requests", got)
				}
			})
		}
	}
}

func TestGuardCountsEntries(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*sqs.SendMessageBatchInput){
		"one more": func(in *sqs.SendMessageBatchInput) {
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String("c"), MessageBody: aws.String(secret)})
		},
		"one less": func(in *sqs.SendMessageBatchInput) { in.Entries = in.Entries[:1] },
		"swapped":  func(in *sqs.SendMessageBatchInput) { slices.Reverse(in.Entries) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, _ := setup(t, withStack(func(s *smithymiddleware.Stack) error {
				return s.Initialize.Add(initialize("edit", func(p any) { edit(p.(*sqs.SendMessageBatchInput)) }), smithymiddleware.After)
			}))
			in := &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: []types.SendMessageBatchRequestEntry{
				{Id: aws.String("a"), MessageBody: aws.String("first")},
				{Id: aws.String("b"), MessageBody: aws.String("second")},
			}}
			if _, err := client.SendMessageBatch(t.Context(), in); !errors.Is(err, middleware.ErrBypassed) {
				t.Errorf("got error %v, want ErrBypassed", err)
			}
			if got := fake.ops(); len(got) != 0 {
				t.Errorf("got requests %v, want none", got)
			}
		})
	}
}

// TestGuardHoldsTheQueue has a router inside the sealer take calls to another
// queue than the one whose policy the codec applied.
func TestGuardHoldsTheQueue(t *testing.T) {
	t.Parallel()
	const elsewhere = "https://sqs.us-east-1.amazonaws.com/123456789012/elsewhere"
	route := func(p any) {
		switch in := p.(type) {
		case *sqs.SendMessageInput:
			in.QueueUrl = aws.String(elsewhere)
		case *sqs.SendMessageBatchInput:
			in.QueueUrl = aws.String(elsewhere)
		case *sqs.ReceiveMessageInput:
			in.QueueUrl = aws.String(elsewhere)
		}
	}
	for op, do := range operations {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			client, fake, _ := setup(t, withStack(func(s *smithymiddleware.Stack) error {
				return s.Initialize.Add(initialize("route", route), smithymiddleware.After)
			}))
			if err := do(t.Context(), client); !errors.Is(err, middleware.ErrBypassed) {
				t.Errorf("got error %v, want ErrBypassed", err)
			}
			if got := fake.ops(); len(got) != 0 {
				t.Errorf("got requests %v, want none", got)
			}
		})
	}
}

func TestGuardOnReceiveWantsTheAttribute(t *testing.T) {
	t.Parallel()
	client, fake, _ := setup(t, withStack(func(s *smithymiddleware.Stack) error {
		return s.Initialize.Add(initialize("edit", func(p any) { p.(*sqs.ReceiveMessageInput).MessageAttributeNames = nil }), smithymiddleware.After)
	}))
	if err := operations["ReceiveMessage"](t.Context(), client); !errors.Is(err, middleware.ErrBypassed) {
		t.Errorf("got error %v, want ErrBypassed", err)
	}
	if got := fake.ops(); len(got) != 0 {
		t.Errorf("got requests %v, want none", got)
	}
}

// TestGuardOnReceiveWantsAdmittedAttributes: what the codec asked for at Admit
// is held to as what it always asks for.
func TestGuardOnReceiveWantsAdmittedAttributes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		names   []string
		refused bool
	}{
		"without it":    {[]string{toyName, "traceparent"}, true},
		"none":          {nil, true},
		"one more":      {[]string{toyName, "kind", "traceparent"}, false},
		"all":           {[]string{"All"}, false},
		"a wider range": {[]string{toyName, "kind.*", "kind"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, codec := setup(t, withStack(func(s *smithymiddleware.Stack) error {
				return s.Initialize.Add(initialize("edit", func(p any) { p.(*sqs.ReceiveMessageInput).MessageAttributeNames = tc.names }), smithymiddleware.After)
			}))
			codec.admit = func(*sqs.ReceiveMessageInput) (middleware.Admission, error) {
				return middleware.Admission{AttributeNames: []string{"kind"}}, nil
			}
			_, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)})
			if refused := errors.Is(err, middleware.ErrBypassed); refused != tc.refused || err != nil && !refused {
				t.Errorf("got error %v, ErrBypassed: want %t", err, tc.refused)
			}
			if got := len(fake.ops()); (got == 0) != tc.refused {
				t.Errorf("got %d requests", got)
			}
		})
	}
}

// tracer imitates a tracing agent: it writes into the maps of the input that it
// is given, up to limit attributes.
func tracer(limit int) smithymiddleware.InitializeMiddleware {
	return initialize("tracer", func(p any) {
		add := func(a *map[string]types.MessageAttributeValue) {
			if *a == nil {
				*a = make(map[string]types.MessageAttributeValue)
			}
			if len(*a) < limit {
				(*a)["_trace"] = stringValue("id")
			}
		}
		header := func(a map[string]types.MessageSystemAttributeValue) {
			if a != nil {
				a["AWSTraceHeader"] = types.MessageSystemAttributeValue{DataType: aws.String("String"), StringValue: aws.String("id")}
			}
		}
		switch in := p.(type) {
		case *sqs.SendMessageInput:
			add(&in.MessageAttributes)
			header(in.MessageSystemAttributes)
		case *sqs.SendMessageBatchInput:
			for i := range in.Entries {
				add(&in.Entries[i].MessageAttributes)
				header(in.Entries[i].MessageSystemAttributes)
			}
		}
	})
}

func TestTracersInsideAndOutside(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		user, limit int
		position    smithymiddleware.RelativePosition
		wantErr     string
		wantTrace   bool
	}{
		"inside, room":                  {user: 8, limit: 10, position: smithymiddleware.After, wantTrace: true},
		"inside, careful at the limit":  {user: 9, limit: 10, position: smithymiddleware.After},
		"inside, careless at the limit": {user: 9, limit: 99, position: smithymiddleware.After, wantErr: "11 message attributes"},
		"outside, room":                 {user: 8, limit: 10, position: smithymiddleware.Before, wantTrace: true},
		"outside, at the limit":         {user: 9, limit: 10, position: smithymiddleware.Before, wantErr: "number of message attributes 11 exceeds the limit of 10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, fake, _ := setup(t, withStack(func(s *smithymiddleware.Stack) error {
				return s.Initialize.Add(tracer(tc.limit), tc.position)
			}))
			attributes := make(map[string]types.MessageAttributeValue)
			for i := range tc.user {
				attributes[string(rune('a'+i))] = stringValue("v")
			}
			before := len(attributes)
			in := &sqs.SendMessageInput{QueueUrl: aws.String(queueURL), MessageBody: aws.String(secret), MessageAttributes: attributes}
			out, err := client.SendMessage(t.Context(), in)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("got error %v, want one with %q", err, tc.wantErr)
				}
				if got := fake.ops(); len(got) != 0 {
					t.Errorf("got requests %v, want none", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, got := fake.stored[0].MessageAttributes["_trace"]; got != tc.wantTrace {
				t.Errorf("trace attribute stored: got %t, want %t", got, tc.wantTrace)
			}
			if tc.position == smithymiddleware.After {
				if len(attributes) != before {
					t.Errorf("the caller's map grew from %d to %d", before, len(attributes))
				}
				if got, want := aws.ToString(out.MD5OfMessageAttributes), attributesMD5(attributes); got != want {
					t.Errorf("got MD5OfMessageAttributes %s, want %s", got, want)
				}
			}
		})
	}
}

func TestInstalledTwice(t *testing.T) {
	t.Parallel()
	for op, invoke := range operations {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			fake, codec := &fakeSQS{}, &toyCodec{}
			m := install(t, codec)
			if err := invoke(t.Context(), fake.client(m.Install, m.Install), m.Install); err != nil {
				t.Fatalf("the same twice: %v", err)
			}
			if want := map[string]int{"SendMessage": 1, "SendMessageBatch": 2}[op]; codec.seals != want {
				t.Errorf("got %d seals, want %d", codec.seals, want)
			}

			other := install(t, &toyCodec{})
			fake = &fakeSQS{}
			for name, client := range map[string]*sqs.Client{
				"at once":    fake.client(m.Install, other.Install),
				"re-wrapped": sqs.New(fake.client(m.Install).Options(), other.Install),
			} {
				if err := invoke(t.Context(), client); !errors.Is(err, middleware.ErrInstalledTwice) {
					t.Errorf("%s: got error %v, want ErrInstalledTwice", name, err)
				}
			}
			// The first one's guard holds on even if only the second is left.
			cleared := fake.client(m.Install, func(o *sqs.Options) { o.APIOptions = nil }, other.Install)
			if err := invoke(t.Context(), cleared); !errors.Is(err, middleware.ErrBypassed) {
				t.Errorf("cleared between: got error %v, want ErrBypassed", err)
			}
			if got := fake.ops(); len(got) != 0 {
				t.Errorf("got requests %v, want none", got)
			}
		})
	}
}

func TestInstallAgainAfterClear(t *testing.T) {
	t.Parallel()
	fake := &fakeSQS{}
	m := install(t, &toyCodec{})
	client := fake.client(m.Install, func(o *sqs.Options) { o.APIOptions = nil }, m.Install)
	send(t, client, queueURL, secret)
	if strings.Contains(fake.wire(), secret) {
		t.Error("plaintext on the wire")
	}
}

func TestUnusableMiddlewareRefuses(t *testing.T) {
	t.Parallel()
	var none *middleware.Middleware
	for name, m := range map[string]*middleware.Middleware{"nil": none, "zero": new(middleware.Middleware)} {
		for op, invoke := range operations {
			t.Run(name+"/"+op, func(t *testing.T) {
				t.Parallel()
				fake := &fakeSQS{}
				for how, client := range map[string]*sqs.Client{
					"installed":          fake.client(m.Install),
					"APIOptions cleared": fake.client(m.Install, func(o *sqs.Options) { o.APIOptions = nil }),
				} {
					if err := invoke(t.Context(), client); !errors.Is(err, middleware.ErrUninitialized) {
						t.Errorf("%s: got error %v, want ErrUninitialized", how, err)
					}
				}
				if got := fake.ops(); len(got) != 0 {
					t.Errorf("got requests %v, want none", got)
				}
			})
		}
	}
}

// TestConfigCopiesSharingAnArray is how plaintext once went out: two copies of
// a configuration, each with an option appended.
func TestConfigCopiesSharingAnArray(t *testing.T) {
	t.Parallel()
	fake := &fakeSQS{}
	base := fake.options()
	base.APIOptions = make([]func(*smithymiddleware.Stack) error, 0, 4)
	sealed, other := base, base
	install(t, &toyCodec{}).Install(&sealed)
	other.APIOptions = append(other.APIOptions, func(*smithymiddleware.Stack) error { return nil })
	if got := base.APIOptions[:1][0]; got == nil {
		t.Fatal("the other copy did not write into the shared array: the test proves nothing")
	}
	send(t, sqs.New(sealed), queueURL, secret)
	if strings.Contains(fake.wire(), secret) {
		t.Error("plaintext on the wire")
	}
}

func TestAnonymousCredentials(t *testing.T) {
	t.Parallel()
	for name, creds := range map[string]aws.CredentialsProvider{"anonymous": aws.AnonymousCredentials{}, "nil": nil} {
		for op, invoke := range operations {
			fake := &fakeSQS{}
			o := fake.options()
			o.Credentials = creds
			m := install(t, &toyCodec{})
			for how, client := range map[string]*sqs.Client{
				"option":  sqs.New(o, m.Install),
				"wrapped": sqs.New(sqs.New(o).Options(), m.Install),
			} {
				if err := invoke(t.Context(), client); err != nil {
					t.Errorf("%s: %s credentials, %s: %v", op, name, how, err)
				}
			}
		}
	}
	// With credentials, requests are still signed.
	fake := &fakeSQS{}
	signed := false
	client := fake.client(install(t, &toyCodec{}).Install, func(o *sqs.Options) {
		o.HTTPClient = doFunc(func(r *http.Request) (*http.Response, error) {
			signed = r.Header.Get("Authorization") != ""
			return fake.Do(r)
		})
	})
	send(t, client, queueURL, secret)
	if !signed {
		t.Error("the request is not signed")
	}
}

type doFunc func(*http.Request) (*http.Response, error)

func (f doFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

// TestMarkIsNotInherited sends with the context of a sealed call through a
// client whose APIOptions were lost.
func TestMarkIsNotInherited(t *testing.T) {
	t.Parallel()
	fake := &fakeSQS{}
	m := install(t, &toyCodec{})
	lost := fake.client(m.Install, func(o *sqs.Options) { o.APIOptions = nil })
	for op, nested := range operations {
		var err error
		outer := fake.client(m.Install, withStack(func(s *smithymiddleware.Stack) error {
			return s.Finalize.Add(smithymiddleware.FinalizeMiddlewareFunc("nested", func(
				ctx context.Context, in smithymiddleware.FinalizeInput, next smithymiddleware.FinalizeHandler,
			) (smithymiddleware.FinalizeOutput, smithymiddleware.Metadata, error) {
				err = nested(ctx, lost)
				return next.HandleFinalize(ctx, in)
			}), smithymiddleware.After)
		}))
		send(t, outer, queueURL, secret)
		if !errors.Is(err, middleware.ErrBypassed) {
			t.Errorf("nested %s: got error %v, want ErrBypassed", op, err)
		}
	}
	if got, want := fake.ops(), []string{"SendMessage", "SendMessage", "SendMessage"}; !slices.Equal(got, want) {
		t.Errorf("got requests %v, want the three outer ones %v", got, want)
	}
}

func TestRetriesSealOnce(t *testing.T) {
	t.Parallel()
	client, fake, codec := setup(t, func(o *sqs.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	})
	fake.fail = func(n int, _ string) *failure {
		if n < 3 {
			return &failure{status: 500, code: "InternalFailure"}
		}
		return nil
	}
	send(t, client, queueURL, secret)
	if codec.seals != 1 {
		t.Errorf("got %d seals, want 1", codec.seals)
	}
	if len(fake.requests) != 3 {
		t.Fatalf("got %d requests, want 3", len(fake.requests))
	}
	for i, r := range fake.requests {
		if !bytes.Equal(r.body, fake.requests[0].body) {
			t.Errorf("attempt %d: got body %s, want %s", i+1, r.body, fake.requests[0].body)
		}
	}
}

// TestNobodyInsideSeesPlaintext looks from every place that the SDK offers:
// interceptors, middlewares of each step, and all of its logging.
func TestNobodyInsideSeesPlaintext(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	spy := &interceptor{t: t}
	client, fake, _ := setup(t, func(o *sqs.Options) {
		o.ClientLogMode = aws.LogSigning | aws.LogRetries | aws.LogRequestWithBody | aws.LogResponseWithBody | aws.LogRequestEventMessage | aws.LogResponseEventMessage
		o.Logger = logging.NewStandardLogger(&log)
		o.Interceptors.AddBeforeExecution(spy)
		o.Interceptors.AddBeforeSerialization(spy)
		o.Interceptors.AddAfterDeserialization(spy)
		o.Interceptors.AddAfterExecution(spy)
	}, withStack(func(s *smithymiddleware.Stack) error {
		return s.Initialize.Add(initialize("spy", func(p any) { spy.look("Initialize", p) }), smithymiddleware.After)
	}))
	for _, op := range []string{"SendMessage", "SendMessageBatch", "ReceiveMessage"} {
		if err := operations[op](t.Context(), client); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
	}
	out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Messages) != 3 || *out.Messages[0].Body != secret {
		t.Errorf("got %d messages, want 3 of the body %q", len(out.Messages), secret)
	}
	spy.lookAgain()
	if spy.looks == 0 || !strings.Contains(log.String(), "X-Amz-Target") {
		t.Fatal("the spies saw nothing: the test proves nothing")
	}
	for what, text := range map[string]string{"log": log.String(), "wire": fake.wire()} {
		if strings.Contains(text, "launch") {
			t.Errorf("plaintext in the %s", what)
		}
	}
}

// interceptor keeps every pointer that it sees, and looks at them again at the
// end: results must not be edited in place.
type interceptor struct {
	t     *testing.T
	looks int
	kept  []any
}

func (i *interceptor) look(where string, v any) {
	i.looks++
	i.kept = append(i.kept, v)
	if strings.Contains(dump(v), "launch") {
		i.t.Errorf("plaintext at %s", where)
	}
}

func (i *interceptor) lookAgain() {
	for _, v := range i.kept {
		if text := dump(v); strings.Contains(text, "launch") || strings.Contains(text, md5Hex([]byte(secret))) {
			i.t.Errorf("plaintext or its digest appeared later in a %T", v)
		}
	}
}

// dump follows pointers, which fmt does not.
func dump(v any) string {
	var b strings.Builder
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() && v.Type().Field(i).Name != "ResultMetadata" {
					walk(v.Field(i))
				}
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Uint8 {
				b.Write(v.Bytes())
				return
			}
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(k)
				walk(v.MapIndex(k))
			}
		case reflect.String:
			b.WriteString(v.String())
			b.WriteByte('\n')
		}
	}
	walk(reflect.ValueOf(v))
	return b.String()
}

func (i *interceptor) BeforeExecution(_ context.Context, in *smithyhttp.InterceptorContext) error {
	i.look("BeforeExecution", in.Input)
	return nil
}

func (i *interceptor) BeforeSerialization(_ context.Context, in *smithyhttp.InterceptorContext) error {
	i.look("BeforeSerialization", in.Input)
	return nil
}

func (i *interceptor) AfterDeserialization(_ context.Context, in *smithyhttp.InterceptorContext) error {
	i.look("AfterDeserialization", in.Output)
	return nil
}

func (i *interceptor) AfterExecution(_ context.Context, in *smithyhttp.InterceptorContext) error {
	i.look("AfterExecution", in.Output)
	return nil
}
