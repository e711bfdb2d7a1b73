package snsx

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	smithyauth "github.com/aws/smithy-go/auth"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/sealq/sealq/sqsx"
)

// ID is the name of the middleware in the Initialize step of the two stacks. A
// program that adds a middleware of its own can place it before or after this
// one by this name (smithy's Insert), or look whether it is there (Get).
const ID = "SealqPublisher"

// serializerID is the name that the SDK gives to its own middleware.
const serializerID = "OperationSerializer"

// Install returns an option that makes an SNS client seal what it publishes. It
// is an option of sns.New, of sns.NewFromConfig and of single calls:
//
//	publisher := sns.NewFromConfig(cfg, snsx.Install(sealer))
//
// Give it last: a middleware that a later option adds in front of all others
// sees plaintext. To install one Sealer twice changes nothing; calls of a
// client with two different ones fail with sqsx.ErrInstalledTwice. The clients
// of a nil or zero Sealer refuse to publish.
//
// The option may be used for any number of clients, which are safe for
// concurrent use as before.
func Install(s *sqsx.Sealer) func(*sns.Options) {
	sdk := sync.OnceValue(sdkResolvers)
	return func(o *sns.Options) {
		// Two configurations made by a copy share the backing array. Without the
		// clip, the other's append would overwrite ours, and plaintext would go out.
		o.APIOptions = append(slices.Clip(o.APIOptions), func(stack *smithymiddleware.Stack) error { return addTo(stack, s) })
		o.AuthSchemeResolver = guardResolver(s, o.AuthSchemeResolver, sdk)
	}
}

// Wrap returns a client that seals and is otherwise like client: it uses the
// same instances of HTTP client, endpoint, credentials and logger, and retries
// as it does. client itself does not change. If client is nil, every call of
// the returned client fails, with an error that says so.
func Wrap(s *sqsx.Sealer, client *sns.Client) *sns.Client {
	if client == nil {
		return sns.New(sns.Options{APIOptions: []func(*smithymiddleware.Stack) error{refuseNilClient}}, Install(s))
	}
	o := client.Options()
	return sns.New(o, func(fresh *sns.Options) {
		// New replaces it, whatever the options say: with a defaults mode other
		// than legacy it would open a second connection pool.
		fresh.HTTPClient = o.HTTPClient
	}, Install(s))
}

func refuseNilClient(*smithymiddleware.Stack) error {
	return errors.New("snsx: Wrap was given a nil *sns.Client: give it one made by sns.NewFromConfig or sns.New")
}

// InstallConfig makes every client that is later made with
// sns.NewFromConfig(*cfg) seal, those that libraries make included. Clients of
// other services do not change; for SQS see Sealer.InstallConfig. cfg may be a
// copy of another config: that one does not change.
//
// InstallConfig panics if cfg is nil: otherwise the program would publish
// plaintext with clients that it believes to seal.
func InstallConfig(s *sqsx.Sealer, cfg *aws.Config) {
	if cfg == nil {
		panic("snsx: InstallConfig was given a nil *aws.Config: give it the address of the config that clients are made from")
	}
	install := Install(s)
	// Copies of a config share the backing array: see Install.
	cfg.ServiceOptions = append(slices.Clip(cfg.ServiceOptions), func(_ string, options any) {
		if o, ok := options.(*sns.Options); ok {
			install(o)
		}
	})
}

// intercepted reports whether an SNS operation carries messages.
func intercepted(operation string) bool { return operation == "Publish" || operation == "PublishBatch" }

// addTo is the API option: it runs once a call, when the SDK's own part of the
// stack is complete.
func addTo(stack *smithymiddleware.Stack, s *sqsx.Sealer) error {
	if !intercepted(stack.ID()) {
		return nil
	}
	// smithy accepts a second middleware of the same ID and runs both.
	if other, ok := stack.Initialize.Get(ID); !ok {
		// In Initialize, so that retries publish the same bytes; before all
		// others, so that they see sealed bodies.
		if err := stack.Initialize.Add(&publisher{s}, smithymiddleware.Before); err != nil {
			return err
		}
	} else if p, ours := other.(*publisher); !ours || p.sealer != s {
		return sqsx.ErrInstalledTwice
	}
	serializer, ok := stack.Serialize.Get(serializerID)
	if !ok {
		return fmt.Errorf("%w: the stack has no %s to guard", sqsx.ErrBypassed, serializerID)
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

// callKey marks a call that went through the sealer. Its value is a stack
// value, which the SDK clears when a call begins. A plain context value would
// also mark calls made with the context of a sealed call, by an interceptor for
// instance, and let their plaintext through.
type callKey struct{}

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
		return out, md, fmt.Errorf("%w: the sealer is not in the stack of this call, or the topic, a message or an entry ID is missing", sqsx.ErrBypassed)
	}
	if err := c.check(in.Parameters); err != nil {
		return out, md, err
	}
	c.checked = true
	return g.serializer.HandleSerialize(ctx, in, next)
}

// guardedResolver is the guard on a path that APIOptions do not affect: the SDK
// asks it for the authentication schemes of every attempt.
type guardedResolver struct {
	sealer *sqsx.Sealer
	next   sns.AuthSchemeResolver
}

// ResolveAuthSchemes refuses the two operations unless the call carries the
// mark of the sealer and passed the guard in the Serialize step.
func (r *guardedResolver) ResolveAuthSchemes(ctx context.Context, p *sns.AuthResolverParameters) ([]*smithyauth.Option, error) {
	if intercepted(p.Operation) {
		switch c := markOf(ctx); {
		case c == nil || c.sealer != r.sealer:
			return nil, fmt.Errorf("%w: an option of the client or of the call cleared APIOptions, or the sealer was removed from the stack", sqsx.ErrBypassed)
		case !c.checked:
			return nil, fmt.Errorf("%w: the guard around %s was removed from the stack", sqsx.ErrBypassed, serializerID)
		}
	}
	return r.next.ResolveAuthSchemes(ctx, p)
}

func guardResolver(s *sqsx.Sealer, r sns.AuthSchemeResolver, sdk func() resolvers) sns.AuthSchemeResolver {
	if g, ok := r.(*guardedResolver); ok && g.sealer == s {
		return r
	}
	// sns.New adds the anonymous scheme to its own default resolver, which it
	// recognises by type and so not inside ours. Without the exchange, clients
	// with anonymous credentials could no longer call.
	if own := sdk(); r == nil || reflect.TypeOf(r) == own.plain {
		r = own.anonymous
	}
	return &guardedResolver{sealer: s, next: r}
}

// resolvers are the SDK's own: the default that a client starts with, and the
// one that it ends up with.
type resolvers struct {
	plain     reflect.Type
	anonymous sns.AuthSchemeResolver
}

func sdkResolvers() resolvers {
	var r resolvers
	client := sns.New(sns.Options{}, func(o *sns.Options) { r.plain = reflect.TypeOf(o.AuthSchemeResolver) })
	r.anonymous = client.Options().AuthSchemeResolver
	return r
}
