package sqsxtest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

// Whatever arrives, the answer is JSON, and an error says its type. Nothing
// panics.
func FuzzServeHTTP(f *testing.F) {
	server := sqsxtest.New(f)
	client := sqs.NewFromConfig(server.Config())
	const fifo = "https://sqs.us-east-1.amazonaws.com/000000000000/q.fifo"
	createQueue(f, client, "q.fifo", "FifoQueue", "true", "VisibilityTimeout", "0")
	createQueue(f, client, "dead")
	createQueue(f, client, "q", "VisibilityTimeout", "0")
	server.NewKey("alias/x")
	server.NewTable("keys", "p", "s")

	const queue = `"QueueUrl":"https://sqs.us-east-1.amazonaws.com/000000000000/q"`
	for target, bodies := range map[string][]string{
		"AmazonSQS.SendMessage": {
			`{` + queue + `,"MessageBody":"x","MessageAttributes":{"a":{"DataType":"Number","StringValue":"1e5"},"b":{"DataType":"Binary","BinaryValue":"AA=="}}}`,
			`{"QueueUrl":"` + fifo + `","MessageBody":"x","MessageGroupId":"g","MessageDeduplicationId":"d"}`,
		},
		"AmazonSQS.SendMessageBatch":             {`{` + queue + `,"Entries":[{"Id":"a","MessageBody":"x"},null]}`},
		"AmazonSQS.ReceiveMessage":               {`{` + queue + `,"MaxNumberOfMessages":10,"MessageAttributeNames":["a.*"],"AttributeNames":["All"]}`},
		"AmazonSQS.DeleteMessage":                {`{` + queue + `,"ReceiptHandle":"AAAA"}`},
		"AmazonSQS.DeleteMessageBatch":           {`{` + queue + `,"Entries":[{"Id":"a"}]}`},
		"AmazonSQS.ChangeMessageVisibility":      {`{` + queue + `,"ReceiptHandle":"x","VisibilityTimeout":0}`},
		"AmazonSQS.ChangeMessageVisibilityBatch": {`{` + queue + `,"Entries":[{"Id":"a","VisibilityTimeout":1}]}`},
		"AmazonSQS.CreateQueue":                  {`{"QueueName":"n","Attributes":{"RedrivePolicy":"{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\",\"maxReceiveCount\":1}"},"tags":{"a":"b"}}`},
		"AmazonSQS.SetQueueAttributes":           {`{` + queue + `,"Attributes":{"RedriveAllowPolicy":"{}","FifoQueue":"true"}}`},
		"AmazonSQS.GetQueueAttributes":           {`{` + queue + `,"AttributeNames":["All"]}`},
		"AmazonSQS.ListQueues":                   {`{"MaxResults":1,"NextToken":"cQ=="}`, `null`, `[]`, ``, `{`},
		"AmazonSQS.StartMessageMoveTask":         {`{"SourceArn":"arn:aws:sqs:us-east-1:000000000000:dead","MaxNumberOfMessagesPerSecond":1}`},
		"AmazonSQS.CancelMessageMoveTask":        {`{"TaskHandle":"e30="}`},
		"AmazonSQS.AddPermission":                {`{` + queue + `,"Label":"l","AWSAccountIds":["000000000000"],"Actions":["*"]}`},
		"AmazonSQS.RemovePermission":             {`{` + queue + `,"Label":"l"}`},
		"AmazonSQS.TagQueue":                     {`{` + queue + `,"Tags":{"a":"b"}}`},
		"AmazonSQS.ListMessageMoveTasks":         {`{"SourceArn":"arn:aws:sqs:us-east-1:000000000000:dead"}`},
		"TrentService.GenerateDataKey":           {`{"KeyId":"alias/x","KeySpec":"AES_256","EncryptionContext":{"a":"b"}}`},
		"TrentService.Decrypt":                   {`{"CiphertextBlob":"AAAA"}`},
		"TrentService.CreateKey":                 {`{}`},
		"TrentService.EnableKeyRotation":         {`{"KeyId":"alias/x","RotationPeriodInDays":90}`},
		"TrentService.TagResource":               {`{"KeyId":"alias/x","Tags":[{"TagKey":"a","TagValue":"b"},{}]}`},
		"TrentService.PutKeyPolicy":              {`{"KeyId":"alias/x","Policy":"{\"Statement\":{\"Effect\":{},\"Principal\":[]}}"}`},
		"TrentService.CreateGrant":               {`{"KeyId":"alias/x","GranteePrincipal":"arn:","Operations":["Decrypt"],"Constraints":{"EncryptionContextEquals":{"a":"b"}}}`},
		"TrentService.RetireGrant":               {`{"GrantToken":"AAAA"}`},
		"TrentService.GenerateMac":               {`{"KeyId":"alias/x","Message":"AAAA","MacAlgorithm":"HMAC_SHA_256"}`},
		"DynamoDB_20120810.PutItem": {
			`{"TableName":"keys","Item":{"p":{"S":"a"},"s":{"S":"b"},"n":{"NS":["1e5","-0.1"]},"m":{"M":{"l":{"L":[{"NULL":true}]}}}},"ReturnValues":"ALL_OLD"}`,
			`{"TableName":"keys","Item":{"p":{"S":"a"},"s":{"S":"b"}},"ConditionExpression":"attribute_not_exists(#p) OR n[0] = :n","ExpressionAttributeNames":{"#p":"p"},"ExpressionAttributeValues":{":n":{"N":"1"}}}`,
		},
		"DynamoDB_20120810.GetItem":            {`{"TableName":"arn:aws:dynamodb:us-east-1:000000000000:table/keys","Key":{"p":{"S":"a"},"s":{"S":"b"}},"ConsistentRead":true}`},
		"DynamoDB_20120810.DeleteItem":         {`{"TableName":"keys","Key":{"p":{"S":"a"},"s":{"S":"b"}}}`},
		"DynamoDB_20120810.TransactWriteItems": {`{"ClientRequestToken":"t","TransactItems":[{"Put":{"TableName":"keys","Item":{"p":{"S":"a"},"s":{"S":"b"}}}},{"ConditionCheck":{"TableName":"keys","Key":{"p":{"S":"a"},"s":{"S":"c"}},"ConditionExpression":"size(p) > :n"}},{}]}`},
		"DynamoDB_20120810.Query":              {`{"TableName":"keys","KeyConditionExpression":"p = :p AND begins_with(s, :p)","ExpressionAttributeValues":{":p":{"S":"a"}},"Limit":1,"ExclusiveStartKey":{"p":{"S":"a"},"s":{"S":"a"}}}`},
		"DynamoDB_20120810.Scan":               {`{"TableName":"keys","Select":"COUNT"}`},
		"DynamoDB_20120810.CreateTable":        {`{"TableName":"new","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"p","AttributeType":"N"}],"KeySchema":[{"AttributeName":"p","KeyType":"HASH"}]}`},
		"\r\n.\x00":                            {`{}`},
	} {
		for _, body := range bodies {
			f.Add(target, "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/sqs/aws4_request", body)
		}
	}
	f.Fuzz(func(t *testing.T, target, authorization, body string) {
		if strings.Contains(strings.ToLower(body), "waittime") {
			t.Skip("a legal long poll would take its time")
		}
		r := httptest.NewRequest(http.MethodPost, "https://sqs.us-east-1.amazonaws.com/", strings.NewReader(body))
		r.Header["X-Amz-Target"] = []string{target}
		r.Header["Authorization"] = []string{authorization}
		r.Header["X-Amzn-Query-Mode"] = []string{"true"}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		var doc struct {
			Type string `json:"__type"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		if (w.Code == 200) != (doc.Type == "") {
			t.Fatalf("got status %d with %s", w.Code, w.Body)
		}
		if w.Code >= 500 {
			t.Fatalf("got status %d with %s", w.Code, w.Body)
		}
	})
}
