package sqsxtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/sqsx/sqsxtest"
)

func TestCreateQueue(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	type m = map[string]string
	createQueue(t, client, "existing", "VisibilityTimeout", "10")
	longest := strings.Repeat("n", 80)
	tests := map[string]struct {
		name       string
		attributes m
		code       string
	}{
		"again":              {"existing", m{"VisibilityTimeout": "10"}, ""},
		"again, less said":   {"existing", nil, ""},
		"again, a default":   {"existing", m{"DelaySeconds": "0"}, ""},
		"again, different":   {"existing", m{"VisibilityTimeout": "11"}, "QueueAlreadyExists"},
		"longest name":       {longest, nil, ""},
		"name too long":      {longest + "n", nil, "InvalidParameterValue"},
		"no name":            {"", nil, "MissingParameter"},
		"legal characters":   {"aZ09-_", nil, ""},
		"dot":                {"a.b", nil, "InvalidParameterValue"},
		"FIFO":               {"a.fifo", m{"FifoQueue": "true"}, ""},
		"longest FIFO":       {strings.Repeat("n", 75) + ".fifo", m{"FifoQueue": "true"}, ""},
		"FIFO name too long": {strings.Repeat("n", 76) + ".fifo", m{"FifoQueue": "true"}, "InvalidParameterValue"},
		"suffix, no FIFO":    {"b.fifo", nil, "InvalidParameterValue"},
		"FIFO, no suffix":    {"c", m{"FifoQueue": "true"}, "InvalidParameterValue"},
		"suffix alone":       {".fifo", m{"FifoQueue": "true"}, "InvalidParameterValue"},
		"FifoQueue false":    {"d", m{"FifoQueue": "false"}, "InvalidAttributeName"},
		"FIFO's on standard": {"e", m{"ContentBasedDeduplication": "true"}, "InvalidAttributeName"},
		"unknown":            {"f", m{"Color": "red"}, "InvalidAttributeName"},
		"unknown on FIFO":    {"f.fifo", m{"FifoQueue": "true", "Color": "red"}, "InvalidAttributeName"},
		"read-only":          {"g", m{"QueueArn": "x"}, "InvalidAttributeName"},
		"policy":             {"h", m{"Policy": "{}"}, ""},
		"bad policy":         {"i", m{"Policy": "{"}, "InvalidAttributeValue"},
		"list for a policy":  {"i", m{"Policy": "[]"}, "InvalidAttributeValue"},
		"bad statement":      {"i", m{"Policy": `{"Statement":1}`}, "InvalidAttributeValue"},
		"throughput alone":   {"j.fifo", m{"FifoQueue": "true", "FifoThroughputLimit": "perMessageGroupId"}, "InvalidAttributeValue"},
		"high throughput":    {"k.fifo", m{"FifoQueue": "true", "FifoThroughputLimit": "perMessageGroupId", "DeduplicationScope": "messageGroup"}, ""},
		"bad scope":          {"l.fifo", m{"FifoQueue": "true", "DeduplicationScope": "x"}, "InvalidAttributeValue"},
		"SSE":                {"n", m{"KmsMasterKeyId": "alias/x", "KmsDataKeyReusePeriodSeconds": "86400"}, ""},
		"not a number":       {"o", m{"DelaySeconds": "1s"}, "InvalidAttributeValue"},
	}
	for _, r := range []struct {
		name      string
		low, high int
	}{
		{"DelaySeconds", 0, 900}, {"MaximumMessageSize", 1024, 1 << 20}, {"MessageRetentionPeriod", 60, 1_209_600},
		{"ReceiveMessageWaitTimeSeconds", 0, 20}, {"VisibilityTimeout", 0, 43_200}, {"KmsDataKeyReusePeriodSeconds", 60, 86_400},
	} {
		for n, code := range map[int]string{r.low: "", r.high: "", r.low - 1: "InvalidAttributeValue", r.high + 1: "InvalidAttributeValue"} {
			name := fmt.Sprintf("%s-%d", r.name, n)
			tests[name] = struct {
				name       string
				attributes m
				code       string
			}{strings.ReplaceAll(name, "--", "-minus-"), m{r.name: fmt.Sprint(n)}, code}
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &test.name, Attributes: test.attributes})
			wantCode(t, err, test.code)
		})
	}
}

