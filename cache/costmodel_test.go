package cache_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cache"
	"github.com/sealq/sealq/envelope"
)

// The cost model runs fleets of producers and consumers, each with a cache of
// its own, through virtual time, and counts the calls that reach the key
// service. It holds the formulas and the tables of docs/cost.md to the code.

var (
	costDay   = flag.Bool("cost.day", false, "run each fleet of the cost model for a whole virtual day")
	costWrite = flag.Bool("cost.write", false, "with -cost.day: write the tables into docs/cost.md")
)

const month = 30 * 24 * time.Hour

// fleet is one line of a table. Every producer sends messages at random times
// to a random queue, and each message is received by a random consumer.
type fleet struct {
	producers, consumers int
	queues               int           // 0: one
	rotated              time.Duration // how often the branch key is rotated; 0: never
	period               time.Duration // ReusePeriod
	messages             float64       // a second, of all producers together
}

func (f fleet) String() string {
	s := fmt.Sprintf("%d to %d by %v", f.producers, f.consumers, f.period)
	if f.queues > 1 {
		s += fmt.Sprintf(" with %d queues", f.queues)
	}
	if f.rotated > 0 {
		s += fmt.Sprintf(" rotated in %v", f.rotated)
	}
	return s
}

// calls are numbers of calls of the key service in a time span: for sealing and
// for opening. With KMS data keys these are GenerateDataKey and Decrypt; with
// branch keys they are reads of the active and of one version, each of them a
// GetItem and a Decrypt.
type calls struct{ seal, open float64 }

func (c calls) total() float64 { return c.seal + c.open }

// sealDue and openDue are the average ages, in seconds, at which a key is due
// for its refresh: one FetchTimeout before the ReusePeriod ends, and earlier by
// a random part, here in thousandths of the ReusePeriod.
func (f fleet) sealDue() float64 { return f.due(75) }
func (f fleet) openDue() float64 { return f.due(25) }

func (f fleet) due(jitter time.Duration) float64 {
	return (f.period - cache.DefaultFetchTimeout - f.period*jitter/1000).Seconds()
}

// dataKeys is the formula of docs/cost.md for KMS data keys.
func (f fleet) dataKeys(span time.Duration) calls {
	queues := float64(max(f.queues, 1))
	messages := f.messages / queues
	p, c := float64(f.producers), float64(f.consumers)
	lifetime := f.sealDue() + p/messages
	keys := p * span.Seconds() / lifetime
	perKey := messages * lifetime / p
	return calls{seal: queues * keys, open: queues * keys * c * (1 - math.Exp(-perKey/c))}
}

// branchKeys is the formula of docs/cost.md for branch keys. It has no queues
// in it: one branch key is for all.
func (f fleet) branchKeys(span time.Duration) calls {
	p, c := float64(f.producers), float64(f.consumers)
	sealed, opened := f.sealDue()+p/f.messages, f.openDue()+c/f.messages
	versions := 1.0
	if f.rotated > 0 {
		// From when the first producer refreshes its branch key until the last one
		// does, messages under both versions arrive. The last period of a version is
		// used by half.
		versions += (sealed*(p-1)/(p+1) + opened/2) / f.rotated.Seconds()
	}
	return calls{seal: p * span.Seconds() / sealed, open: c * versions * span.Seconds() / opened}
}

// sse is what SQS documents for server-side encryption of each queue:
// R = B/D x (2P + C).
func (f fleet) sse(span time.Duration) float64 {
	return float64(max(f.queues, 1)) * span.Seconds() / f.period.Seconds() * float64(2*f.producers+f.consumers)
}

// perMessage is one GenerateDataKey for each message sent and one Decrypt for
// each received.
func (f fleet) perMessage(span time.Duration) float64 { return 2 * f.messages * span.Seconds() }

// manyConsumers is the number of consumers for each producer above which branch
// keys may make more calls than SSE's formula has, with one queue and a
// ReusePeriod of 5 minutes; and overSSE is how many times as many at most, with
// any number of consumers. See TestBranchKeysAgainstSSE.
const manyConsumers, overSSE = 14, 1.062

