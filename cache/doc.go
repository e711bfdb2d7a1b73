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
// A key expires if it was not used while its refresh was due, so that nothing
// refreshed it. It is stale only after an [envelope.ErrUnavailable], which
// counts for one ReusePeriod: no key is used more than one ReusePeriod after
// the key service was last asked about it. Retries for a stale key back off
// from 1 s to 30 s. An idle cache has no goroutine and no timer, and makes no
// call. A refresh falls due one FetchTimeout before the key expires, and up to
// a tenth of the ReusePeriod earlier at random, so that a fleet does not
// refresh all at once. Sealing uses the earlier half of that tenth: a consumer
// then receives a producer's next key before it would ask about the last one
// again.
//
// # What a failed fetch does
//
//   - Unavailable: cached keys stay in use, up to MaxStale. Without a cached
//     key the callers get the error; from the second failure in a row, it is
//     remembered for 100 ms, doubling to 1 s.
//   - Unavailable, while another wrapping key answers, or without an answer for
//     1 s while messages open with cached keys (opening only): the outage is
//     remembered by wrapping key. One caller at a time asks again, for 3 s at
//     most, after 1 s, doubling to 30 s; all others that have no other key to
//     try get the error at once. After 1 s, no further caller waits for a
//     question that has no answer. So an unreachable Region does not delay
//     messages under keys of other Regions, and messages that need a key
//     service in an outage do not delay those under cached keys. A wrapping key
//     counts as answering if it returned a data key, or if CheckDecrypt said
//     yes and the keyring says which key that was about, as the AWS KMS keyring
//     does.
//   - No answer to a question about several wrapping keys within 1 s, or
//     unavailable while another wrapping key answers: each is asked about alone
//     as well, and the first data key is used.
//   - Refused: every key that the refusal reaches is dropped at once. An
//     [envelope.RefusedError] says how far: all keys under one wrapping key,
//     those of them that seal, or one entry in one direction, as any other
//     error does. The refusal is remembered for 1 s, doubling to 10 s; after
//     the refusal of a wrapping key, one caller asks again for all that it
//     concerns.
//   - The message is invalid (opening only): remembered for the exact set of
//     encrypted data keys that was asked about, under its context, for 5
//     minutes or one ReusePeriod if that is shorter. It says nothing about a
//     single one of them, or about another set, because a keyring may give up
//     before it has tried all.
//
// Errors from memory wrap the original one, for errors.Is and errors.As. The
// cache itself decides what is unavailable: an error of the network, or of a
// context, becomes [envelope.ErrUnavailable], and never looks like the caller's
// own cancellation.
//
// # What it guarantees
//
//   - One fetch, however many callers miss together. A caller that leaves does
//     not fail the others. A fetch runs under a deadline of its own, with the
//     values of the first caller's context, and goes on if all callers leave.
//   - MaxMessages is never exceeded. A caller is counted when it gets the key,
//     or joins the fetch of it.
//   - Sealing is keyed by the encryption context. Opening is keyed by one
//     encrypted data key and the context: adding others beside it in a message
//     does not affect other messages.
//   - Memory is bounded by the number of entries. Keys for sealing, keys for
//     opening and failures of opening have bounds of their own.
//   - A panic of the next keyring becomes an error that is
//     [envelope.ErrUnavailable].
//
// # What it does not do
//
//   - It does not limit concurrent fetches. There is at most one for each
//     distinct question, and at most one for each waiting caller and one more
//     for each wrapping key of its message, besides one refresh for each key in
//     use. Anyone who can send messages can make each message a distinct
//     question; the calls are bounded by how many messages the receiver opens
//     at a time.
//   - It does not notice a revoked key before a refresh falls due, and during
//     an outage of the key service not before MaxStale. Purge drops everything
//     at once.
//   - It does not wipe memory.
//
// # Concurrency
//
// All of Keyring is safe for concurrent use. One mutex guards its state. It is
// never held during a call to another keyring, or during a wait.
package cache
