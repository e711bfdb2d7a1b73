// Keyrings of branch keys, which a Sealer can use in place of a KMS key. A branch
// key is in a table of DynamoDB, encrypted under a KMS key. The program keeps it
// for a while and wraps the messages' data keys with it, so that neither KMS nor
// DynamoDB is called for each message.

import { BranchKeyStoreNode, KmsHierarchicalKeyRingNode } from '@aws-crypto/client-node'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'

// Seconds that a branch key is kept. An outage of KMS or DynamoDB that is longer
// stops the program: unlike sealq, the SDK does not use the key beyond that.
const kept = 300

// branchKeyring is a keyring of one branch key. Make one, and use it for all
// queues. logicalName is the same for all programs that share the key store: KMS
// binds the branch keys to it. keyArn is the KMS key that protects them.
export function branchKeyring(table, logicalName, branchKeyId, keyArn) {
  const keyStore = new BranchKeyStoreNode({
    storage: { ddbTableName: table, ddbClient: new DynamoDBClient() },
    logicalKeyStoreName: logicalName,
    kmsConfiguration: { identifier: keyArn },
  })
  // Without utf8Sorting it cannot open what others seal under names such as B
  // and a together.
  return new KmsHierarchicalKeyRingNode({ keyStore, branchKeyId, cacheLimitTtl: kept, utf8Sorting: true })
}

// configured is the keyring that the environment names, as for sealq, or
// undefined if it names none.
export function configured(keyArn) {
  const { SEALQ_KEY_STORE_TABLE, SEALQ_KEY_STORE_NAME, SEALQ_BRANCH_KEY_ID } = process.env
  if (!SEALQ_KEY_STORE_TABLE) return undefined
  return branchKeyring(SEALQ_KEY_STORE_TABLE, SEALQ_KEY_STORE_NAME, SEALQ_BRANCH_KEY_ID, keyArn)
}