func TestQueueAttributes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := sqs.NewFromConfig(sqsxtest.New(t).Config())
		created := time.Now()
		url := createQueue(t, client, "q.fifo", "FifoQueue", "true")
		time.Sleep(time.Hour)
		set := func(name, value string) error {
			_, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{name: value}})
			return err
		}
		wantCode(t, set("VisibilityTimeout", "7"), "")
		wantCode(t, set("FifoQueue", "false"), "InvalidAttributeValue")
		wantCode(t, set("FifoQueue", "true"), "")
		wantCode(t, set("DelaySeconds", "901"), "InvalidAttributeValue")
		sendFIFO(t, client, url, "g", "1", "x")

		get := func(names ...types.QueueAttributeName) (map[string]string, error) {
			out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: names})
			if err != nil {
				return nil, err
			}
			return out.Attributes, nil
		}
		all, err := get("All")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"QueueArn":                              arn("q.fifo"),
			"CreatedTimestamp":                      fmt.Sprint(created.Unix()),
			"LastModifiedTimestamp":                 fmt.Sprint(created.Add(time.Hour).Unix()),
			"ApproximateNumberOfMessages":           "1",
			"ApproximateNumberOfMessagesDelayed":    "0",
			"ApproximateNumberOfMessagesNotVisible": "0",
			"DelaySeconds":                          "0",
			"MaximumMessageSize":                    "1048576",
			"MessageRetentionPeriod":                "345600",
			"ReceiveMessageWaitTimeSeconds":         "0",
			"VisibilityTimeout":                     "7",
			"SqsManagedSseEnabled":                  "true",
			"FifoQueue":                             "true",
			"ContentBasedDeduplication":             "false",
			"DeduplicationScope":                    "queue",
			"FifoThroughputLimit":                   "perQueue",
		}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("all attributes (-want +got):\n%s", diff)
		}
		some, err := get("QueueArn", "RedrivePolicy")
		if diff := cmp.Diff(map[string]string{"QueueArn": arn("q.fifo")}, some); diff != "" || err != nil {
			t.Errorf("two attributes, %v (-want +got):\n%s", err, diff)
		}
		if none, err := get(); len(none) != 0 || err != nil {
			t.Errorf("no attributes: got %v, %v", none, err)
		}
		_, err = get("Color")
		wantCode(t, err, "InvalidAttributeName")
	})
}

func TestListQueues(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	var want []string
	for i := range 5 {
		want = append(want, createQueue(t, client, fmt.Sprintf("a%d", i)))
	}
	createQueue(t, client, "b")
	var got []string
	pages := sqs.NewListQueuesPaginator(client, &sqs.ListQueuesInput{QueueNamePrefix: aws.String("a"), MaxResults: aws.Int32(2)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page.QueueUrls...)
	}
	if !slices.Equal(got, want) || n != 3 {
		t.Errorf("got %q in %d pages, want %q in 3", got, n, want)
	}
	for _, bad := range []*sqs.ListQueuesInput{{MaxResults: aws.Int32(0)}, {MaxResults: aws.Int32(1001)}, {NextToken: aws.String("!")}} {
		_, err := client.ListQueues(t.Context(), bad)
		wantCode(t, err, "InvalidParameterValue")
	}
}

