// Try runs a Lambda function on this machine, with an event from a file and an
// AWS KMS in memory. It needs no account.
//
//	go run ./try event.json                               the function in this folder
//	go run ./try event.json python ../python/function.py   a program, with the sealed event's file as its argument
//
// The bodies in the file are plaintext. Try seals them, as a producer would
// have done, apart from records with "try": "not sealed".
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/sqsx"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: try EVENT [PROGRAM ARGUMENT...]")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		log.Fatal("try: ", err)
	}
}

func run(ctx context.Context, file string, program []string) error {
	server := sqsxtest.Start()
	defer server.Close()
	key := server.NewKey("alias/orders")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	sealer, err := sqsx.NewFromConfig(server.Config(), key)
	if err != nil {
		return err
	}
	event, err := seal(ctx, sealer, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}

	folder, err := os.MkdirTemp("", "try")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if len(program) == 0 {
		binary := filepath.Join(folder, "function")
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return err
		}
		return invoke(ctx, command(ctx, server, key, binary), event)
	}
	sealed := filepath.Join(folder, "sealed.json")
	if err := os.WriteFile(sealed, event, 0o600); err != nil {
		return err
	}
	cmd := command(ctx, server, key, program[0], append(program[1:], sealed)...)
	cmd.Stdout = os.Stdout
	return cmd.Run()
}

// command returns a program whose AWS is server.
func command(ctx context.Context, server *sqsxtest.Server, key, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+server.URL(), "AWS_REGION="+sqsxtest.DefaultRegion, "AWS_DEFAULT_REGION="+sqsxtest.DefaultRegion,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "SEALQ_KEY_ID="+key)
	cmd.Stderr = os.Stderr
	return cmd
}

// seal replaces the bodies of an event, and keeps all else as it is written.
func seal(ctx context.Context, sealer *sqsx.Sealer, text []byte) ([]byte, error) {
	var event struct{ Records []map[string]any }
	if err := json.Unmarshal(text, &event); err != nil {
		return nil, err
	}
	sealed := 0
	for i, r := range event.Records {
		body, _ := r["body"].(string)
		queue, _ := r["eventSourceARN"].(string)
		attributes, _ := r["messageAttributes"].(map[string]any)
		if attributes == nil {
			return nil, fmt.Errorf("record %d has no messageAttributes", i)
		}
		if r["try"] == "not sealed" {
			continue
		}
		sealed++
		in := &sqs.SendMessageInput{MessageBody: &body, MessageAttributes: make(map[string]types.MessageAttributeValue)}
		if system, _ := r["attributes"].(map[string]any); system["MessageGroupId"] != nil {
			in.MessageGroupId, in.MessageDeduplicationId = aws.String(fmt.Sprint(system["MessageGroupId"])), aws.String(fmt.Sprint(i))
		}
		out, err := sealer.SealMessage(ctx, queue, in)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		r["body"] = *out.MessageBody
		for name, a := range out.MessageAttributes { // the header
			attributes[name] = map[string]any{
				"binaryValue": a.BinaryValue, "stringListValues": []string{}, "binaryListValues": []string{}, "dataType": *a.DataType,
			}
		}
	}
	log.Printf("%d records: %d sealed, %d left in plaintext on purpose", len(event.Records), sealed, len(event.Records)-sealed)
	return json.Marshal(event)
}
