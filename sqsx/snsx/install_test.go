package snsx_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/snsx"
)

// operations publish the secret by each of the two calls.
func operations(topic string) map[string]func(context.Context, *sns.Client, ...func(*sns.Options)) error {
	return map[string]func(context.Context, *sns.Client, ...func(*sns.Options)) error{
		"Publish": func(ctx context.Context, c *sns.Client, optFns ...func(*sns.Options)) error {
			_, err := c.Publish(ctx, &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageAttributes: manyAttributes(1)}, optFns...)
			return err
		},
		"PublishBatch": func(ctx context.Context, c *sns.Client, optFns ...func(*sns.Options)) error {
			_, err := c.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: &topic, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{
				{Id: aws.String("a"), Message: aws.String("other")},
				{Id: aws.String("b"), Message: aws.String(secret), MessageAttributes: manyAttributes(1)},
			}}, optFns...)
			return err
		},
	}
}

func withStack(change func(*smithymiddleware.Stack) error) func(*sns.Options) {
	return func(o *sns.Options) { o.APIOptions = append(slices.Clip(o.APIOptions), change) }
}

// inside adds a middleware between the sealer and the serializer.
func inside(edit func(input any)) func(*sns.Options) {
	return withStack(func(s *smithymiddleware.Stack) error {
		return s.Serialize.Insert(smithymiddleware.SerializeMiddlewareFunc("edit", func(
			ctx context.Context, in smithymiddleware.SerializeInput, next smithymiddleware.SerializeHandler,
		) (smithymiddleware.SerializeOutput, smithymiddleware.Metadata, error) {
			edit(in.Parameters)
			return next.HandleSerialize(ctx, in)
		}), "OperationSerializer", smithymiddleware.Before)
	})
}

