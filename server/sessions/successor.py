"""Refresh tokens, and how a used one still leads to the token that replaced it.

The successor is kept encrypted under a key derived from the token that was presented: who reads the
database learns neither, who presents the same token again gets the same successor.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_TOKEN_BYTES = 32
_NONCE_BYTES = 12


def new_refresh_token() -> str:
    """256 random bits, safe in a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def seal(successor: str, presented: str) -> bytes:
    """Encrypt the successor for whoever presents the token it replaces."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + _cipher(presented).encrypt(nonce, successor.encode(), None)


def unseal(ciphertext: bytes, presented: str) -> str | None:
    """The successor; None if this was not sealed for the presented token."""
    try:
        return _cipher(presented).decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], None).decode()
    except (InvalidTag, ValueError):
        return None


def _cipher(presented: str) -> ChaCha20Poly1305:
    derived = HKDF(SHA256(), length=32, salt=None, info=b"refresh token successor").derive(presented.encode())
    return ChaCha20Poly1305(derived)
