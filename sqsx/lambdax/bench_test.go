package lambdax_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/sealq/sealq/sqsx/lambdax"
)

// BenchmarkInvoke is an event of so many messages under one cached data key,
// with work that does nothing: JSON, opening and the report.
func BenchmarkInvoke(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		for _, parallel := range []int{1, 10} {
			b.Run(fmt.Sprintf("messages=%d/parallel=%d", n, parallel), func(b *testing.B) {
				w := newWorld(b)
				payload, err := json.Marshal(lambdax.NewEvent(arnOf("orders"), w.sealed(b, "orders", "m", n, 1)))
				if err != nil {
					b.Fatal(err)
				}
				h := lambdax.New(w.sealer(b), func(context.Context, lambdax.Message) error { return nil }, func(o *lambdax.Options) { o.Parallel = parallel })
				b.SetBytes(int64(len(payload)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := h.Invoke(b.Context(), payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkParse is the part of that which encoding/json takes.
func BenchmarkParse(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			w := newWorld(b)
			payload, err := json.Marshal(lambdax.NewEvent(arnOf("orders"), w.sealed(b, "orders", "m", n, 1)))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				var e lambdax.Event
				if err := json.Unmarshal(payload, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
