package sqsx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx"
)

// sealInTurn seals one message for each of n queues.
func sealInTurn(t *testing.T, s *sqsx.Sealer, n int) {
	t.Helper()
	for i := range n {
		if _, err := s.SealMessage(t.Context(), arnOf(fmt.Sprint("queue-", i)), &sqs.SendMessageInput{MessageBody: aws.String("x")}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyQueuesKeepTheirDataKeys: a producer of many queues makes one call of
// KMS for each, and not one for each message.
func TestManyQueuesKeepTheirDataKeys(t *testing.T) {
	t.Parallel()
	const queues = 1500
	w := newWorld(t)
	s := w.sealer()
	for range 3 {
		sealInTurn(t, s, queues)
	}
	if n := w.count("kms:GenerateDataKey"); n != queues {
		t.Errorf("got %d GenerateDataKey calls, want %d", n, queues)
	}
	if st := s.Stats().Cache; st.EvictedInUse != 0 || st.EncryptEntries != queues {
		t.Errorf("got %+v, want %d data keys and none dropped", st, queues)
	}
}

// TestDroppedKeysAreLogged: where the bound is reached, a line says so, at most
// one in ten seconds, and a metric.
func TestDroppedKeysAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound, queues, rounds = 10, 30, 25
		w := newWorld(t)
		meter := newMeter()
		var log bytes.Buffer
		s, err := sqsx.NewFromConfig(w.cfg, w.key, func(o *sqsx.Options) {
			o.Logger = slog.New(slog.NewJSONHandler(&log, nil))
			o.Cache.EncryptEntries = bound
			o.MeterProvider = provider{meter}
		})
		if err != nil {
			t.Fatal(err)
		}
		lines := func() []map[string]any {
			var all []map[string]any
			for line := range strings.Lines(log.String()) {
				var fields map[string]any
				if err := json.Unmarshal([]byte(line), &fields); err != nil {
					t.Fatal(err)
				}
				all = append(all, fields)
			}
			return all
		}
		sealInTurn(t, s, bound)
		time.Sleep(10 * time.Second)
		sealInTurn(t, s, bound)
		if got := lines(); len(got) != 0 {
			t.Fatalf("within the bound: got %v, want no line", got)
		}
		for range rounds { // a second each
			sealInTurn(t, s, queues)
			time.Sleep(time.Second)
		}
		got := lines()
		if len(got) != 2 {
			t.Fatalf("got %d lines in %d seconds, want one in ten", len(got), rounds)
		}
		for _, line := range got {
			if line["level"] != "WARN" || !strings.Contains(fmt.Sprint(line["msg"]), "data keys in use were dropped") ||
				!strings.Contains(fmt.Sprint(line["remedy"]), "EncryptEntries") || line["keys_for_sealing"] != float64(bound) {
				t.Errorf("got %v, want what happened, how many keys there are, and the remedy", line)
			}
		}
		dropped := s.Stats().Cache.EvictedInUse
		if want := uint64(rounds*queues - bound); dropped != want { // the first ten were there
			t.Errorf("got %d dropped, want %d", dropped, want)
		}
		if n := meter.collect(context.Background())["sealq.keys.evicted_in_use"]; n != int64(dropped) {
			t.Errorf("the metric is %d, want %d", n, dropped)
		}
		time.Sleep(10 * time.Second)
		sealInTurn(t, s, 1)
		before := len(lines())
		time.Sleep(10 * time.Second)
		sealInTurn(t, s, 1)
		if got := len(lines()) - before; got != 0 {
			t.Errorf("with none dropped: %d lines, want none", got)
		}
	})
}
