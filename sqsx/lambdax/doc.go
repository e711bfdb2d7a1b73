// Package lambdax opens sealed messages in AWS Lambda functions: it reads the
// event of an SQS queue, opens every message, calls your function for each, and
// returns what Lambda needs to keep the messages that failed.
//
//	sealer, err := sqsx.NewFromEnv(cfg) // once, outside of the handler
//	...
//	work := func(ctx context.Context, m lambdax.Message) error {
//		return store(ctx, m.Info.SealID, *m.Body)
//	}
//	lambda.Start(lambdax.New(sealer, work, func(o *lambdax.Options) {
//		o.ReportsFailures = true // the mapping has ReportBatchItemFailures
//	}))
//
// lambda.Start is in github.com/aws/aws-lambda-go, which this package does not
// import: [Handler] has the method that lambda.Start looks for, and
// lambda.Start(handler.Handle) works too, for wrappers that take functions.
//
// # Guarantees
//
//   - A message is deleted only if your function returned nil for it, as long
//     as [Options.ReportsFailures] is not set for a mapping that ignores
//     reports. What did not open, failed, panicked or was not started in time
//     stays in the queue.
//   - One bad message does not stop the others. On a FIFO queue it stops those
//     that follow it in its message group, and no other group.
//   - If no message of an event succeeded, the invocation fails. A mapping
//     without ReportBatchItemFailures ignores the response and deletes the
//     whole batch unless there is an error: in an outage of AWS KMS it would
//     delete the backlog.
//   - The zero value of [Options] is right for a mapping without
//     ReportBatchItemFailures: any failure fails the invocation.
//   - While AWS KMS does not answer, the function still reports in time:
//     opening ends [Options.Reserve] before the function's deadline.
//   - An event that is not one of SQS is an error, never an empty response.
//
// A message can be delivered more than once, as SQS does; [sqsx.Info] has the
// authenticated SealID, which is the same in every copy.
//
// # Inputs
//
// Besides the event of an event source mapping, a [Handler] reads the array of
// records that EventBridge Pipes passes to its targets, and a single record, as
// a Map state of AWS Step Functions passes it on.
//
// docs/lambda.md has the settings of queue and mapping, the permissions, and
// what is different in Pipes and Step Functions.
package lambdax
