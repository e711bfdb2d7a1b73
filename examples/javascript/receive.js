// Prints the texts of a batch of messages: node receive.js QUEUE_URL KEY_ARN

import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { attributeName, NotOpened, queueArn, Sealer } from './sealed.js'

const [QueueUrl, keyArn] = process.argv.slice(2)
const sqs = new SQSClient()
const sealer = new Sealer(await queueArn(sqs, QueueUrl), keyArn)
const received = await sqs.send(
  new ReceiveMessageCommand({
    QueueUrl,
    MaxNumberOfMessages: 10,
    WaitTimeSeconds: 5,
    MessageAttributeNames: [attributeName], // without it there is no header, and nothing opens
    MessageSystemAttributeNames: ['DeadLetterQueueSourceArn'],
  })
)
for (const message of received.Messages ?? []) {
  let text
  try {
    text = await sealer.open(message)
  } catch (e) {
    if (!(e instanceof NotOpened)) throw e
    // Not deleted: the queue's redrive policy decides what becomes of it.
    console.error(`message ${message.MessageId}: ${e.message}`)
    process.exitCode = 1
    continue
  }
  console.log(text)
  await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: message.ReceiptHandle }))
}
