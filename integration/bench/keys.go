package main

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/sealq/sealq/envelope"
)

// keyService stands for AWS KMS: its answers have the sizes of those of KMS,
// take as long as they are told to, and are counted.
type keyService struct {
	latency        time.Duration
	called         func() // if not nil
	generate, open atomic.Int64
}

const keyARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// ciphertextSize is what KMS makes of a data key of 32 bytes.
const ciphertextSize = 184

func (s *keyService) GenerateDataKey(ctx context.Context, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	n := s.generate.Add(1)
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return dataKey(uint64(n))
}

func (s *keyService) DecryptDataKey(ctx context.Context, edks []envelope.EncryptedDataKey, _ envelope.EncryptionContext) (*envelope.DataKey, error) {
	s.open.Add(1)
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return dataKey(binary.BigEndian.Uint64(edks[0].Ciphertext))
}

func (s *keyService) wait(ctx context.Context) error {
	if s.called != nil {
		s.called()
	}
	if s.latency == 0 {
		return nil
	}
	select {
	case <-time.After(s.latency):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dataKey is the n-th data key. Its ciphertext says which it is.
func dataKey(n uint64) (*envelope.DataKey, error) {
	ciphertext := make([]byte, ciphertextSize)
	binary.BigEndian.PutUint64(ciphertext, n)
	plaintext := make([]byte, envelope.DataKeySize)
	binary.BigEndian.PutUint64(plaintext, n)
	return envelope.NewDataKey(plaintext, envelope.EncryptedDataKey{
		ProviderID:   "aws-kms",
		ProviderInfo: []byte(keyARN),
		Ciphertext:   ciphertext,
	})
}
