package main

import (
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealq/sealq/sqsx"
)

// options let the story see, and cut, the line to KMS. A service needs none.
func (w *world) options(o *sqsx.Options) {
	o.KMS = []func(*kms.Options){func(ko *kms.Options) { ko.HTTPClient = w.kms.through(ko.HTTPClient) }}
	o.Logger = slog.New(slog.DiscardHandler)
}

// kmsLine counts the calls of KMS that pass it, and lets none pass once it is
// cut.
type kmsLine struct {
	calls atomic.Int64
	cut   atomic.Bool
}

func (l *kmsLine) through(client aws.HTTPClient) aws.HTTPClient {
	if client == nil {
		client = http.DefaultClient
	}
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if l.calls.Add(1); l.cut.Load() {
			return nil, errors.New("no route to KMS")
		}
		return client.Do(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) Do(r *http.Request) (*http.Response, error) { return f(r) }
