// Prints a batch of messages, texts and attributes: node receive.js QUEUE_URL KEY_ARN

import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { configured } from './branchkey.js'
import { NotOpened, queueArn, Sealer } from './sealed.js'

const [QueueUrl, keyArn] = process.argv.slice(2)
const sqs = new SQSClient()
const sealer = new Sealer(await queueArn(sqs, QueueUrl), keyArn, configured(keyArn))
const received = await sqs.send(
  new ReceiveMessageCommand({
    QueueUrl,
    MaxNumberOfMessages: 10,
    WaitTimeSeconds: 5,
    MessageAttributeNames: ['All'], // without "sealq" there is no header, and nothing opens
    MessageSystemAttributeNames: ['DeadLetterQueueSourceArn'],
  })
)
for (const message of received.Messages ?? []) {
  let text, attributes
  try {
    ;({ text, attributes } = await sealer.open(message))
  } catch (e) {
    if (!(e instanceof NotOpened)) throw e
    // Not deleted: the queue's redrive policy decides what becomes of it.
    console.error(`message ${message.MessageId}: ${e.message}`)
    process.exitCode = 1
    continue
  }
  console.log(text)
  for (const [name, a] of Object.entries(attributes).sort()) {
    console.log(`  ${name}: ${a.StringValue ?? Buffer.from(a.BinaryValue).toString('hex')}`)
  }
  await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: message.ReceiptHandle }))
}
