package middleware

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	smithyauth "github.com/aws/smithy-go/auth"
	smithymiddleware "github.com/aws/smithy-go/middleware"
)

// ID is the name of the middleware in the Initialize step of the three stacks.
const ID = "SealqSealer"

// serializerID is the name that the SDK gives to its own middleware.
const serializerID = "OperationSerializer"

// Install adds the middleware to a client under construction. It is an option
// of sqs.New, of sqs.NewFromConfig and of single calls. To install one
// Middleware again changes nothing; a second, different one makes every send
// and receive fail with [ErrInstalledTwice].
//
// Install it last: a later middleware with position Before sees plaintext.
func (m *Middleware) Install(o *sqs.Options) {
	// Two configurations made by a copy share the backing array. Without the
	// clip, the other's append would overwrite ours, and plaintext would go out.
	client := clientOf(o)
	o.APIOptions = append(slices.Clip(o.APIOptions), func(stack *smithymiddleware.Stack) error { return m.addTo(stack, client) })
	o.AuthSchemeResolver = m.guardResolver(o.AuthSchemeResolver)
}

// intercepted reports whether an SQS operation carries message bodies.
func intercepted(operation string) bool {
	switch operation {
	case "SendMessage", "SendMessageBatch", "ReceiveMessage":
		return true
	}
	return false
}

// clientOf returns a function that makes a client like the one under
// construction. It is called later, when o is complete.
func clientOf(o *sqs.Options) func() *sqs.Client {
	return sync.OnceValue(func() *sqs.Client {
		return sqs.New(*o, func(fresh *sqs.Options) {
			// New replaces these two, whatever the options say. Options that a
			// caller made by hand have none.
			if o.HTTPClient != nil {
				fresh.HTTPClient = o.HTTPClient
			}
			if o.Protocol != nil {
				fresh.Protocol = o.Protocol
			}
		})
	})
}

// addTo is the API option: it runs once a call, when the SDK's own part of the
// stack is complete. client is that of the call.
func (m *Middleware) addTo(stack *smithymiddleware.Stack, client func() *sqs.Client) error {
	if !intercepted(stack.ID()) {
		return nil
	}
	if !m.usable() {
		return ErrUninitialized
	}
	// smithy accepts a second middleware of the same ID and runs both.
	if other, ok := stack.Initialize.Get(ID); !ok {
		// The only place that works. Further inside, the SDK would compare its
		// MD5 of the plaintext with SQS's of the sealed body, on a send after
		// the message was stored; after Initialize, every retry would seal anew.
		if err := stack.Initialize.Add(&sealer{m: m, client: client}, smithymiddleware.Before); err != nil {
			return err
		}
	} else if s, ours := other.(*sealer); !ours || s.m != m {
		return ErrInstalledTwice
	} else {
		s.client = client // the last Install is the nearest to the call
	}
	serializer, ok := stack.Serialize.Get(serializerID)
	if !ok {
		return fmt.Errorf("%w: the stack has no %s to guard", ErrBypassed, serializerID)
	}
	if _, guarded := serializer.(*guard); guarded {
		return nil
	}
	// The guard takes the serializer's place and runs it. Inserted before the
	// serializer instead, it would leave a gap: the next middleware inserted
	// there runs between the two.
	_, err := stack.Serialize.Swap(serializerID, &guard{serializer})
	return err
}

// sealer is the middleware in the Initialize step.
type sealer struct {
	m      *Middleware
	client func() *sqs.Client // that the call belongs to, or one like it
}

func (*sealer) ID() string { return ID }

// HandleInitialize seals what is sent and opens what is received. A call with
// an unknown input continues without a mark, so that the guards stop it if it
// is one of the three operations.
func (s *sealer) HandleInitialize(
	ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler,
) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
	switch input := in.Parameters.(type) {
	case *sqs.SendMessageInput:
		return s.sendMessage(ctx, input, next)
	case *sqs.SendMessageBatchInput:
		return s.sendMessageBatch(ctx, input, next)
	case *sqs.ReceiveMessageInput:
		return s.receiveMessage(ctx, input, next)
	}
	return next.HandleInitialize(ctx, in)
}

