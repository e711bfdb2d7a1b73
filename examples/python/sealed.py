"""Messages of sealq in Python: seal before boto3 sends, open after it receives.

A sealed message is an AWS Encryption SDK message, so the official SDK does the
work. What is sealq's own is where the parts travel, and that a message names
the queue that it was sealed for.
"""

import base64
from urllib.parse import urlparse

import aws_encryption_sdk
import boto3
import content
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import CreateAwsKmsKeyringInput
from aws_encryption_sdk.identifiers import Algorithm

ATTRIBUTE = "sealq"
QUEUE = "sealq:queue"
MOST_KEYS = 16  # encrypted data keys that a Go reader tries; each may be a KMS call


class NotOpened(Exception):
    """The message could not be opened, or must not be acted on here."""


def queue_arn(sqs, queue_url):
    """The ARN of a queue, from its URL and the client's Region, as in Go."""
    account, name = urlparse(queue_url).path.rstrip("/").split("/")[-2:]
    return f"arn:{sqs.meta.partition}:sqs:{sqs.meta.region_name}:{account}:{name}"


class Sealer:
    """Seals and opens messages of one queue under one KMS key, or with keyring.

    key_arn must be an ARN: with an alias the SDK can seal, but not open.
    """

    def __init__(self, queue_arn, key_arn, kms=None, keyring=None):
        self.queue_arn = queue_arn
        self.client = aws_encryption_sdk.EncryptionSDKClient(max_encrypted_data_keys=MOST_KEYS)
        self.keyring = keyring or kms_keyring(key_arn, kms)

    def seal(self, text):
        """The MessageBody to send. It needs no message attribute."""
        message, _ = self.client.encrypt(
            source=text.encode(),
            keyring=self.keyring,
            encryption_context={QUEUE: self.queue_arn},
            # The default adds a signature, whose key travels in the message itself:
            # it costs time and tells a reader nothing about the sender.
            algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
        )
        return base64.b64encode(message).decode()

    def open(self, received):
        """The text and the attributes of a message as receive_message returned it."""
        message = joined(received)
        try:
            plaintext, header = self.client.decrypt(source=message, keyring=self.keyring)
        except Exception as e:  # a wrong tag is an InvalidTag, no error of the SDK's own
            raise NotOpened(f"not opened: {type(e).__name__}: {e}") from e
        context = header.encryption_context
        if any(k.startswith("sealq:") and k not in (QUEUE, content.NAME) for k in context):
            raise NotOpened("uses a feature of a later release of sealq")
        # The SDK proves that the context is genuine. That it is the right one
        # is ours to check: else a message copied from another queue passes.
        if context.get(QUEUE) not in (self.queue_arn, self._redriven_from(received)):
            raise NotOpened(f"sealed for {context.get(QUEUE)!r}, received from {self.queue_arn!r}")
        wire = {n: a for n, a in received.get("MessageAttributes", {}).items() if n != ATTRIBUTE}
        if content.NAME not in context:
            return plaintext.decode(), wire
        if context[content.NAME] != content.VERSION:
            raise NotOpened("uses sealed content of a later release of sealq")
        try:
            inside = content.decode(plaintext)
        except ValueError as e:
            raise NotOpened(f"not opened: sealed content: {e}") from e
        return inside.body, inside.attributes(wire)

    def _redriven_from(self, received):
        """The queue whose dead-letter queue this is, if it is a neighbour."""
        source = received.get("Attributes", {}).get("DeadLetterQueueSourceArn", "")
        return source if source.split(":")[:5] == self.queue_arn.split(":")[:5] else self.queue_arn


def kms_keyring(key_arn, kms=None):
    """A keyring that calls KMS for every message."""
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    kms = kms or boto3.client("kms", region_name=key_arn.split(":")[3])
    return providers.create_aws_kms_keyring(
        CreateAwsKmsKeyringInput(kms_key_id=key_arn, kms_client=kms)
    )


def joined(received):
    """The encryption SDK message that an SQS message carries."""
    body = received["Body"]
    attribute = received.get("MessageAttributes", {}).get(ATTRIBUTE)
    if attribute is None and not body.startswith(("AgR4", "AgV4")):
        raise NotOpened("not sealed")
    try:
        rest = base64.b64decode(body, validate=True)
    except ValueError as e:
        raise NotOpened(f"the body is not base64: {e}") from e
    if base64.b64encode(rest).decode() != body:  # one message has one spelling
        raise NotOpened("the body is not base64 as sealq writes it")
    if attribute is None:
        return rest  # the whole message is in the body
    if attribute["DataType"] != "Binary":  # nor another type, such as Binary.x
        raise NotOpened(f"the attribute has type {attribute['DataType']!r}, want 'Binary'")
    header = attribute.get("BinaryValue", b"")
    if header.startswith((b"AgR4", b"AgV4")):  # a copier passed on binaryValue as Lambda gives it
        raise NotOpened("the header was base64-encoded once more: let the copier decode it")
    if not header:
        raise NotOpened("the attribute holds no header")
    return header + rest
