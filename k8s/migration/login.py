"""Lets the service sign in as bank_app with its password; run after each migration, and after the password changed.

The database is told a verifier made from the password, never the password, which its log might repeat.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path

import asyncpg

ITERATIONS = 4096
"""As PostgreSQL's own verifiers have them: the password is random, so more would only slow down sign-ins."""


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL keeps of a password (RFC 5803); the password must be ASCII, which needs no normalisation."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    parts = (hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))
    stored_key, server_key, salt_text = (base64.b64encode(part).decode() for part in (*parts, salt))
    return f"SCRAM-SHA-256${ITERATIONS}:{salt_text}${stored_key}:{server_key}"


async def set_password(owner_url: str, password: str) -> None:
    """Make bank_app a login with this password; who is signed in stays so."""
    connection = await asyncpg.connect(owner_url, timeout=10)
    try:
        # A verifier is base64 and separators, so it can stand between quotes.
        await connection.execute(
            f"ALTER ROLE bank_app LOGIN PASSWORD '{scram_verifier(password, secrets.token_bytes(16))}'"
        )
    finally:
        await connection.close(timeout=5)


def main() -> int:
    folder = Path(os.environ.get("SECRETS_DIR", "/run/secrets/transactions"))
    try:
        owner_url, password = (
            (folder / name).read_text().strip() for name in ("migration_database_url", "service_password")
        )
    except OSError as error:
        print(f"{error.filename} cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    if len(password) < 32 or not password.isascii() or not password.isalnum():
        print("service_password must be at least 32 letters and digits, like `openssl rand -hex 32`", file=sys.stderr)
        return 2
    asyncio.run(set_password(owner_url, password))
    return 0


if __name__ == "__main__":
    sys.exit(main())
