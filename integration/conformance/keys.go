package conformance

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/envelope"
	"github.com/sealq/sealq/sqsx"
)

// keyCases are about what happens to the KMS key.
func keyCases() []testCase {
	return []testCase{
		{"keys: sealed under each form of key ID, opened under each", keyForms},
		{"keys: an alias is moved to another key under a backlog", aliasMoved},
		{"keys: a message of one Region opens with the replica key of another", replicaOpens},
		{"keys: a disabled key stops sends and receives, and starts them again", disabledKey},
		{"keys: many messages and senders share one data key", sharedDataKey},
		{"keys: Check", check},
	}
}

// wantClass wants an error of the class.
func wantClass(t *testing.T, what string, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("%s: got error %v, want %v", what, err, class)
	}
}

func keyForms(t *testing.T, s *suite) {
	key := s.key(t)
	url := s.queue(t, again)
	clients := map[string]*sqs.Client{}
	for form, id := range forms(key, s.alias(t, key)) {
		clients[form] = sqs.NewFromConfig(s.target.SQS, s.sealer(t, id).Install)
	}
	for sealedBy, sender := range clients {
		send(t, sender, url, sealedBy, nil)
		for openedBy, receiver := range clients {
			out, err := receiver.ReceiveMessage(t.Context(), receiveInput(url))
			if err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != sealedBy {
				t.Fatalf("sealed under %s, opened under %s: got %d messages and error %v", sealedBy, openedBy, len(out.Messages), err)
			}
			if info, _ := sqsx.InfoOf(out.ResultMetadata, *out.Messages[0].MessageId); info.Key != key {
				t.Errorf("InfoOf: got key %q, want %q", info.Key, key)
			}
		}
		s.receive(t, sender, url, 1)
	}
}

func aliasMoved(t *testing.T, s *suite) {
	old, fresh := s.key(t), s.key(t)
	alias := s.alias(t, old)
	url := s.queue(t, again)
	before := sqs.NewFromConfig(s.target.SQS, s.sealer(t, alias).Install)
	send(t, before, url, "backlog", nil)
	if _, err := s.kms.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: &alias, TargetKeyId: bareID(fresh)}); err != nil {
		t.Fatal(err)
	}
	after := sqs.NewFromConfig(s.target.SQS, s.sealer(t, alias).Install)
	if got := s.receive(t, after, url, 1); *got[0].Body != "backlog" {
		t.Errorf("backlog: got body %q", *got[0].Body)
	}
	send(t, after, url, "under the new key", nil)
	if got := s.receive(t, before, url, 1); *got[0].Body != "under the new key" {
		t.Errorf("new message, consumer that has not restarted: got body %q", *got[0].Body)
	}
	// StrictAlias gives up the backlog for a smaller trust.
	send(t, sqs.NewFromConfig(s.target.SQS, s.sealer(t, old).Install), url, "backlog", nil)
	strict := s.sealer(t, alias, func(o *sqsx.Options) {
		o.KMSKeyring.StrictAlias = true
	})
	_, err := sqs.NewFromConfig(s.target.SQS, strict.Install).ReceiveMessage(t.Context(), receiveInput(url))
	wantClass(t, "StrictAlias", err, envelope.ErrNoMatchingKey)
}

func replicaOpens(t *testing.T, s *suite) {
	primary, _ := s.replicate(t)
	url := s.queue(t, again)
	send(t, sqs.NewFromConfig(s.target.SQS, s.sealer(t, primary).Install), url, "from the first Region", nil)

	// A consumer that has failed over: its KMS calls go to the other Region,
	// with the configuration it had.
	cfg := s.target.KMS.Copy()
	cfg.Region = replicaRegion
	sealer, err := sqsx.NewFromConfig(cfg, primary, logTo(t), func(o *sqsx.Options) {
		o.KMSKeyring.Region = replicaRegion
	})
	if err != nil {
		t.Fatal(err)
	}
	client := sqs.NewFromConfig(s.target.SQS, sealer.Install)
	if s.differs(ReplicasCannotDecrypt) {
		_, err := client.ReceiveMessage(t.Context(), receiveInput(url))
		if _, failed := errors.AsType[*sqsx.ReceiveError](err); !failed {
			t.Errorf("got error %v, want a *ReceiveError: %s", err, ReplicasCannotDecrypt)
		}
		return
	}
	if got := s.receive(t, client, url, 1); *got[0].Body != "from the first Region" {
		t.Errorf("got body %q", *got[0].Body)
	}
}

func disabledKey(t *testing.T, s *suite) {
	key := s.key(t)
	url := s.queue(t, again)
	client := func() *sqs.Client { return sqs.NewFromConfig(s.target.SQS, s.sealer(t, key).Install) }
	send(t, client(), url, "sealed before", nil)
	s.disable(t, key)

	// Fresh clients, whose caches are empty.
	_, sendErr := client().SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("body")})
	_, receiveErr := client().ReceiveMessage(t.Context(), receiveInput(url))
	if s.differs(UnavailableKeysWork) {
		if sendErr != nil || receiveErr != nil {
			t.Errorf("got errors %v and %v, want none: %s", sendErr, receiveErr, UnavailableKeysWork)
		}
		return
	}
	for what, err := range map[string]error{"send": sendErr, "receive": receiveErr} {
		if _, disabled := errors.AsType[*kmstypes.DisabledException](err); !disabled {
			t.Errorf("%s: got error %v, want a *types.DisabledException in its chain", what, err)
		}
	}
	// Held where the dry run is understood; else withheld.
	if e, ok := errors.AsType[*sqsx.ReceiveError](receiveErr); !errors.Is(receiveErr, sqsx.ErrHeld) && (!ok || !e.Withheld[0].Temporary) {
		t.Errorf("receive: got error %v, want ErrHeld or a *ReceiveError of temporary causes", receiveErr)
	}
	s.enable(t, key)
	if got := s.receive(t, client(), url, 1); *got[0].Body != "sealed before" {
		t.Errorf("enabled again: got body %q", *got[0].Body)
	}
}

func sharedDataKey(t *testing.T, s *suite) {
	sealer := s.sealer(t, s.key(t))
	client := sqs.NewFromConfig(s.target.SQS, sealer.Install)
	url := s.queue(t, nil)
	const senders, each = 8, 5
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{
					QueueUrl: &url, MessageBody: aws.String(fmt.Sprintf("%d of %d", j, i)),
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := map[string]bool{}
	for _, m := range s.receive(t, client, url, senders*each) {
		got[*m.Body] = true
	}
	if len(got) != senders*each {
		t.Errorf("got %d different bodies, want %d", len(got), senders*each)
	}
	// One GenerateDataKey for all sends; what the same process sealed it opens
	// with at most one Decrypt.
	if calls := sealer.Stats().Cache.Fetches; calls > 2 {
		t.Errorf("calls to KMS: got %d, want at most 2", calls)
	}
}

func check(t *testing.T, s *suite) {
	url := s.queue(t, nil)
	if err := s.sealer(t, s.key(t)).Check(t.Context(), url); err != nil {
		t.Errorf("a good key: %v", err)
	}
	absent := "11111111-2222-3333-4444-555555555555"
	err := s.sealer(t, absent).Check(t.Context(), url)
	if e, ok := errors.AsType[*sqsx.CheckError](err); !ok || e.Seal == nil || e.Open == nil {
		t.Errorf("a key that does not exist: got error %v, want a *CheckError with both halves", err)
	}
}
