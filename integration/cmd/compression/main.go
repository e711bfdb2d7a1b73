// Command compression prints what Policy.Compress saves: the sizes of messages
// as SQS counts them, and the requests that it charges for, one for each 64 KiB
// of a call. docs/cost.md has the table that it prints.
//
//	go run ./cmd/compression
//
// The messages are JSON as services send it: names that repeat, and values that
// do not. They are the same in each run.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

const (
	queue = "arn:aws:sqs:eu-central-1:111122223333:orders"
	chunk = 64 << 10 // of one request (Amazon SQS pricing)
)

func main() {
	log.SetFlags(0)
	kr, err := envelope.NewRawAESKeyring("example", "key", make([]byte, 32))
	if err != nil {
		log.Fatal(err)
	}
	sizes := func(policy sqsx.Policy, body string) string {
		sealer, err := sqsx.New(kr, func(o *sqsx.Options) { o.Policy = policy })
		if err != nil {
			log.Fatal(err)
		}
		out, err := sealer.SealMessage(context.Background(), queue, &sqs.SendMessageInput{MessageBody: &body})
		if _, ok := errors.AsType[*sqsx.TooLargeError](err); ok {
			return "too large | "
		}
		if err != nil {
			log.Fatal(err)
		}
		n := len(aws.ToString(out.MessageBody))
		for name, v := range out.MessageAttributes {
			n += len(name) + len(aws.ToString(v.DataType)) + len(aws.ToString(v.StringValue)) + len(v.BinaryValue)
		}
		return fmt.Sprintf("%s | %d", thousands(n), (n+chunk-1)/chunk)
	}
	fmt.Println("| body, bytes | requests | sealed, bytes | requests | compressed and sealed, bytes | requests |")
	fmt.Println("| ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, kib := range []int{1, 10, 40, 50, 100, 200, 400, 700, 900} {
		body := orders(kib << 10)
		fmt.Printf("| %s | %d | %s | %s |\n", thousands(len(body)), (len(body)+chunk-1)/chunk,
			sizes(sqsx.Policy{}, body), sizes(sqsx.Policy{Compress: true}, body))
	}
}

// orders is JSON of n bytes.
func orders(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString(`{"orders":[`)
	for b.Len() < n {
		fmt.Fprintf(&b, `{"orderId":"%08x-%04x","customer":{"id":%d,"tier":"%s"},"amount":"%d.%02d","currency":"EUR","created":"2026-%02d-%02dT%02d:%02d:%02dZ","status":"CREATED"},`,
			r.Uint32(), r.IntN(1<<16), r.IntN(1e6), []string{"gold", "silver", "basic"}[r.IntN(3)], r.IntN(1000), r.IntN(100),
			1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
	}
	return b.String()[:n]
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