// attacks are ways to lose the middleware, or what it did.
func attacks(elsewhere string) map[string]func(*sns.Options) {
	// message edits the last message of either input.
	message := func(edit func(text **string, attributes *map[string]types.MessageAttributeValue, structure **string)) func(*sns.Options) {
		return inside(func(input any) {
			switch in := input.(type) {
			case *sns.PublishInput:
				edit(&in.Message, &in.MessageAttributes, &in.MessageStructure)
			case *sns.PublishBatchInput:
				last := &in.PublishBatchRequestEntries[len(in.PublishBatchRequestEntries)-1]
				edit(&last.Message, &last.MessageAttributes, &last.MessageStructure)
			}
		})
	}
	type attributes = *map[string]types.MessageAttributeValue
	return map[string]func(*sns.Options){
		"APIOptions nil": func(o *sns.Options) { o.APIOptions = nil },
		"APIOptions overwritten in place": func(o *sns.Options) {
			for i := range o.APIOptions {
				o.APIOptions[i] = func(*smithymiddleware.Stack) error { return nil }
			}
		},
		"Initialize cleared": withStack(func(s *smithymiddleware.Stack) error { s.Initialize.Clear(); return nil }),
		"sealer removed": withStack(func(s *smithymiddleware.Stack) error {
			_, err := s.Initialize.Remove(snsx.ID)
			return err
		}),
		"guard unwrapped": withStack(unguard),
		"sealer removed, guard unwrapped": withStack(func(s *smithymiddleware.Stack) error {
			_, err := s.Initialize.Remove(snsx.ID)
			return errors.Join(err, unguard(s))
		}),
		"stack values cleared": withStack(func(s *smithymiddleware.Stack) error {
			return s.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("clear", func(
				ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
			) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
				return next.HandleInitialize(smithymiddleware.ClearStackValues(ctx), in)
			}), smithymiddleware.After)
		}),
		"input of another type": withStack(func(s *smithymiddleware.Stack) error {
			return s.Serialize.Add(smithymiddleware.SerializeMiddlewareFunc("swap", func(
				ctx context.Context, in smithymiddleware.SerializeInput, next smithymiddleware.SerializeHandler,
			) (smithymiddleware.SerializeOutput, smithymiddleware.Metadata, error) {
				in.Parameters = &sns.ListTopicsInput{}
				return next.HandleSerialize(ctx, in)
			}), smithymiddleware.Before)
		}),
		"text replaced":       message(func(m **string, _ attributes, _ **string) { *m = aws.String(secret) }),
		"text written":        message(func(m **string, _ attributes, _ **string) { **m = secret }),
		"text removed":        message(func(m **string, _ attributes, _ **string) { *m = nil }),
		"text and structure":  message(func(_ **string, _ attributes, s **string) { *s = aws.String("json") }),
		"attribute removed":   message(func(_ **string, a attributes, _ **string) { delete(*a, "sealq") }),
		"attribute scribbled": message(func(_ **string, a attributes, _ **string) { (*a)["sealq"].BinaryValue[0] ^= 1 }),
		"attribute retyped": message(func(_ **string, a attributes, _ **string) {
			v := (*a)["sealq"]
			v.DataType = aws.String("Binary.x")
			(*a)["sealq"] = v
		}),
		"all attributes gone": message(func(_ **string, a attributes, _ **string) { *a = nil }),
		"another topic": inside(func(input any) {
			switch in := input.(type) {
			case *sns.PublishInput:
				in.TopicArn = &elsewhere
			case *sns.PublishBatchInput:
				in.TopicArn = &elsewhere
			}
		}),
		"a topic beside": inside(func(input any) {
			switch in := input.(type) {
			case *sns.PublishInput:
				in.TargetArn = &elsewhere
			case *sns.PublishBatchInput:
				in.TopicArn = nil
			}
		}),
		"a phone instead": inside(func(input any) {
			switch in := input.(type) {
			case *sns.PublishInput:
				in.TopicArn, in.PhoneNumber = nil, aws.String("+4930123456")
			case *sns.PublishBatchInput:
				in.TopicArn = nil
			}
		}),
		"one message more": inside(func(input any) {
			switch in := input.(type) {
			case *sns.PublishInput:
				in.Message = aws.String(*in.Message + secret)
			case *sns.PublishBatchInput:
				in.PublishBatchRequestEntries = append(in.PublishBatchRequestEntries, types.PublishBatchRequestEntry{Id: aws.String("c"), Message: aws.String(secret)})
			}
		}),
		"messages swapped": inside(func(input any) {
			switch in := input.(type) {
			case *sns.PublishInput:
				in.Message = aws.String(secret)
			case *sns.PublishBatchInput:
				slices.Reverse(in.PublishBatchRequestEntries)
			}
		}),
	}
}

// unguard puts the SDK's own serializer back, as another client has it.
func unguard(s *smithymiddleware.Stack) error {
	var own smithymiddleware.SerializeMiddleware
	bare := sns.New(sns.Options{Region: "us-east-1"}, withStack(func(b *smithymiddleware.Stack) error {
		own, _ = b.Serialize.Get("OperationSerializer")
		return errors.New("stop here")
	}))
	_ = operations("arn:aws:sns:us-east-1:000000000000:x")[s.ID()](context.Background(), bare)
	_, err := s.Serialize.Swap("OperationSerializer", own)
	return err
}

