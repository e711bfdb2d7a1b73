// Package middleware intercepts the operations of an SQS client that carry
// message bodies: SendMessage, SendMessageBatch and ReceiveMessage. A [Codec]
// decides what happens to a body; this package knows no keys and no formats. It
// is outside the promise of compatibility that version 1 of this module makes:
// names here may change in any release. The types that package sqsx aliases,
// and those of their fields, are inside that promise. Programs use package
// sqsx.
//
// This package knows the SDK: where in the stack a body may be changed, which
// limits and digests that affects, and how to fail a call that lost the codec.
//
//	client := sqs.NewFromConfig(cfg, m.Install)
//
//	SendMessage(in)                            ReceiveMessage(in)
//	  copy in                                    Codec.Admit
//	  Codec.Seal                                 copy in, ask for the codec's attributes
//	  limits                                     SQS
//	  guard: is this what Seal returned?         guard: is the attribute asked for?
//	  guard: does the call carry our mark?       guard: does the call carry our mark?
//	  SQS                                        Codec.Open
//	  digests of what the caller wrote           deliver, withhold, or fail
//
// # Guarantees
//
//   - The caller's structs, slices and maps are never written, and outputs are
//     new structs: a caller who kept a pointer sees no change.
//   - Every middleware and interceptor inside this one sees sealed bodies only.
//     Those registered later with position Before are outside, and see
//     plaintext: install last.
//   - A call that lost the middleware fails with [ErrBypassed] before a request
//     is made, whether it was lost through APIOptions, the stack, or another
//     middleware that put a different body in. Two ways around it remain: an
//     option that replaces both APIOptions and AuthSchemeResolver, and a
//     middleware that writes the HTTP request itself.
//   - A message that cannot be opened is never delivered, and never deleted.
//     It is reported: see [ReceiveError], [Withheld] and [Options].
//   - The digests in outputs are those of what the caller sees.
//   - The queue URL, bodies and batch entries of an input are read once. A
//     caller that changes them during the call does not change what is sent.
//   - An error that SQS returns for a batch as a whole fails the call: see
//     [BatchError].
//
// # What it does not do
//
// It seals no metadata itself: what happens to message attributes is up to the
// Codec. It leaves message groups as they are, splits no batch, deletes no
// message, and does not change any other operation.
package middleware
