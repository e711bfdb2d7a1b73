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
// service. It holds the formula and the table of docs/cost.md to the code.

var (
	costDay   = flag.Bool("cost.day", false, "run each fleet of the cost model for a whole virtual day")
	costWrite = flag.Bool("cost.write", false, "with -cost.day: write the table into docs/cost.md")
)

const month = 30 * 24 * time.Hour

// fleet is one line of the table. Every producer sends messages at random times
// to one queue, and each message is received by a random consumer.
type fleet struct {
	producers, consumers int
	period               time.Duration // ReusePeriod
	messages             float64       // a second, of all producers together
}

// calls are numbers of calls of the key service in a time span.
type calls struct{ generate, decrypt float64 }

func (c calls) total() float64 { return c.generate + c.decrypt }

// lifetime is D: how long a data key is used for sealing, on average, before
// the next use fetches another.
func (f fleet) lifetime() float64 {
	due := f.period - cache.DefaultFetchTimeout - f.period*costJitter/1000
	return due.Seconds() + float64(f.producers)/f.messages
}

// costJitter is the average of the random part by which a data key for sealing
// is renewed early, in thousandths of the ReusePeriod.
const costJitter = 75

// predict is the formula of docs/cost.md.
func (f fleet) predict(span time.Duration) calls {
	keys := float64(f.producers) * span.Seconds() / f.lifetime()
	perKey := f.messages * f.lifetime() / float64(f.producers)
	consumers := float64(f.consumers)
	return calls{generate: keys, decrypt: keys * consumers * (1 - math.Exp(-perKey/consumers))}
}

// sse is what SQS documents for server-side encryption: R = B/D x (2P + C).
func (f fleet) sse(span time.Duration) float64 {
	return span.Seconds() / f.period.Seconds() * float64(2*f.producers+f.consumers)
}

// perMessage is one GenerateDataKey for each message sent and one Decrypt for
// each received.
func (f fleet) perMessage(span time.Duration) float64 { return 2 * f.messages * span.Seconds() }

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

// counting is a key service that answers at once and counts, one for a whole
// fleet.
type counting struct{ generated, decrypted atomic.Int64 }

func (s *counting) calls() calls {
	return calls{float64(s.generated.Load()), float64(s.decrypted.Load())}
}

func (s *counting) GenerateDataKey(context.Context, envelope.EncryptionContext) (*envelope.DataKey, error) {
	n := s.generated.Add(1)
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
// counted, in which the producers begin one by one.
func (f fleet) simulate(t *testing.T, span time.Duration) calls {
	service := &counting{}
	options := func(o *cache.Options) { o.ReusePeriod = f.period }
	producers := make([]*cache.Keyring, f.producers)
	begins := make([]time.Duration, f.producers)
	for i := range producers {
		producers[i], begins[i] = newCache(t, service, options), rand.N(f.period)
	}
	consumers := make([]*cache.Keyring, f.consumers)
	for i := range consumers {
		consumers[i] = newCache(t, service, options)
	}
	start, began := 2*f.period, time.Now()
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
			return calls{after.generate - before.generate, after.decrypt - before.decrypt}
		}
		from, to := rand.IntN(f.producers), rand.IntN(f.consumers)
		if now < begins[from] {
			continue
		}
		key := generate(t, producers[from], orders)
		decrypt(t, consumers[to], key.EncryptedDataKeys(), orders)
	}
}

// costTolerance is how far the simulation may be from the formula in a whole
// day. In a short test, chance has more room.
const costTolerance, shortCostTolerance = 0.05, 0.10

// costTable is where the table is, from this folder.
var costTable = filepath.Join("..", "docs", "cost.md")

const costTableStart, costTableEnd = "<!-- table: begin -->\n", "<!-- table: end -->\n"

// TestCostModel compares the formula with the simulation, and the document with
// both.
func TestCostModel(t *testing.T) {
	text, err := os.ReadFile(costTable)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), costTableStart)
	table, after, ok2 := strings.Cut(rest, costTableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no table between %q and %q", costTable, costTableStart, costTableEnd)
	}
	var rows strings.Builder
	rows.WriteString("| producers | consumers | reuse period | messages a second | `GenerateDataKey` | `Decrypt` | sum, by formula | sum, simulated | SSE's formula | a call a message |\n")
	rows.WriteString("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	lines := strings.Split(table, "\n")
	for i, f := range fleets {
		name := fmt.Sprintf("%d to %d by %v", f.producers, f.consumers, f.period)
		monthly := f.predict(month)
		row := fmt.Sprintf("| %d | %d | %s | %g | %s | %s | %s |", f.producers, f.consumers, shortDuration(f.period), f.messages,
			rounded(monthly.generate), rounded(monthly.decrypt), rounded(monthly.total()))
		end := fmt.Sprintf("| %s | %s |", rounded(f.sse(month)), rounded(f.perMessage(month)))

		span, tolerance := 20*f.period, shortCostTolerance
		if f.producers >= 100 {
			span = 3 * f.period // enough keys to count
		}
		if *costDay {
			span, tolerance = max(24*time.Hour, 5*f.period), costTolerance
		}
		if simulated := (span + 2*f.period).Seconds() * f.messages; *costDay || simulated <= 100_000 {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got, want := f.simulate(t, span), f.predict(span)
					within(t, "GenerateDataKey", got.generate, want.generate, tolerance)
					within(t, "Decrypt", got.decrypt, want.decrypt, tolerance)
					fmt.Fprintf(&rows, "%s %s %s\n", row, rounded(got.total()*float64(month)/float64(span)), end)
				})
			})
		}
		if *costWrite {
			continue
		}
		if len(lines) < i+3 {
			t.Fatalf("the table has %d lines, want one for each of %d fleets", len(lines), len(fleets))
		}
		line := lines[i+2]
		simulated, isRow := strings.CutPrefix(line, row)
		simulated, isEnd := strings.CutSuffix(simulated, end)
		if !isRow || !isEnd {
			t.Errorf("the table says\n%s\nwant\n%s (simulated) %s", line, row, end)
			continue
		}
		n, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(simulated), ",", ""), 64)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		within(t, name+" in the table", n, monthly.total(), costTolerance)
	}
	if *costWrite && *costDay && !t.Failed() {
		if err := os.WriteFile(costTable, []byte(before+costTableStart+rows.String()+costTableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got/want-1) > tolerance {
		t.Errorf("%s: simulated %.0f, by formula %.0f, want within %.0f %%", what, got, want, 100*tolerance)
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
