// Package branchkey wraps data keys with branch keys, which AWS KMS protects
// and Amazon DynamoDB stores: the AWS KMS hierarchical keyring of the AWS
// Encryption SDKs.
package branchkey