// fleets has one queue and no rotation: the first table.
var fleets = []fleet{
	{producers: 1, consumers: 1, period: 5 * time.Minute, messages: 1},
	{producers: 10, consumers: 20, period: 5 * time.Minute, messages: 10},
	{producers: 10, consumers: 20, period: time.Hour, messages: 10},
	{producers: 100, consumers: 100, period: 5 * time.Minute, messages: 20},
	{producers: 100, consumers: 100, period: time.Hour, messages: 20},
	{producers: 1000, consumers: 1000, period: 5 * time.Minute, messages: 10},
	{producers: 1000, consumers: 1000, period: time.Hour, messages: 10},
	{producers: 2000, consumers: 10, period: 24 * time.Hour, messages: 2},
}

// queueFleets has several queues, or rotations: the second table.
var queueFleets = []fleet{
	{producers: 1, consumers: 100, queues: 10, period: 5 * time.Minute, messages: 20},
	{producers: 10, consumers: 20, queues: 10, period: 5 * time.Minute, messages: 10},
	{producers: 10, consumers: 20, queues: 10, period: time.Hour, messages: 10},
	{producers: 100, consumers: 100, queues: 10, period: 5 * time.Minute, messages: 20},
	{producers: 10, consumers: 20, queues: 1, rotated: time.Hour, period: 5 * time.Minute, messages: 10},
}

// counting is a key service that answers at once and counts, one for a whole
// fleet.
type counting struct {
	generated, decrypted atomic.Int64
	// version is the active version of the branch key, which every read for
	// sealing returns. 0 stands for KMS, which returns a new data key each time.
	version atomic.Int64
}

func (s *counting) calls() calls {
	return calls{float64(s.generated.Load()), float64(s.decrypted.Load())}
}

func (s *counting) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	n := s.generated.Add(1)
	if v := s.version.Load(); v > 0 {
		n = v
	}
	return dataKey(envelope.EncryptedDataKey{
		ProviderID:   "fake",
		ProviderInfo: []byte(keyA),
		Ciphertext:   binary.BigEndian.AppendUint64(nil, uint64(n)),
	}), nil
}

func (s *counting) DecryptDataKey(_ context.Context, edks []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	s.decrypted.Add(1)
	return dataKey(edks[0]), nil
}

// simulate runs f for a span of virtual time, after a start that is not
// counted, in which the processes begin one by one. With branch keys, what is
// cached is the branch key: the data key of a message costs no call.
func (f fleet) simulate(t *testing.T, span time.Duration, branch bool) calls {
	service := &counting{}
	options := func(o *cache.Options) { o.ReusePeriod = f.period }
	caches := make([]*cache.Keyring, f.producers+f.consumers)
	begins := make([]time.Duration, len(caches))
	for i := range caches {
		caches[i], begins[i] = newCache(t, service, options), rand.N(f.period)
	}
	contexts := []envelope.EncryptionContext{orders}
	if branch {
		service.version.Store(1)
	} else {
		for i := 1; i < f.queues; i++ {
			contexts = append(contexts, envelope.EncryptionContext{"sealq:queue": fmt.Sprint("orders-", i)})
		}
	}
	start, began, rotated := 2*f.period, time.Now(), time.Duration(0)
	var before calls
	for counted := false; ; {
		time.Sleep(time.Duration(rand.ExpFloat64() / f.messages * float64(time.Second)))
		now := time.Since(began)
		if now >= start && !counted {
			synctest.Wait()
			counted, before = true, service.calls()
		}
		if now >= start+span {
			synctest.Wait()
			after := service.calls()
			return calls{after.seal - before.seal, after.open - before.open}
		}
		if branch && f.rotated > 0 && now-rotated >= f.rotated {
			rotated = now
			service.version.Add(1)
		}
		ec := contexts[rand.IntN(len(contexts))]
		from, to := rand.IntN(f.producers), f.producers+rand.IntN(f.consumers)
		if now < begins[from] || now < begins[to] {
			continue
		}
		key := generate(t, caches[from], ec)
		decrypt(t, caches[to], key.EncryptedDataKeys(), ec)
	}
}

// costTolerance is how far the simulation may be from the formula in a whole
// day. In a short test, chance has more room.
const costTolerance, shortCostTolerance = 0.05, 0.10

