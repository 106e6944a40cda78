"""Secrets of webhooks: made, kept encrypted, and what is signed with them.

Requests are signed as Standard Webhooks 1.0 says (github.com/standard-webhooks/standard-webhooks,
spec/standard-webhooks.md), so receivers can use its libraries.
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - the same for all
_NONCE_BYTES = 12


class WebhookSecrets:
    """Keeps the secrets of webhooks; who reads the database alone learns none.

    Args:
        key: 32 bytes of the keys file, the same in every process.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)

    def make(self, webhook_id: UUID) -> tuple[str, bytes]:
        """A new secret: as its owner is shown it, and as it is stored for this webhook alone."""
        secret, nonce = secrets.token_bytes(SECRET_BYTES), secrets.token_bytes(_NONCE_BYTES)
        shown = f"{SECRET_PREFIX}{base64.b64encode(secret).decode()}"
        return shown, nonce + self._cipher.encrypt(nonce, secret, webhook_id.bytes)

    def open(self, ciphertexts: Iterable[bytes], webhook_id: UUID) -> list[bytes]:
        """The bytes of stored secrets, without those that were stored under another key or for another webhook."""
        opened = []
        for ciphertext in ciphertexts:
            with suppress(InvalidTag):
                nonce, sealed = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
                opened.append(self._cipher.decrypt(nonce, sealed, webhook_id.bytes))
        return opened


def signed_headers(delivery_id: UUID, time: datetime, body: bytes, live_secrets: Iterable[bytes]) -> dict[str, str]:
    """The headers that prove to the receiver who sent the body, and when: a signature for each secret."""
    timestamp = str(int(time.timestamp()))
    message = f"{delivery_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, message, sha256)).decode() for secret in live_secrets)
    return {
        "webhook-id": str(delivery_id),
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
