package main

import (
	"encoding/json"
	"log"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// order is the body of a message.
type order struct {
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
	Card     string `json:"card"`
}

// maxOrder is the largest request body, in bytes.
const maxOrder = 64 << 10

// producer answers an HTTP request by putting an order into the queue.
type producer struct {
	client   *sqs.Client
	queueURL string
}

func (p *producer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST an order", http.StatusMethodNotAllowed)
		return
	}
	var o order
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder)).Decode(&o); err != nil || o.Item == "" || o.Quantity < 1 {
		http.Error(w, "want an order in JSON, with item and quantity", http.StatusBadRequest)
		return
	}
	body, err := json.Marshal(o)
	if err == nil {
		_, err = p.client.SendMessage(r.Context(), &sqs.SendMessageInput{
			QueueUrl:    &p.queueURL,
			MessageBody: aws.String(string(body)),
			MessageAttributes: map[string]types.MessageAttributeValue{
				"source": {DataType: aws.String("String"), StringValue: aws.String("web")},
			},
		})
	}
	if err != nil {
		log.Printf("order not taken: %v", err)
		http.Error(w, "try again later", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
