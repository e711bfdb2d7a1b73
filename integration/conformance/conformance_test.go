package conformance_test

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sealq/sealq/integration/conformance"
	"github.com/sealq/sealq/integration/launch"
	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestInProcessServer(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	conformance.Run(t, conformance.Target{
		Name:     "sqsxtest",
		SQS:      server.Config(),
		KMS:      server.Config(),
		Topics:   true,
		DynamoDB: true,
		Stored: func(_ context.Context, queueURL string) ([]types.Message, error) {
			return server.Stored(queueURL), nil
		},
	})
}

func TestLocalStack(t *testing.T) {
	in := use(t, "LocalStack")
	target := target(in, in)
	target.Topics = true
	target.Stored = func(ctx context.Context, queueURL string) ([]types.Message, error) {
		return peek(ctx, in.Endpoint, queueURL)
	}
	target.Differences = []conformance.Difference{
		conformance.ElevenAttributesAccepted,
		conformance.ConsecutiveDotsAccepted,
		conformance.GroupOvertakes,
		conformance.TopicKeepsDuplicates,
	}
	conformance.Run(t, target)
}

func TestMinistack(t *testing.T) {
	in := use(t, "ministack")
	target := target(in, in)
	target.Topics, target.DynamoDB = true, true
	target.Differences = []conformance.Difference{
		conformance.ElevenAttributesAccepted,
		conformance.AttributeNamesUnchecked,
		conformance.AttributesNotCounted,
		conformance.BatchSplit,
		conformance.GroupWaitsWhole,
		conformance.NoMoveTask,
		conformance.NoReEncrypt,
		conformance.TamperedBlobDecrypts,
		conformance.WrongKeyIDDecrypts,
		conformance.TopicBatchLosesBinary,
		conformance.TopicCountsBase64,
		conformance.NoSubscriptionRedrive,
	}
	conformance.Run(t, target)
}

func TestMoto(t *testing.T) {
	in := use(t, "moto")
	target := target(in, in)
	target.DynamoDB = true
	target.Differences = append(motoKMS(),
		conformance.ExpressionErrorsAre500,
		conformance.RequestTokensIgnored,
		conformance.UnusedValuesAccepted,
		conformance.ElevenAttributesAccepted,
		conformance.AttributeNamesUnchecked,
		conformance.AttributesNotCounted,
		conformance.ForbiddenCharactersPass,
		conformance.DuplicateGetsNewID,
		conformance.GroupWaitsWhole,
		conformance.NoSourceARN,
		conformance.NoMoveTask,
	)
	conformance.Run(t, target)
}

func TestElasticMQ(t *testing.T) {
	target := target(use(t, "ElasticMQ"), use(t, "moto"))
	target.Differences = append(motoKMS(),
		conformance.ARNsOfOneRegion,
		conformance.PrefixFilterReturnsNone,
		conformance.AttributeNamesUnchecked,
		conformance.AttributesNotCounted,
		conformance.OtherErrorCodes,
		conformance.BatchSplit,
	)
	conformance.Run(t, target)
}

func TestFauxqs(t *testing.T) {
	target := target(use(t, "fauxqs"), use(t, "moto"))
	target.Topics = true
	target.Differences = append(motoKMS(),
		conformance.NoFilterReturnsAll,
		conformance.DigestOfAllAttributes,
		conformance.BinaryCountsAsBase64,
		conformance.ElevenAttributesAccepted,
		conformance.AttributeNamesUnchecked,
		conformance.EmojiRefused,
		conformance.BatchSplit,
		conformance.GroupOneByOne,
		conformance.NoSourceARN,
		conformance.NoTraceHeader,
		conformance.NoMoveTask,
		conformance.TopicCountsBase64,
		conformance.NoSubscriptionRedrive,
		conformance.TopicKeepsDuplicates,
	)
	conformance.Run(t, target)
}

// motoKMS is what moto's KMS brings to the emulators that have none.
func motoKMS() []conformance.Difference {
	return []conformance.Difference{
		conformance.AnySourceKeyReEncrypts,
		conformance.WrongKeyIDIsAccessDenied,
		conformance.UnavailableKeysWork,
		conformance.ReplicasCannotDecrypt,
	}
}

func use(t *testing.T, name string) *launch.Instance {
	t.Helper()
	e, err := launch.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return launch.Use(t, e)
}

func target(sqs, kms *launch.Instance) conformance.Target {
	return conformance.Target{Name: sqs.Name, Version: sqs.Version, SQS: sqs.Config(), KMS: kms.Config()}
}

// peek asks LocalStack what lies in a queue, without receiving it.
func peek(ctx context.Context, endpoint, queueURL string) ([]types.Message, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/_aws/sqs/messages?QueueUrl="+url.QueryEscape(queueURL), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/xml")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("messages of %q: %s", queueURL, resp.Status)
	}
	var answer struct {
		Messages []struct {
			MessageId, Body  string
			MessageAttribute []struct {
				Name  string
				Value struct{ DataType, StringValue, BinaryValue string }
			}
		} `xml:"ReceiveMessageResult>Message"`
	}
	if err := xml.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	var messages []types.Message
	for _, m := range answer.Messages {
		message := types.Message{MessageId: &m.MessageId, Body: &m.Body, MessageAttributes: map[string]types.MessageAttributeValue{}}
		for _, a := range m.MessageAttribute {
			value := types.MessageAttributeValue{DataType: &a.Value.DataType, StringValue: &a.Value.StringValue}
			if strings.HasPrefix(a.Value.DataType, "Binary") {
				value.StringValue = nil
				if value.BinaryValue, err = base64.StdEncoding.DecodeString(a.Value.BinaryValue); err != nil {
					return nil, err
				}
			}
			message.MessageAttributes[a.Name] = value
		}
		messages = append(messages, message)
	}
	return messages, nil
}