// TestGuards: whatever an option or a middleware does to the sealer, or to what
// it sealed, ends in ErrBypassed with no request: of a call, of a client, and
// of a client made from the options of another.
func TestGuards(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic, elsewhere := w.server.NewTopic("orders"), w.server.NewTopic("elsewhere")
	sealer := w.sealer(policies(map[string]sqsx.Policy{elsewhere: {NoSeal: true}}))
	for name, attack := range attacks(elsewhere) {
		for op, publish := range operations(topic) {
			client := sns.NewFromConfig(w.cfg, snsx.Install(sealer))
			for where, call := range map[string]func() error{
				"call":    func() error { return publish(t.Context(), client, attack) },
				"client":  func() error { return publish(t.Context(), sns.NewFromConfig(w.cfg, snsx.Install(sealer), attack)) },
				"options": func() error { return publish(t.Context(), sns.New(client.Options(), attack)) },
			} {
				if err := call(); !errors.Is(err, sqsx.ErrBypassed) || strings.Contains(err.Error(), secret) {
					t.Errorf("%s, %s, %s: got %v, want ErrBypassed", name, op, where, err)
				}
			}
		}
	}
	if n := w.server.Count("sns:Publish") + w.server.Count("sns:PublishBatch"); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
	for op, publish := range operations(topic) { // and without an attack it goes through
		if err := publish(t.Context(), sns.NewFromConfig(w.cfg, snsx.Install(sealer))); err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// TestGuardedAttributes: a middleware inside may not change, remove or add an
// attribute that must be authentic. Others it may.
func TestGuardedAttributes(t *testing.T) {
	t.Parallel()
	type attributes = map[string]types.MessageAttributeValue
	for name, tc := range map[string]struct {
		edit    func(attributes)
		refused bool
	}{
		"replaced": {func(a attributes) { a["kind"] = str("refund") }, true},
		"written":  {func(a attributes) { *a["kind"].StringValue = "refund" }, true},
		"removed":  {func(a attributes) { delete(a, "kind") }, true},
		"added":    {func(a attributes) { a["absent"] = str("x") }, true},
		"another":  {func(a attributes) { a["free"] = str("x") }, false},
	} {
		for as, noSeal := range map[string]bool{"sealed": false, "as is": true} {
			t.Run(name+"/"+as, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				topic := w.server.NewTopic("orders")
				sealer := w.sealer(policies(map[string]sqsx.Policy{topic: {AuthenticateAttributes: []string{"kind", "absent"}, NoSeal: noSeal}}))
				publisher := sns.NewFromConfig(w.cfg, snsx.Install(sealer), inside(func(input any) {
					switch in := input.(type) {
					case *sns.PublishInput:
						tc.edit(in.MessageAttributes)
					case *sns.PublishBatchInput:
						tc.edit(in.PublishBatchRequestEntries[0].MessageAttributes)
					}
				}))
				a := attributes{"kind": str("order")}
				_, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageAttributes: a})
				errOfBatch := publishBatch(t, publisher, topic, types.PublishBatchRequestEntry{Id: aws.String("a"), Message: aws.String(secret), MessageAttributes: a})
				for _, err := range []error{err, errOfBatch} {
					if refused := errors.Is(err, sqsx.ErrBypassed); refused != (tc.refused && !noSeal) || err != nil && !refused {
						t.Errorf("got error %v, ErrBypassed: want %t", err, tc.refused && !noSeal)
					}
				}
			})
		}
	}
}

// TestTracersInside: agents add attributes inside the sealer, where they find
// room for one at least, and are told where they find none: raw delivery would
// discard the message without a word.
func TestTracersInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	tracer := func(n int) func(*sns.Options) {
		return inside(func(input any) {
			in := input.(*sns.PublishInput)
			if strings.Contains(*in.Message, secret) {
				t.Error("a middleware inside the sealer sees plaintext")
			}
			for name := range manyAttributes(n) {
				in.MessageAttributes["trace-"+name] = str("v")
			}
		})
	}
	publisher := w.publisher()
	for own := range 10 {
		in := &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageAttributes: manyAttributes(own)}
		if own == 0 {
			in.MessageAttributes = nil
		}
		if _, err := publisher.Publish(t.Context(), in, tracer(1)); err != nil {
			t.Errorf("%d attributes and a tracer: %v", own, err)
		}
	}
	if got := len(receiveBodies(t, w.accepts(topic), url)); got != 10 {
		t.Errorf("got %d messages, want all 10", got)
	}
	_, err := publisher.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String(secret), MessageAttributes: manyAttributes(10)}, tracer(1))
	requireInvalidParameter(t, err, "leave room")
}

