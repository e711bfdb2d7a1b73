// Package cache reuses data keys: its [Keyring] stands in front of another
// [envelope.Keyring], answers from memory, and rarely asks the other one.
//
// # The life of a data key
//
//	asked for                 due            ReusePeriod                MaxStale
//	    |                      |                  |                         |
//	    |        fresh         |   refresh due    |   expired, or stale     |  dropped
//	    |  used                |  used, while one |  expired: the next use  |
//	    |                      |  fetch runs in   |   waits for a fetch     |
//	    |                      |  the background  |  stale: used, while one |
//	    |                      |                  |   retry at a time runs  |
//
// A key is expired when no use fell into the time before, so that nothing
// refreshed it. It is stale only after an answer of [envelope.ErrUnavailable],
// which counts for one ReusePeriod: no key is handed out more than one
// ReusePeriod after the key service was last asked about it. Retries for a
// stale key back off from 1 s to 30 s. Only calls set anything off: an idle
// cache has no goroutine and no timer, and makes no call. A refresh falls due
// one FetchTimeout before the key expires, and up to a tenth of the ReusePeriod
// earlier at random, so that a fleet does not refresh in step; of that tenth,
// sealing has the earlier half, so that a consumer meets the next key of a
// producer before it would ask about the last one again.
//
// # What a failed fetch does
//
//   - Unavailable: keys in hand stay in use, up to MaxStale. With no key in
//     hand the callers get the error; from the second failure in a row, it is
//     remembered for 100 ms, doubling to 1 s.
//   - Unavailable, while another wrapping key answers (opening only): the
//     outage is remembered by wrapping key. All callers that have no other key
//     to try get the error at once, but for one at a time that asks again, for
//     3 s at most, 1 s apart and doubling to 30 s. A question that is out for 1
//     s holds up no further caller. So a Region that cannot be reached does not
//     hold up messages under keys of others. A wrapping key answers by a data
//     key, or by a yes to CheckDecrypt if the keyring says which key the answer
//     is about, as that of AWS KMS does.
//   - No answer within 1 s, or unavailable while another wrapping key answers,
//     to a question about several wrapping keys: each is asked about alone as
//     well, and the first data key is used.
//   - Refused: every key that the refusal reaches is dropped at once. An
//     [envelope.RefusedError] says how far: all keys under one wrapping key,
//     those of them that seal, or one entry in one direction, as any other
//     error does. The refusal is remembered for 1 s, doubling to 10 s; of the
//     callers whom a refusal of a wrapping key concerns, one asks again for
//     all.
//   - The message is at fault (opening only): remembered for the exact set of
//     encrypted data keys that was asked about, under its context, for 5
//     minutes or one ReusePeriod if that is shorter. It says nothing about any
//     of them in other company, because a keyring may give up before it has
//     tried all.
//
// Errors from memory hold the original one, for errors.Is and errors.As. What
// is unavailable is decided here, whatever the next keyring made of it: an
// error of the network, or of a context, is [envelope.ErrUnavailable], and
// never looks like the caller's own cancellation.
//
// # What it guarantees
//
//   - One fetch, however many callers miss together. A caller who leaves fails
//     no other. A fetch runs under a deadline of its own, with the values of
//     the first caller's context, and goes on if all callers leave.
//   - MaxMessages is never exceeded. Every caller is counted when it is given,
//     or promised, the key.
//   - Sealing is keyed by the encryption context. Opening is keyed by one
//     encrypted data key and the context: adding others beside it in a message
//     changes nothing for anyone else.
//   - Memory is bounded by the number of entries. Keys for sealing, keys for
//     opening and failures of opening have bounds of their own.
//   - A panic of the keyring behind becomes an error that is
//     [envelope.ErrUnavailable].
//
// # What it does not do
//
//   - It does not limit concurrent fetches. There is at most one for each
//     distinct question, and at most one for each waiting caller and one more
//     for each wrapping key of its message, besides one refresh for each key in
//     use. Anyone who can send messages can make every one of them a question
//     of its own; what bounds the calls is how many messages the receiver opens
//     at a time.
//   - It does not notice a revoked key before a refresh falls due, and during
//     an outage of the key service not before MaxStale. Purge drops everything
//     at once.
//   - It does not wipe memory.
//
// # Concurrency
//
// All of Keyring is safe for concurrent use. One mutex guards its state; no
// call to another keyring is made, and nothing is waited for, while it is held.
package cache