func TestDeletePurgeTag(t *testing.T) {
	t.Parallel()
	server := sqsxtest.New(t)
	client := sqs.NewFromConfig(server.Config())
	url := createQueue(t, client, "q")
	for range 3 {
		send(t, client, url, "x")
	}
	m := receive(t, client, &sqs.ReceiveMessageInput{QueueUrl: &url})[0]
	if _, err := client.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &url}); err != nil {
		t.Fatal(err)
	}
	if n := len(server.Stored(url)); n != 0 {
		t.Errorf("got %d messages after a purge", n)
	}
	remove(t, client, url, m) // no error

	tags := func() map[string]string {
		out, err := client.ListQueueTags(t.Context(), &sqs.ListQueueTagsInput{QueueUrl: &url})
		if err != nil {
			t.Fatal(err)
		}
		return out.Tags
	}
	if _, err := client.TagQueue(t.Context(), &sqs.TagQueueInput{QueueUrl: &url, Tags: map[string]string{"a": "1", "b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.UntagQueue(t.Context(), &sqs.UntagQueueInput{QueueUrl: &url, TagKeys: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"b": "2"}, tags()); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if _, err := client.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
		t.Fatal(err)
	}
	_, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("q")})
	wantCode(t, err, "AWS.SimpleQueueService.NonExistentQueue")
	if server.Stored(url) != nil {
		t.Error("Stored knows a deleted queue")
	}
	createQueue(t, client, "q") // at once; the service has one wait 60 seconds
}

func TestTagRules(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	many := func(n int) map[string]string {
		tags := make(map[string]string)
		for i := range n {
			tags[fmt.Sprintf("tag%d", i)] = "v"
		}
		return tags
	}
	one := func(key, value string) map[string]string { return map[string]string{key: value} }
	const invalid = "InvalidParameterValue"
	tests := map[string]struct {
		tags map[string]string
		code string
	}{
		"50":                   {many(50), ""},
		"51":                   {many(51), invalid},
		"key of 128":           {one(strings.Repeat("é", 128), "v"), ""},
		"key of 129":           {one(strings.Repeat("k", 129), "v"), invalid},
		"no key":               {one("", "v"), invalid},
		"no value":             {one("k", ""), ""},
		"value of 256":         {one("k", strings.Repeat("é", 256)), ""},
		"value of 257":         {one("k", strings.Repeat("v", 257)), invalid},
		"signs":                {one("_.:/=+-@ é9", "_.:/=+-@ é9"), ""},
		"other sign in key":    {one("a#b", "v"), invalid},
		"other sign in value":  {one("k", "a#b"), invalid},
		"reserved":             {one("aws:x", "v"), invalid},
		"reserved, upper case": {one("AWS:x", "v"), invalid},
		"not reserved":         {one("awsx", "aws:x"), ""},
		"case matters":         {map[string]string{"Tag": "1", "tag": "2"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue := aws.String(strings.NewReplacer(" ", "-", ",", "").Replace(name))
			_, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: queue, Tags: test.tags})
			wantCode(t, err, test.code)

			url := createQueue(t, client, *queue+"-later")
			_, err = client.TagQueue(t.Context(), &sqs.TagQueueInput{QueueUrl: &url, Tags: test.tags})
			wantCode(t, err, test.code)
			out, err := client.ListQueueTags(t.Context(), &sqs.ListQueueTagsInput{QueueUrl: &url})
			if err != nil {
				t.Fatal(err)
			}
			want := test.tags
			if test.code != "" {
				want = nil
			}
			if diff := cmp.Diff(want, out.Tags, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("in all", func(t *testing.T) {
		t.Parallel()
		url := createQueue(t, client, "in-all")
		tag := func(tags map[string]string) error {
			_, err := client.TagQueue(t.Context(), &sqs.TagQueueInput{QueueUrl: &url, Tags: tags})
			return err
		}
		wantCode(t, tag(many(50)), "")
		wantCode(t, tag(one("tag0", "again")), "") // replaces one
		wantCode(t, tag(one("another", "v")), invalid)
		wantCode(t, tag(map[string]string{}), "MissingParameter")
		untag := func(keys ...string) error {
			_, err := client.UntagQueue(t.Context(), &sqs.UntagQueueInput{QueueUrl: &url, TagKeys: keys})
			return err
		}
		wantCode(t, untag("tag0", "absent"), "")
		wantCode(t, untag([]string{}...), invalid)
		wantCode(t, tag(one("another", "v")), "")
	})
	t.Run("creating again", func(t *testing.T) {
		t.Parallel()
		create := func(tags map[string]string) error {
			_, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("creating-again"), Tags: tags})
			return err
		}
		wantCode(t, create(one("k", "v")), "")
		wantCode(t, create(one("k", "v")), "")
		wantCode(t, create(nil), "")
		wantCode(t, create(one("k", "other")), "QueueAlreadyExists")
		wantCode(t, create(map[string]string{"k": "v", "l": "w"}), "QueueAlreadyExists")
	})
}