// TestOtherOperationsAreUntouched compares the stack of another call.
func TestOtherOperationsAreUntouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stack := func(optFns ...func(*sns.Options)) (text string) {
		client := sns.NewFromConfig(w.cfg, append(optFns, withStack(func(s *smithymiddleware.Stack) error { text = s.String(); return nil }))...)
		if _, err := client.ListTopics(t.Context(), &sns.ListTopicsInput{}); err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, s := range map[string]*sqsx.Sealer{"installed": w.sealer(), "nil": nil} {
		if diff := cmp.Diff(stack(), stack(snsx.Install(s))); diff != "" {
			t.Errorf("%s: the stack of ListTopics changed (-want +got):\n%s", name, diff)
		}
	}
}

// TestInstalledTwice: one Sealer twice is as once; two are refused.
func TestInstalledTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	one, other := w.sealer(), w.sealer()
	for op, publish := range operations(topic) {
		twice := sns.NewFromConfig(w.cfg, snsx.Install(one), snsx.Install(one))
		if err := publish(t.Context(), twice, snsx.Install(one)); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		two := sns.NewFromConfig(w.cfg, snsx.Install(one), snsx.Install(other))
		if err := publish(t.Context(), two); !errors.Is(err, sqsx.ErrInstalledTwice) {
			t.Errorf("%s: got %v, want ErrInstalledTwice", op, err)
		}
		if err := publish(t.Context(), twice, snsx.Install(other)); !errors.Is(err, sqsx.ErrInstalledTwice) {
			t.Errorf("%s, per call: got %v, want ErrInstalledTwice", op, err)
		}
	}
	if got := receiveBodies(t, w.accepts(topic), url); len(got) != 3 || slices.ContainsFunc(got, func(b string) bool { return b != secret && b != "other" }) {
		t.Errorf("got %q, want three messages, each sealed once", got)
	}
}

// TestUnusableSealerRefuses: an ignored error of a constructor lets no
// plaintext out.
func TestUnusableSealerRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	for name, s := range map[string]*sqsx.Sealer{"nil": nil, "zero": {}} {
		for op, publish := range operations(topic) {
			if err := publish(t.Context(), sns.NewFromConfig(w.cfg, snsx.Install(s))); !errors.Is(err, sqsx.ErrUninitialized) {
				t.Errorf("%s, %s: got %v, want ErrUninitialized", name, op, err)
			}
		}
	}
	if n := len(w.server.Requests()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// TestWrap: the client that somebody else made goes on as before, and its copy
// seals.
func TestWrap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	plain := sns.NewFromConfig(w.cfg)
	sealing := snsx.Wrap(w.sealer(), plain)
	if sealing.Options().HTTPClient != plain.Options().HTTPClient {
		t.Error("Wrap made another HTTP client")
	}
	for _, client := range []*sns.Client{sealing, plain} {
		if _, err := client.Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String("hello")}); err != nil {
			t.Fatal(err)
		}
	}
	stored := w.server.Stored(url)
	if len(stored) != 2 || *stored[0].Body == "hello" || *stored[1].Body != "hello" {
		t.Errorf("got %q, want a sealed message and a plain one", bodies(stored))
	}
	// The SDK makes another connection pool in this mode, unless it is told not
	// to.
	modern := sns.New(sns.Options{Region: "us-east-1", DefaultsMode: aws.DefaultsModeStandard})
	if snsx.Wrap(w.sealer(), modern).Options().HTTPClient != modern.Options().HTTPClient {
		t.Error("Wrap made another HTTP client in the defaults mode standard")
	}
	if _, err := snsx.Wrap(w.sealer(), nil).Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String("x")}); err == nil || !strings.Contains(err.Error(), "nil *sns.Client") {
		t.Errorf("Wrap(nil): got %v, want it to say so", err)
	}
}