// call is the mark of a call that went through the sealer, and what the guards
// compare it with. It belongs to one call and is used by one goroutine at a
// time.
type call struct {
	m       *Middleware
	url     string     // the queue that the policy was found for
	sent    []expected // SendMessage and SendMessageBatch
	names   []string   // of attributes that the codec needs of a ReceiveMessage
	asked   asked      // by a ReceiveMessage, as it is serialized
	checked bool       // by the guard in the Serialize step
}

// expected is what one message must look like when it is serialized.
type expected struct {
	body       string
	attributes []expectedAttribute // of the codec, and those that it guards
	asIs       bool
}

type expectedAttribute struct {
	name                        string
	types.MessageAttributeValue // nothing shared
	present                     bool
}

// expect returns what to expect of s, with the codec's own attribute names.
func expect(s Sealed, names []string) expected {
	e := expected{body: s.Body, attributes: make([]expectedAttribute, 0, len(names)+len(s.Guarded)), asIs: s.AsIs}
	for _, name := range names {
		e.add(s, name)
	}
	if !s.AsIs {
		for _, name := range s.Guarded {
			e.add(s, name)
		}
	}
	return e
}

func (e *expected) add(s Sealed, name string) {
	v, ok := s.Attributes[name]
	e.attributes = append(e.attributes, expectedAttribute{name, ownValue(v), ok})
}

type callKey struct{}

// mark is a stack value, which the SDK clears when a call begins. A plain
// context value would also mark calls made with the context of a sealed call,
// by an interceptor for instance, and let their plaintext through.
func mark(ctx context.Context, c *call) context.Context {
	return smithymiddleware.WithStackValue(ctx, callKey{}, c)
}

func markOf(ctx context.Context) *call {
	c, _ := smithymiddleware.GetStackValue(ctx, callKey{}).(*call)
	return c
}

// guard checks the input right before it is serialized: every middleware inside
// the sealer could have changed it.
type guard struct {
	serializer smithymiddleware.SerializeMiddleware
}

func (*guard) ID() string { return serializerID }

func (g *guard) HandleSerialize(
	ctx context.Context, in smithymiddleware.SerializeInput, next smithymiddleware.SerializeHandler,
) (out smithymiddleware.SerializeOutput, md smithymiddleware.Metadata, err error) {
	c := markOf(ctx)
	if c == nil {
		return out, md, fmt.Errorf("%w: the sealer is not in the stack of this call, or the queue URL, a body or an entry ID is missing", ErrBypassed)
	}
	if err := c.check(in.Parameters); err != nil {
		return out, md, err
	}
	c.checked = true
	return g.serializer.HandleSerialize(ctx, in, next)
}

func (c *call) check(input any) error {
	switch in := input.(type) {
	case *sqs.SendMessageInput:
		entry := types.SendMessageBatchRequestEntry{MessageBody: in.MessageBody, MessageAttributes: in.MessageAttributes}
		return cmp.Or(c.checkQueue(in.QueueUrl), c.checkEntries(entry))
	case *sqs.SendMessageBatchInput:
		return cmp.Or(c.checkQueue(in.QueueUrl), c.checkEntries(in.Entries...))
	case *sqs.ReceiveMessageInput:
		if err := c.checkQueue(in.QueueUrl); err != nil {
			return err
		}
		if missing := missingNames(in.MessageAttributeNames, c.names); len(missing) > 0 {
			return fmt.Errorf("%w: a middleware inside the sealer removed %q from MessageAttributeNames", ErrBypassed, missing)
		}
		c.asked = askedBy(in)
		return nil
	}
	return fmt.Errorf("%w: a middleware inside the sealer replaced the input by a %T", ErrBypassed, input)
}

