// Messages of sealq in JavaScript: seal before the SQS client sends, open after
// it receives. A sealed message is an AWS Encryption SDK message, so the official
// SDK does the work. What is sealq's own is where the parts travel, and that a
// message names the queue that it was sealed for.

import {
  AlgorithmSuiteIdentifier,
  buildClient,
  CommitmentPolicy,
  KmsKeyringNode,
} from '@aws-crypto/client-node'
import { contentName, contentVersion, decode, delivered } from './content.js'

export const attributeName = 'sealq'
const queueName = 'sealq:queue'

const { encrypt, decrypt } = buildClient({
  commitmentPolicy: CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
  maxEncryptedDataKeys: 16, // that a Go reader tries; each may be a KMS call
})

// NotOpened: the message could not be opened, or must not be acted on here.
export class NotOpened extends Error {}

// queueArn is the ARN of a queue, from its URL and the client's Region, as in Go.
export async function queueArn(sqs, queueUrl, partition = 'aws') {
  const [account, name] = new URL(queueUrl).pathname.split('/').filter(Boolean).slice(-2)
  return `arn:${partition}:sqs:${await sqs.config.region()}:${account}:${name}`
}

// Sealer seals and opens messages of one queue under one KMS key, or with keyring.
// keyArn must be an ARN: with an alias the SDK can seal, but not open.
export class Sealer {
  constructor(queueArn, keyArn, keyring = new KmsKeyringNode({ generatorKeyId: keyArn })) {
    this.queueArn = queueArn
    this.keyring = keyring
  }

  // seal returns the MessageBody to send. It needs no message attribute.
  async seal(text) {
    const { result } = await encrypt(this.keyring, Buffer.from(text), {
      encryptionContext: { [queueName]: this.queueArn },
      // The default adds a signature, whose key travels in the message itself:
      // it costs time and tells a reader nothing about the sender.
      suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    })
    return result.toString('base64')
  }

  // open returns the text and the attributes of a message as ReceiveMessage
  // returned it.
  async open(received) {
    const message = joined(received)
    let opened
    try {
      opened = await decrypt(this.keyring, message)
    } catch (e) {
      throw new NotOpened(`not opened: ${e.message}`, { cause: e })
    }
    const context = opened.messageHeader.encryptionContext
    if (Object.keys(context).some((k) => k.startsWith('sealq:') && ![queueName, contentName].includes(k))) {
      throw new NotOpened('uses a feature of a later release of sealq')
    }
    // The SDK proves that the context is genuine. That it is the right one is
    // ours to check: else a message copied from another queue passes.
    if (![this.queueArn, this.#redrivenFrom(received)].includes(context[queueName])) {
      throw new NotOpened(`sealed for ${context[queueName]}, received from ${this.queueArn}`)
    }
    const { [attributeName]: _, ...wire } = received.MessageAttributes ?? {}
    if (!(contentName in context)) return { text: opened.plaintext.toString(), attributes: wire }
    if (context[contentName] !== contentVersion) {
      throw new NotOpened('uses sealed content of a later release of sealq')
    }
    let content
    try {
      content = decode(opened.plaintext)
    } catch (e) {
      throw new NotOpened(`not opened: sealed content: ${e.message}`, { cause: e })
    }
    return { text: content.body, attributes: delivered(content, wire) }
  }

  // The queue whose dead-letter queue this is, if it is a neighbour.
  #redrivenFrom(received) {
    const place = (arn) => arn.split(':').slice(0, 5).join(':')
    const source = received.Attributes?.DeadLetterQueueSourceArn ?? ''
    return place(source) === place(this.queueArn) ? source : this.queueArn
  }
}

// joined returns the encryption SDK message that an SQS message carries.
function joined(received) {
  const attribute = received.MessageAttributes?.[attributeName]
  if (!attribute && !/^Ag[RV]4/.test(received.Body)) throw new NotOpened('not sealed')
  const rest = Buffer.from(received.Body, 'base64')
  // Buffer skips what is not base64; one message has one spelling.
  if (rest.toString('base64') !== received.Body) throw new NotOpened('the body is not base64')
  if (!attribute) return rest // the whole message is in the body
  // Nor another type, such as Binary.x.
  if (attribute.DataType !== 'Binary') throw new NotOpened(`the attribute has type '${attribute.DataType}', want 'Binary'`)
  const header = Buffer.from(attribute.BinaryValue ?? [])
  if (/^Ag[RV]4/.test(header.subarray(0, 4).toString('latin1'))) {
    // A copier passed on binaryValue as Lambda gives it.
    throw new NotOpened('the header was base64-encoded once more: let the copier decode it')
  }
  if (!header.length) throw new NotOpened('the attribute holds no header')
  return Buffer.concat([header, rest])
}
