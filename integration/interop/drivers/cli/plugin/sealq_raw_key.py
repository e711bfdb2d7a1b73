"""Raw AES keys for the command line tool, which has none of its own.

The tool finds it through the entry point in the .dist-info directory beside
it, so that the directory only needs to be on PYTHONPATH.
"""

import base64

from aws_encryption_sdk.identifiers import EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider


def provider(namespace, secret, key_ids, **unused):
    wrapping = WrappingKey(
        wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
        wrapping_key=base64.urlsafe_b64decode(secret[0]),
        wrapping_key_type=EncryptionKeyType.SYMMETRIC,
    )

    class RawKey(RawMasterKeyProvider):
        provider_id = namespace[0]

        def _get_raw_key(self, key_id):
            return wrapping

    return RawKey()