// checkQueue keeps a routing middleware from taking a message, or plaintext of
// a queue that is not sealed, to a queue of another policy.
func (c *call) checkQueue(url *string) error {
	if aws.ToString(url) != c.url {
		return fmt.Errorf("%w: a middleware inside the sealer changed the queue URL from %q: let it run outside", ErrBypassed, c.url)
	}
	return nil
}

func (c *call) checkEntries(entries ...types.SendMessageBatchRequestEntry) error {
	if len(entries) != len(c.sent) {
		return fmt.Errorf("%w: %d messages are about to be sent, %d were sealed", ErrBypassed, len(entries), len(c.sent))
	}
	for i, e := range entries {
		want := c.sent[i]
		if e.MessageBody == nil || *e.MessageBody != want.body {
			return fmt.Errorf("%w: the body of message %d is not the one that was sealed: a middleware inside the sealer changed it", ErrBypassed, i)
		}
		for _, sealed := range want.attributes {
			got, present := e.MessageAttributes[sealed.name]
			if present != sealed.present || !sameValue(got, sealed.MessageAttributeValue) {
				return fmt.Errorf("%w: attribute %q of message %d is not the one that was sealed: a middleware inside the sealer changed it", ErrBypassed, sealed.name, i)
			}
		}
		// Tracers add attributes inside the sealer, after it counted them.
		if n := len(e.MessageAttributes); n > maxAttributes && !want.asIs {
			return invalidParameter("message %d is about to be sent with %d message attributes, the limit is %d: a middleware inside the sealer added some; leave room for them", i, n, maxAttributes)
		}
	}
	return nil
}

func sameValue(a, b types.MessageAttributeValue) bool {
	return aws.ToString(a.DataType) == aws.ToString(b.DataType) &&
		aws.ToString(a.StringValue) == aws.ToString(b.StringValue) &&
		bytes.Equal(a.BinaryValue, b.BinaryValue)
}

// guardedResolver is the guard on a path that APIOptions do not affect: the SDK
// asks it for the authentication schemes of every attempt.
type guardedResolver struct {
	m    *Middleware
	next sqs.AuthSchemeResolver
}

// ResolveAuthSchemes refuses the three operations unless the call carries the
// mark of m and passed the guard in the Serialize step.
func (r *guardedResolver) ResolveAuthSchemes(ctx context.Context, p *sqs.AuthResolverParameters) ([]*smithyauth.Option, error) {
	if intercepted(p.Operation) {
		switch c := markOf(ctx); {
		case !r.m.usable():
			return nil, ErrUninitialized
		case c == nil || c.m != r.m:
			return nil, fmt.Errorf("%w: an option of the client or of the call cleared APIOptions, or the sealer was removed from the stack", ErrBypassed)
		case !c.checked:
			return nil, fmt.Errorf("%w: the guard around %s was removed from the stack", ErrBypassed, serializerID)
		}
	}
	return r.next.ResolveAuthSchemes(ctx, p)
}

func (m *Middleware) guardResolver(r sqs.AuthSchemeResolver) sqs.AuthSchemeResolver {
	if g, ok := r.(*guardedResolver); ok && g.m == m {
		return r
	}
	var sdk resolvers
	if m.usable() {
		sdk = m.sdk
	} else {
		sdk = sdkResolvers()
	}
	// sqs.New adds the anonymous scheme to its own default resolver, which it
	// recognises by type and so not inside ours. Without the exchange, clients
	// with anonymous credentials could no longer call.
	if r == nil || reflect.TypeOf(r) == sdk.plain {
		r = sdk.anonymous
	}
	return &guardedResolver{m: m, next: r}
}

// resolvers are the SDK's own: the default that a client starts with, and the
// one that it ends up with.
type resolvers struct {
	plain     reflect.Type
	anonymous sqs.AuthSchemeResolver
}

func sdkResolvers() resolvers {
	var r resolvers
	client := sqs.New(sqs.Options{}, func(o *sqs.Options) { r.plain = reflect.TypeOf(o.AuthSchemeResolver) })
	r.anonymous = client.Options().AuthSchemeResolver
	return r
}