func TestServerSideEncryptionAttributes(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	type m = map[string]string
	url := createQueue(t, client, "q")
	get := func() m {
		out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{
			"KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Attributes
	}
	managed := m{"SqsManagedSseEnabled": "true"}
	key := func(period string) m {
		return m{"KmsMasterKeyId": "alias/x", "KmsDataKeyReusePeriodSeconds": period, "SqsManagedSseEnabled": "false"}
	}
	for _, step := range []struct {
		what      string
		set, want m
		code      string
	}{
		{"at first", nil, managed, ""},
		{"a period alone", m{"KmsDataKeyReusePeriodSeconds": "60"}, managed, ""},
		{"both", m{"KmsMasterKeyId": "alias/x", "SqsManagedSseEnabled": "true"}, managed, "InvalidAttributeName"},
		{"both, capitalised", m{"KmsMasterKeyId": "alias/x", "SqsManagedSseEnabled": "True"}, managed, "InvalidAttributeName"},
		{"a key", m{"KmsMasterKeyId": "alias/x"}, key("300"), ""},
		{"another period", m{"KmsDataKeyReusePeriodSeconds": "6000"}, key("6000"), ""},
		{"no key, a period", m{"KmsMasterKeyId": "", "KmsDataKeyReusePeriodSeconds": "300"}, m{"SqsManagedSseEnabled": "false"}, ""},
		{"a key and a period", m{"KmsMasterKeyId": "alias/x", "KmsDataKeyReusePeriodSeconds": "6000", "SqsManagedSseEnabled": "false"}, key("6000"), ""},
		{"SSE-SQS", m{"SqsManagedSseEnabled": "true"}, managed, ""},
	} {
		if step.set != nil {
			_, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: step.set})
			t.Log(step.what)
			wantCode(t, err, step.code)
		}
		if diff := cmp.Diff(step.want, get()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.what, diff)
		}
	}
	_, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("both"), Attributes: m{"KmsMasterKeyId": "alias/x", "SqsManagedSseEnabled": "true"}})
	wantCode(t, err, "InvalidAttributeName")
}

// The service takes "True" for "true", and returns "true".
func TestBooleansInOtherCase(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(sqsxtest.New(t).Config())
	attributes := []string{"FifoQueue", "True", "ContentBasedDeduplication", "True", "SqsManagedSseEnabled", "False"}
	url := createQueue(t, client, "q.fifo", attributes...)
	createQueue(t, client, "q.fifo", attributes...)                                        // again
	createQueue(t, client, "q.fifo", "FifoQueue", "true", "SqsManagedSseEnabled", "false") // the same
	_, err := client.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{"FifoQueue": "True"}})
	wantCode(t, err, "")
	sendFIFO(t, client, url, "g", "", "by content")
	out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{
		"FifoQueue", "ContentBasedDeduplication", "SqsManagedSseEnabled"}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true", "SqsManagedSseEnabled": "false"}
	if diff := cmp.Diff(want, out.Attributes); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}
