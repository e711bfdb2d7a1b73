// Package snsx seals what an SNS client of aws-sdk-go-v2 publishes, so that the
// queues behind a topic get sealed messages:
//
//	sealer, err := sqsx.NewFromConfig(cfg, "alias/orders")
//	...
//	publisher := sns.NewFromConfig(cfg, snsx.Install(sealer))
//
// publisher is a plain *sns.Client. Publish and PublishBatch take plaintext;
// SNS, everyone on the way and everyone who may subscribe see ciphertext. All
// other operations are as before. [Wrap] does the same to a client that other
// code made, [InstallConfig] to every SNS client of a config.
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
//     because of an error. A call also fails, with sqsx.ErrBypassed and before
//     a request is made, if an option or another middleware removed the sealer
//     from it, or changed what it sealed.
//   - The caller's structs, slices and maps are never written.
//   - A message is bound to its topic: it opens at the queues whose policy
//     accepts that topic, and at no others.
//   - A topic whose policy is not written as an ARN ("arn:aws:sns:...") in
//     Options.Queues has the zero policy, whatever the policies of queues are:
//     the body is sealed, and attributes are in clear. If a queue of the
//     topic's name would have sealed attributes, publishing fails with a
//     sqsx.ConfigError.
//
// # What is refused
//
// Text messages (PhoneNumber) and push notifications (a TargetArn of an
// endpoint) do not go to a topic, and their receivers cannot open them; SNS
// takes a message with the MessageStructure "json" apart. Such calls fail, with
// the code InvalidParameter: use a client without the Sealer for them.
//
// # What it does not do
//
// The Subject, the message attributes (unless Policy.SealAttributes seals
// them), and group and deduplication IDs stay visible. A filter policy on
// message attributes works; one on the body (FilterPolicyScope MessageBody)
// matches no sealed message, and SNS then delivers nothing, without an error. A
// message that one subscriber of a topic gets opens at every queue that accepts
// the topic.
//
// docs/sns.md has permissions, filters, FIFO topics and dead-letter queues.
package snsx