// costPage is where the tables are, from this folder.
var costPage = filepath.Join("..", "docs", "cost.md")

// costTable is a table of the page: its rows are those of fleets.
type costTable struct {
	begin, end string // the lines around it
	header     string
	fleets     []fleet
	left       func(fleet) string // the cells that say what the fleet is
}

var costTables = []costTable{
	{
		begin:  "<!-- table: begin -->\n",
		end:    "<!-- table: end -->\n",
		header: "| producers | consumers | reuse period | messages a second |",
		fleets: fleets,
		left: func(f fleet) string {
			return fmt.Sprintf("| %d | %d | %s | %g |", f.producers, f.consumers, shortDuration(f.period), f.messages)
		},
	},
	{
		begin:  "<!-- queues: begin -->\n",
		end:    "<!-- queues: end -->\n",
		header: "| producers | consumers | queues | rotated every | reuse period | messages a second |",
		fleets: queueFleets,
		left: func(f fleet) string {
			rotated := "—"
			if f.rotated > 0 {
				rotated = shortDuration(f.rotated)
			}
			return fmt.Sprintf("| %d | %d | %d | %s | %s | %g |", f.producers, f.consumers, f.queues, rotated, shortDuration(f.period), f.messages)
		},
	},
}

// costRow is a row of a table in which the simulated sums are left out: it has
// %s for them, that of data keys and that of branch keys.
func (tab *costTable) costRow(f fleet) string {
	keys, branch := f.dataKeys(month), f.branchKeys(month)
	return fmt.Sprintf("%s %s | %s | %s | %%s | %s | %%s | %s | %s |", tab.left(f),
		rounded(keys.seal), rounded(keys.open), rounded(keys.total()), rounded(branch.total()), rounded(f.sse(month)), rounded(f.perMessage(month)))
}

// TestCostModel compares the formulas with the simulation, and the document
// with both. What it simulates of branch keys is at or below SSE's formula.
func TestCostModel(t *testing.T) {
	text, err := os.ReadFile(costPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for i := range costTables {
		tab := &costTables[i]
		before, rest, ok := strings.Cut(page, tab.begin)
		table, after, ok2 := strings.Cut(rest, tab.end)
		if !ok || !ok2 {
			t.Fatalf("%s has no table between %q and %q", costPage, tab.begin, tab.end)
		}
		header := tab.header + " `GenerateDataKey` | `Decrypt` | sum, by formula | sum, simulated | branch keys, by formula | branch keys, simulated | SSE's formula | a call a message |\n"
		header += strings.Repeat("| ---: ", strings.Count(header, "|")-1) + "|\n"
		if *costWrite && *costDay {
			page = before + tab.begin + header + tab.simulated(t) + tab.end + after
			continue
		}
		tab.simulated(t)
		rows, ok := strings.CutPrefix(table, header)
		if lines := slices.Collect(strings.Lines(rows)); ok && len(lines) == len(tab.fleets) {
			for i, f := range tab.fleets {
				tab.compare(t, f, strings.TrimSuffix(lines[i], "\n"))
			}
		} else {
			t.Errorf("%s: the table has the header and %d rows:\n%s\nwant %d rows and the header\n%s", costPage, len(lines), table, len(tab.fleets), header)
		}
	}
	if *costWrite && *costDay && !t.Failed() {
		if err := os.WriteFile(costPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// simulated runs the fleets and returns the rows of those that ran: all of
// them with -cost.day.
func (tab *costTable) simulated(t *testing.T) string {
	var rows strings.Builder
	for _, f := range tab.fleets {
		span, tolerance := 20*f.period, shortCostTolerance
		switch { // enough keys to count
		case f.producers >= 100:
			span = 3 * f.period
		case f.producers >= 10:
			span = 10 * f.period
		}
		if *costDay {
			span, tolerance = max(24*time.Hour, 5*f.period), costTolerance
		}
		if n := (span + 2*f.period).Seconds() * f.messages; !*costDay && (n > 50_000 || span < f.rotated) {
			continue
		}
		var keys, branch calls
		t.Run(f.String(), func(t *testing.T) {
			t.Run("data keys", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { keys = f.simulate(t, span, false) })
				want := f.dataKeys(span)
				within(t, "GenerateDataKey", keys.seal, want.seal, tolerance)
				within(t, "Decrypt", keys.open, want.open, tolerance)
			})
			t.Run("branch keys", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { branch = f.simulate(t, span, true) })
				want := f.branchKeys(span)
				within(t, "active", branch.seal, want.seal, tolerance)
				within(t, "version", branch.open, want.open, tolerance)
				f.underSSE(t, branch.total(), span)
			})
		})
		scale := float64(month) / float64(span)
		fmt.Fprintf(&rows, tab.costRow(f)+"\n", rounded(keys.total()*scale), rounded(branch.total()*scale))
	}
	return rows.String()
}