// TestInstallConfig: clients that libraries make from the config seal, those of
// other services and of copies made before do not change.
func TestInstallConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	shared := make([]func(string, any), 0, 4)
	w.cfg.ServiceOptions = shared
	before := w.cfg.Copy()
	snsx.InstallConfig(w.sealer(), &w.cfg)
	after := w.cfg.Copy()
	after.ServiceOptions = append(shared, func(string, any) {}) // as another copy's owner would
	for op, publish := range operations(topic) {
		if err := publish(t.Context(), sns.NewFromConfig(w.cfg)); err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	w.checkWire(url)
	if _, err := sqs.NewFromConfig(w.cfg).SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("plain")}); err != nil {
		t.Fatal(err)
	}
	if _, err := sns.NewFromConfig(before).Publish(t.Context(), &sns.PublishInput{TopicArn: &topic, Message: aws.String("plain")}); err != nil {
		t.Fatal(err)
	}
	stored := bodies(w.server.Stored(url))
	if n := len(stored); n != 5 || stored[3] != "plain" || stored[4] != "plain" {
		t.Errorf("got %q, want three sealed and two plain", stored)
	}
	defer func() {
		if recover() == nil {
			t.Error("InstallConfig(nil) did not panic")
		}
	}()
	snsx.InstallConfig(w.sealer(), nil)
}

// TestConfigCopiesSharingAnArray: options appended to one of two copies of a
// client's options do not push the sealer out of the other.
func TestConfigCopiesSharingAnArray(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	base := sns.NewFromConfig(w.cfg).Options()
	base.APIOptions = make([]func(*smithymiddleware.Stack) error, 0, 4)
	ours, other := base, base
	snsx.Install(w.sealer())(&ours)
	other.APIOptions = append(other.APIOptions, func(*smithymiddleware.Stack) error { return nil })
	if err := operations(topic)["Publish"](t.Context(), sns.New(ours)); err != nil {
		t.Fatal(err)
	}
	w.checkWire(url)
}

// TestAnonymousCredentials: a client without credentials can publish as it
// could without the sealer.
func TestAnonymousCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	url := w.raw(topic, "q")
	sealer := w.sealer()
	w.cfg.Credentials = aws.AnonymousCredentials{}
	for op, publish := range operations(topic) {
		if err := publish(t.Context(), sns.NewFromConfig(w.cfg, snsx.Install(sealer))); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		if err := publish(t.Context(), sns.NewFromConfig(w.cfg), snsx.Install(sealer)); err != nil {
			t.Errorf("%s, per call: %v", op, err)
		}
	}
	w.checkWire(url)
}

// TestMarkIsNotInherited: a call made with the context of a sealed one, from a
// middleware for instance, has to be sealed itself.
func TestMarkIsNotInherited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	topic := w.server.NewTopic("orders")
	sealer := w.sealer()
	client := sns.NewFromConfig(w.cfg, snsx.Install(sealer))
	var inner error
	outer := withStack(func(s *smithymiddleware.Stack) error {
		return s.Serialize.Add(smithymiddleware.SerializeMiddlewareFunc("call", func(
			ctx context.Context, in smithymiddleware.SerializeInput, next smithymiddleware.SerializeHandler,
		) (smithymiddleware.SerializeOutput, smithymiddleware.Metadata, error) {
			inner = operations(topic)["Publish"](ctx, client, func(o *sns.Options) { o.APIOptions = nil })
			return next.HandleSerialize(ctx, in)
		}), smithymiddleware.Before)
	})
	if err := operations(topic)["Publish"](t.Context(), client, outer); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(inner, sqsx.ErrBypassed) || w.server.Count("sns:Publish") != 1 {
		t.Errorf("got %v and %d requests, want ErrBypassed and 1", inner, w.server.Count("sns:Publish"))
	}
}
