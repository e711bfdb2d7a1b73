// Opens and seals messages with the official AWS Encryption SDK for JavaScript.
// One JSON request a line on standard input, one JSON answer a line on standard
// output; see ../doc.go.

import { createInterface } from 'node:readline'
import {
  AlgorithmSuiteIdentifier,
  BranchKeyStoreNode,
  buildClient,
  CommitmentPolicy,
  getClient,
  KMS,
  KmsHierarchicalKeyRingNode,
  KmsKeyringNode,
  MultiKeyringNode,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} from '@aws-crypto/client-node'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'

const suites = {
  '0478': AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
  '0578': AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
}
const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

const keyStores = new Map()
function keyStoreFor(spec) {
  const name = JSON.stringify(spec)
  if (!keyStores.has(name)) {
    const place = { endpoint: spec.endpoint, region: spec.region }
    keyStores.set(
      name,
      new BranchKeyStoreNode({
        logicalKeyStoreName: spec.logicalName,
        storage: { ddbTableName: spec.table, ddbClient: new DynamoDBClient(place) },
        keyManagement: { kmsClient: getClient(KMS, place)(spec.region) },
        kmsConfiguration: { identifier: spec.key },
      })
    )
  }
  return keyStores.get(name)
}

function makeKeyring(spec) {
  switch (spec.type) {
    case 'raw-aes':
      return new RawAesKeyringNode({
        keyNamespace: spec.namespace,
        keyName: spec.name,
        // A copy: small Buffers share one pool, which the keyring refuses.
        unencryptedMasterKey: new Uint8Array(Buffer.from(spec.key, 'base64')),
        wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
        // Without it this keyring sorts the context by locale, and cannot open
        // what others sealed under ordinary ASCII names.
        utf8Sorting: spec.localeSorting !== true,
      })
    case 'kms-discovery': {
      const clientProvider = getClient(KMS, { endpoint: spec.endpoint, region: spec.region })
      return new KmsKeyringNode({ discovery: true, clientProvider })
    }
    case 'kms': {
      // The keyring asks for a client by the Region of the key's ARN, and by
      // undefined for an alias or a bare key ID.
      const clientProvider = getClient(KMS, { endpoint: spec.endpoint, region: spec.region })
      return new KmsKeyringNode({
        generatorKeyId: spec.key,
        clientProvider: (region) => clientProvider(region || spec.region),
      })
    }
    case 'branch-key':
      return new KmsHierarchicalKeyRingNode({
        branchKeyId: spec.branchKey,
        keyStore: keyStoreFor(spec.store),
        cacheLimitTtl: 600,
        utf8Sorting: spec.localeSorting !== true, // as with raw AES
      })
    case 'multi':
      return new MultiKeyringNode({
        generator: makeKeyring(spec.generator),
        children: spec.children.map(makeKeyring),
      })
    default:
      throw new Error(`unknown keyring type ${spec.type}`)
  }
}

const keyrings = new Map()
function keyringFor(spec) {
  const name = JSON.stringify(spec)
  if (!keyrings.has(name)) keyrings.set(name, makeKeyring(spec))
  return keyrings.get(name)
}

async function administer(request) {
  const store = keyStoreFor(request.store)
  switch (request.op) {
    case 'create-key-store':
      await store.createKeyStore() // 5.0.2 has no such method: a TypeError
      return { ok: true }
    case 'create-branch-key': {
      const { branchKeyIdentifier } = await store.createKey({
        branchKeyIdentifier: request.branchKey || undefined,
        encryptionContext: request.context,
      })
      return { ok: true, branchKey: branchKeyIdentifier }
    }
    case 'rotate-branch-key':
      await store.versionKey({ branchKeyIdentifier: request.branchKey })
      return { ok: true }
    default:
      throw new Error(`unknown operation ${request.op}`)
  }
}

async function answer(request) {
  if (request.store) return administer(request)
  const keyring = keyringFor(request.keyring)
  switch (request.op) {
    case 'encrypt': {
      const { result } = await encrypt(keyring, Buffer.from(request.plaintext, 'base64'), {
        suiteId: suites[request.suite],
        encryptionContext: request.context,
        ...(request.frame ? { frameLength: request.frame } : {}),
      })
      return { ok: true, message: result.toString('base64') }
    }
    case 'decrypt': {
      const { plaintext, messageHeader } = await decrypt(keyring, Buffer.from(request.message, 'base64'))
      return { ok: true, plaintext: plaintext.toString('base64'), context: { ...messageHeader.encryptionContext } }
    }
    default:
      throw new Error(`unknown operation ${request.op}`)
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let result
  try {
    result = await answer(JSON.parse(line))
  } catch (e) {
    result = { ok: false, class: e.name, error: e.message }
  }
  process.stdout.write(JSON.stringify(result) + '\n')
}