// underSSE requires that calls for branch keys are no more than SSE's formula
// has.
func (f fleet) underSSE(t *testing.T, calls float64, span time.Duration) {
	t.Helper()
	if limit := f.sse(span); calls > limit {
		t.Errorf("%v: %.0f calls for branch keys, want at most %.0f, which SSE's formula has", f, calls, limit)
	}
}

// compare compares a line of the table with the formulas: exactly, and its
// simulated sums to within costTolerance.
func (tab *costTable) compare(t *testing.T, f fleet, line string) {
	parts := strings.Split(tab.costRow(f), "%s")
	var sums [2]float64
	rest, ok := strings.CutPrefix(line, parts[0])
	for i := range sums {
		var number string
		number, rest, _ = strings.Cut(rest, parts[i+1])
		n, err := strconv.ParseFloat(strings.ReplaceAll(number, ",", ""), 64)
		ok = ok && err == nil
		sums[i] = n
	}
	if !ok || rest != "" {
		t.Errorf("the table says\n%s\nwant\n%s", line, strings.Join(parts, "(simulated)"))
		return
	}
	within(t, f.String()+", data keys, in the table", sums[0], f.dataKeys(month).total(), costTolerance)
	within(t, f.String()+", branch keys, in the table", sums[1], f.branchKeys(month).total(), costTolerance)
	f.underSSE(t, sums[1], month)
}

// TestBranchKeysAgainstSSE holds what docs/cost.md says of branch keys and
// SSE's formula to both formulas, for fleets of any shape.
func TestBranchKeysAgainstSSE(t *testing.T) {
	t.Parallel()
	const much = 1e12 // messages a second: every key is used at the moment that it is due
	worst := 0.0
	for producers := 1; producers <= 20; producers++ {
		for consumers := 1; consumers <= 400*producers; consumers = consumers*5/4 + 1 {
			f := fleet{producers: producers, consumers: consumers, period: 5 * time.Minute, messages: much}
			times := f.branchKeys(month).total() / f.sse(month)
			worst = max(worst, times)
			if over := consumers > manyConsumers*producers; !over && times > 1 {
				t.Errorf("%v: %.3f times the calls of SSE's formula, want at most as many", f, times)
			}
			longer := f
			longer.period += 20 * time.Second
			if got, want := longer.branchKeys(month).total(), f.sse(month); got > want {
				t.Errorf("%v: %.0f calls for branch keys, want at most %.0f as SSE with %v", longer, got, want, f.period)
			}
			f.queues = 2
			if times := f.branchKeys(month).total() / f.sse(month); times > 0.55 {
				t.Errorf("%v: %.3f times the calls of SSE's formula, want about half at most", f, times)
			}
		}
	}
	if worst > overSSE || worst < overSSE-0.01 {
		t.Errorf("at most %.3f times the calls of SSE's formula, want a little below %v", worst, overSSE)
	}
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got/want-1) > tolerance {
		t.Errorf("%s: simulated %.0f, by formula %.0f, want within %.1f %%", what, got, want, 100*tolerance)
	}
}

// rounded writes n with three digits that count, and commas.
func rounded(n float64) string {
	if unit := math.Pow(10, math.Floor(math.Log10(n))-2); unit > 1 {
		n = math.Round(n/unit) * unit
	}
	s := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func shortDuration(d time.Duration) string {
	if d >= time.Hour {
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d min", d/time.Minute)
}
