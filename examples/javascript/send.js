// Sends a sealed message: node send.js QUEUE_URL KEY_ARN TEXT

import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { configured } from './branchkey.js'
import { queueArn, Sealer } from './sealed.js'

const [QueueUrl, keyArn, text] = process.argv.slice(2)
const sqs = new SQSClient()
const sealer = new Sealer(await queueArn(sqs, QueueUrl), keyArn, configured(keyArn))
await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: await sealer.seal(text) }))
