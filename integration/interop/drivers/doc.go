// Package drivers installs and runs the official AWS Encryption SDKs, so that
// tests can seal with one implementation and open with another.
//
// Each SDK has a driver, a small program in its own language in a folder beside
// this file. A driver lives as long as its tests and speaks JSON, one line a
// request on standard input and one line an answer on standard output:
//
//	{"op":"encrypt","keyring":K,"suite":"0478","frame":4096,"context":{"a":"b"},"plaintext":"base64"}
//	{"ok":true,"message":"base64"}
//	{"op":"decrypt","keyring":K,"message":"base64"}
//	{"ok":true,"plaintext":"base64","context":{"a":"b"}}
//	{"ok":false,"class":"SerializationError","error":"text of the SDK"}
//
// The suite is "0478" or "0578", and without a frame the SDK uses its default
// frame length. The drivers for Python also take "unframed":true and the suite
// "0178" of format version 1, for test vectors. A keyring is one of
//
//	{"type":"raw-aes","namespace":"ns","name":"n","key":"base64"}
//	{"type":"kms","key":"ARN, alias or key ID","endpoint":"http://...","region":"us-east-1"}
//	{"type":"branch-key","branchKey":"id","store":S,"instance":"any text"}
//	{"type":"multi","generator":K,"children":[K]}
//
// A driver makes a keyring once, and keeps it. A keyring of branch keys caches
// them, and goes on with the old version after a rotation: another instance is
// another keyring.
//
// A key store of branch keys is a table of DynamoDB. The drivers that have
// keyrings also make the table (JavaScript does not), branch keys and new
// versions of them:
//
//	S: {"table":"t","logicalName":"n","key":"key ARN","endpoint":"http://...","region":"us-east-1"}
//	{"op":"create-key-store","store":S}
//	{"ok":true}
//	{"op":"create-branch-key","store":S,"branchKey":"id, or empty","context":{"a":"b"}}
//	{"ok":true,"branchKey":"id"}
//	{"op":"rotate-branch-key","store":S,"branchKey":"id"}
//	{"ok":true}
//
// Every SDK is installed by its own package manager from pinned manifests into
// a cache folder: $SEALQTEST_CACHE, or sealq-integration in the user's cache
// folder. A stamp of the manifests and sources makes a second run start at
// once, and deleting the folder costs time only. Linux and macOS only.
package drivers
