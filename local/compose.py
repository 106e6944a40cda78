"""What compose.yaml does once before anything starts: `python -m local.compose secrets FOLDER`, `createdb FOLDER`.

The passwords, keys and certificates are made inside a volume of their own, so that no file of the host has to be opened
to the user of a container, and `docker compose up` needs nothing else.
"""

import argparse
import asyncio
import datetime
import ipaddress
import os
import secrets
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from local.postgres import APPLICATION_ROLE, DATABASE, OWNER_ROLE, SUPERUSER, prepare_database, prepare_roles
from local.secrets import load_or_make_secrets, load_secrets
from server.keys import write_new as write_new_keys

_POSTGRES = "postgres:5432"
_REDIS = "redis:6379"
_LIFETIME = datetime.timedelta(days=365)


def make_secrets(folder: Path) -> None:
    """Fill one folder for each service, with what it may know; what exists stays."""
    # The group of the containers reads what is made here, nobody else.
    os.umask(0o027)
    folder.mkdir(parents=True, exist_ok=True)
    passwords = load_or_make_secrets(folder)
    files = {
        "server/database_url": f"postgresql://{APPLICATION_ROLE}:{passwords.bank_app}@{_POSTGRES}/{DATABASE}",
        "server/redis_url": f"redis://:{passwords.redis}@{_REDIS}/0",
        "migrations/migration_database_url": (
            f"postgresql://{OWNER_ROLE}:{passwords.bank_owner}@{_POSTGRES}/{DATABASE}?sslmode=disable"
        ),
        "postgres/password": passwords.postgres,
        "redis/redis.conf": f'requirepass {passwords.redis}\nappendonly yes\nsave ""\n',
        "redis/password": passwords.redis,
        "grafana/password": secrets.token_hex(16),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(text)
    keys = folder / "server" / "token_keys.json"
    if not keys.exists():
        write_new_keys(keys)
        keys.chmod(0o640)
    if not (folder / "server" / "ca.crt").exists():
        _make_certificates(folder)


def _make_certificates(folder: Path) -> None:
    """An authority that forgets its key, and what envoy and mailpit prove themselves with for a year."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("compose", authority_key, None, None)
    for service, names in {"envoy": ("localhost", "envoy"), "mailpit": ("mailpit",)}.items():
        key = ec.generate_private_key(ec.SECP256R1())
        chain = _certificate(service, key, (authority, authority_key), names)
        (folder / service).mkdir(exist_ok=True)
        (folder / service / "tls.crt").write_bytes(chain.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / service / "tls.key").write_bytes(private)
    for service in ("envoy", "server"):
        (folder / service / "ca.crt").write_bytes(authority.public_bytes(Encoding.PEM))


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    names: tuple[str, ...] | None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    issuer_key = key if issuer is None else issuer[1]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if names is not None:
        alternatives = [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    signs = issuer is None
    usage = x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)
    return builder.add_extension(usage, critical=True).sign(issuer_key, hashes.SHA256())


async def create_database(folder: Path, server: str = _POSTGRES) -> None:
    """Create the database and its two roles, with the passwords made before; safe to run again."""
    passwords = load_secrets(folder)
    if passwords is None:
        raise SystemExit(f"there are no passwords in {folder}: run the service secrets first")
    superuser_url = f"postgresql://{SUPERUSER}:{passwords.postgres}@{server}/postgres"
    await prepare_roles(superuser_url, passwords)
    await prepare_database(superuser_url)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.compose", description="Prepare what compose.yaml starts.")
    parser.add_argument("action", choices=["secrets", "createdb"])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.action == "secrets":
        make_secrets(arguments.folder)
    else:
        asyncio.run(create_database(arguments.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
