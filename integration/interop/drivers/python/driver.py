"""Opens and seals messages with the official AWS Encryption SDK for Python.

One JSON request a line on standard input, one JSON answer a line on standard
output; see ../doc.go. The first argument chooses the interface: "mpl" for
keyrings, "legacy" for master key providers.
"""

import base64
import functools
import json
import os
import sys

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider

SUITES = {
    "0178": Algorithm.AES_256_GCM_IV12_TAG16_HKDF_SHA256,  # format version 1
    "0478": Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    "0578": Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
}


@functools.cache
def material_providers():
    from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
    from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig

    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())


@functools.cache
def key_store(spec):
    import boto3
    from aws_cryptographic_material_providers.keystore import KeyStore
    from aws_cryptographic_material_providers.keystore.config import KeyStoreConfig
    from aws_cryptographic_material_providers.keystore.models import KMSConfigurationKmsKeyArn

    spec = json.loads(spec)
    place = {"region_name": spec["region"], "endpoint_url": spec["endpoint"]}
    return KeyStore(
        KeyStoreConfig(
            ddb_client=boto3.client("dynamodb", **place),
            ddb_table_name=spec["table"],
            logical_key_store_name=spec["logicalName"],
            kms_client=boto3.client("kms", **place),
            kms_configuration=KMSConfigurationKmsKeyArn(spec["key"]),
        )
    )


def keyring(spec):
    import boto3
    from aws_cryptographic_material_providers.mpl import models

    mpl = material_providers()
    kind = spec["type"]
    if kind == "raw-aes":
        return mpl.create_raw_aes_keyring(
            models.CreateRawAesKeyringInput(
                key_namespace=spec["namespace"],
                key_name=spec["name"],
                wrapping_key=base64.b64decode(spec["key"]),
                wrapping_alg=models.AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
            )
        )
    if kind in ("kms", "kms-discovery"):
        client = boto3.client("kms", region_name=spec["region"], endpoint_url=spec["endpoint"])
        if kind == "kms-discovery":
            return mpl.create_aws_kms_discovery_keyring(
                models.CreateAwsKmsDiscoveryKeyringInput(kms_client=client)
            )
        return mpl.create_aws_kms_keyring(
            models.CreateAwsKmsKeyringInput(kms_key_id=spec["key"], kms_client=client)
        )
    if kind == "branch-key":
        return mpl.create_aws_kms_hierarchical_keyring(
            models.CreateAwsKmsHierarchicalKeyringInput(
                key_store=key_store(name(spec["store"])),
                branch_key_id=spec["branchKey"],
                ttl_seconds=600,
            )
        )
    if kind == "multi":
        return mpl.create_multi_keyring(
            models.CreateMultiKeyringInput(
                generator=keyring(spec["generator"]),
                child_keyrings=[keyring(c) for c in spec["children"]],
            )
        )
    raise ValueError(f"unknown keyring type {kind!r}")


class RawKey(RawMasterKeyProvider):
    """The one raw key of a request."""

    provider_id = None

    def __new__(cls, spec):
        # The base class reads provider_id before __init__ runs.
        named = type("RawKey", (cls,), {"provider_id": spec["namespace"]})
        self = super().__new__(named)
        self.wrapping = WrappingKey(
            wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
            wrapping_key=base64.b64decode(spec["key"]),
            wrapping_key_type=EncryptionKeyType.SYMMETRIC,
        )
        return self

    def __init__(self, spec):
        super().__init__()
        self.add_master_key(spec["name"])

    def _get_raw_key(self, key_id):
        return self.wrapping


def master_key_provider(spec):
    import botocore.session

    kind = spec["type"]
    if kind == "raw-aes":
        return RawKey(spec)
    if kind == "kms":
        # The provider makes its own clients; this is the only way to their endpoint.
        os.environ["AWS_ENDPOINT_URL_KMS"] = spec["endpoint"]
        session = botocore.session.Session()
        session.set_config_variable("region", spec["region"])
        return aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(
            key_ids=[spec["key"]], botocore_session=session
        )
    if kind == "multi":
        first = master_key_provider(spec["generator"])
        for child in spec["children"]:
            first.add_master_key_provider(master_key_provider(child))
        return first
    raise ValueError(f"unknown keyring type {kind!r}")


def name(spec):
    return json.dumps(spec, sort_keys=True)


@functools.cache
def materials(interface, spec):
    if interface == "mpl":
        return {"keyring": keyring(json.loads(spec))}
    return {"key_provider": master_key_provider(json.loads(spec))}


def administer(request):
    from aws_cryptographic_material_providers.keystore import models

    store = key_store(name(request["store"]))
    if request["op"] == "create-key-store":
        store.create_key_store(models.CreateKeyStoreInput())
        return {"ok": True}
    if request["op"] == "create-branch-key":
        made = store.create_key(
            models.CreateKeyInput(
                branch_key_identifier=request["branchKey"] or None,
                encryption_context=request["context"] or None,
            )
        )
        return {"ok": True, "branchKey": made.branch_key_identifier}
    if request["op"] == "rotate-branch-key":
        store.version_key(models.VersionKeyInput(branch_key_identifier=request["branchKey"]))
        return {"ok": True}
    raise ValueError(f"unknown operation {request['op']!r}")


def answer(client, interface, request):
    if "store" in request:
        return administer(request)
    source = materials(interface, name(request["keyring"]))
    if request["op"] == "encrypt":
        options = {}
        if request.get("frame"):
            options["frame_length"] = request["frame"]
        if request.get("unframed"):
            options["frame_length"] = 0
        algorithm = SUITES[request["suite"]]
        if not algorithm.is_committing():
            client = aws_encryption_sdk.EncryptionSDKClient(
                commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
            )
        message, _ = client.encrypt(
            source=base64.b64decode(request["plaintext"]),
            algorithm=algorithm,
            encryption_context=request["context"],
            **options,
            **source,
        )
        return {"ok": True, "message": base64.b64encode(message).decode()}
    if request["op"] == "decrypt":
        plaintext, header = client.decrypt(source=base64.b64decode(request["message"]), **source)
        return {
            "ok": True,
            "plaintext": base64.b64encode(plaintext).decode(),
            "context": dict(header.encryption_context),
        }
    raise ValueError(f"unknown operation {request['op']!r}")


def main():
    interface = sys.argv[1]
    client = aws_encryption_sdk.EncryptionSDKClient()
    for line in sys.stdin.buffer:
        try:
            result = answer(client, interface, json.loads(line))
        except Exception as e:  # every refusal of the SDK is an answer
            result = {"ok": False, "class": type(e).__name__, "error": str(e)}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
