// A Lambda function that works off sealed messages of an SQS queue.
//
// SEALQ_KEY_ID is the ARN of the KMS key, and the event source mapping has
// ReportBatchItemFailures. To try it without an account:
//
//   cd ../lambda && go run ./try event.json node ../javascript/function.js

import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { Sealer } from './sealed.js'

const reserve = 5_000 // milliseconds for the message that is begun last, and the report
const patience = 4_000 // milliseconds that opening may take: the SDK has no timeout of its own
const sealers = new Map() // by queue; a mapping has one

async function work({ text, attributes }, record) {
  console.log(`order: ${text.length} characters, received ${record.attributes.ApproximateReceiveCount} times`)
}

export async function handler(event, context) {
  const records = Array.isArray(event) ? event : event.Records ?? [] // a pipe passes an array
  if (!records.length || records.some((r) => r.eventSource !== 'aws:sqs' || !r.messageId)) {
    throw new Error('not an event of SQS') // an empty response would mean success
  }
  const batchItemFailures = []
  const failedGroups = new Set()
  for (const record of records) {
    const queue = record.eventSourceARN
    const group = `${queue} ${record.attributes.MessageGroupId}`
    try {
      if (queue.endsWith('.fifo') && failedGroups.has(group)) throw new Error('a message before it in its group failed')
      if (context?.getRemainingTimeInMillis() < reserve) throw new Error('not enough time was left')
      if (!sealers.has(queue)) sealers.set(queue, new Sealer(queue, process.env.SEALQ_KEY_ID))
      await work(await inTime(sealers.get(queue).open(received(record))), record)
    } catch (e) {
      // One bad message must not stop the others.
      console.error(`message ${record.messageId}: ${e.message}`)
      failedGroups.add(group)
      batchItemFailures.push({ itemIdentifier: record.messageId })
    }
  }
  if (batchItemFailures.length === records.length) {
    // A mapping without ReportBatchItemFailures ignores the report and deletes
    // the batch: in an outage of KMS that would be the backlog.
    throw new Error(`none of ${records.length} messages succeeded`)
  }
  return { batchItemFailures }
}

// received is a record of an event as ReceiveMessage returns it.
function received(record) {
  const attributes = {}
  for (const [name, a] of Object.entries(record.messageAttributes)) {
    attributes[name] = { DataType: a.dataType, StringValue: a.stringValue }
    // base64, here and not in ReceiveMessage
    if (a.binaryValue !== undefined) attributes[name].BinaryValue = Buffer.from(a.binaryValue, 'base64')
  }
  return { Body: record.body, Attributes: record.attributes, MessageAttributes: attributes }
}

function inTime(opening) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('KMS did not answer in time')), patience)
  })
  return Promise.race([opening, late]).finally(() => clearTimeout(timer))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  console.log(JSON.stringify(await handler(JSON.parse(readFileSync(process.argv[2], 'utf8')))))
}
