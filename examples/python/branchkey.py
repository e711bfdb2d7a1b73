"""Keyrings of branch keys, which a Sealer can use in place of a KMS key.

A branch key is in a table of DynamoDB, encrypted under a KMS key. The program
keeps it for a while and wraps the messages' data keys with it, so that neither
KMS nor DynamoDB is called for each message.
"""

import os

import boto3
from aws_cryptographic_material_providers.keystore import KeyStore
from aws_cryptographic_material_providers.keystore.config import KeyStoreConfig
from aws_cryptographic_material_providers.keystore.models import KMSConfigurationKmsKeyArn
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import CreateAwsKmsHierarchicalKeyringInput

# Seconds that a branch key is kept. An outage of KMS or DynamoDB that is longer
# stops the program: unlike sealq, the SDK does not use the key beyond that.
KEPT = 300


def keyring(table, logical_name, branch_key_id, key_arn):
    """A keyring of one branch key. Make one, and use it for all queues.

    logical_name is the same for all programs that share the key store: KMS
    binds the branch keys to it. key_arn is the KMS key that protects them.
    """
    store = KeyStore(
        KeyStoreConfig(
            ddb_client=boto3.client("dynamodb"),
            ddb_table_name=table,
            logical_key_store_name=logical_name,
            kms_client=boto3.client("kms", region_name=key_arn.split(":")[3]),
            kms_configuration=KMSConfigurationKmsKeyArn(key_arn),
        )
    )
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    return providers.create_aws_kms_hierarchical_keyring(
        CreateAwsKmsHierarchicalKeyringInput(
            key_store=store, branch_key_id=branch_key_id, ttl_seconds=KEPT
        )
    )


def configured(key_arn):
    """The keyring that the environment names, as for sealq; None if it names none."""
    table = os.environ.get("SEALQ_KEY_STORE_TABLE")
    if table is None:
        return None
    return keyring(
        table, os.environ["SEALQ_KEY_STORE_NAME"], os.environ["SEALQ_BRANCH_KEY_ID"], key_arn
    )
