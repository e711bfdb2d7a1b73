// Package snsx seals what an SNS client of aws-sdk-go-v2 publishes, so that the
// queues behind a topic get sealed messages:
//
//	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
//	...
//	publisher := sns.NewFromConfig(cfg, snsx.Install(sealer))
//
// publisher is a plain *sns.Client. Publish and PublishBatch take plaintext;
// SNS, everybody on the way and everyone who may subscribe see ciphertext. All
// other operations are as before. [Wrap] does the same to a client that
// somebody else made, [InstallConfig] to every SNS client of a config.
//
// The subscription of a queue must have RawMessageDelivery. Its consumer is an
// ordinary *sqs.Client with a sqsx.Sealer, whose policy for the queue lists the
// topic:
//
//	o.Queues = map[string]sqsx.Policy{
//		"orders": {AcceptTopics: []string{"arn:aws:sns:eu-central-1:111122223333:orders"}},
//	}
//
// # Guarantees
//
//   - A message is sealed or the call fails. Nothing is published in plaintext
//     because something went wrong, nor because an option or another middleware
//     took the sealer out of the call, or changed what it sealed: those calls
//     fail with sqsx.ErrBypassed before a request is made.
//   - The caller's structs, slices and maps are never written.
//   - A message is bound to its topic: it opens at the queues whose policy
//     accepts that topic, and at no others.
//   - A topic whose policy is not written as an ARN ("arn:aws:sns:...") in
//     Options.Queues has the zero one, whatever the policies of queues are: the
//     body is sealed, and attributes are in clear. If a queue of the topic's
//     name would have sealed attributes, publishing fails with a
//     sqsx.ConfigError.
//
// # What is refused
//
// Text messages (PhoneNumber) and push notifications (a TargetArn of an
// endpoint) are no topics and have no consumer that could open them; a
// MessageStructure of "json" is taken apart by SNS. Such calls fail, with the
// code InvalidParameter: use a client without the Sealer for them.
//
// # What it does not do
//
// The Subject, the message attributes (unless Policy.SealAttributes seals
// them), and group and deduplication IDs stay visible. A filter policy on
// message attributes works; one on the body (FilterPolicyScope MessageBody)
// matches no sealed message, and SNS then delivers nothing and reports nothing.
// What one subscriber of a topic gets opens at every queue that accepts the
// topic.
//
// docs/sns.md has permissions, filters, FIFO topics and dead-letter queues.
package snsx
