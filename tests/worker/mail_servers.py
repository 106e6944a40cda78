"""Mail servers that speak TLS and ask for a password, with certificates made for the test."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.worker.surroundings import ScriptedSink

USERNAME = "bank-mailer"
PASSWORD = "canary-smtp-password"


@dataclass(frozen=True)
class Certificate:
    """Signed by itself; file is the certificate alone."""

    file: Path
    key_file: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.file, self.key_file)
        return context


def make_certificate(folder: Path, name: str = "localhost", days: int = 1) -> Certificate:
    """A certificate for a host name, and for 127.0.0.1 if that is localhost; one of negative days has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names.append(x509.IPAddress(ip_address("127.0.0.1")))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / f"{name}{days}.pem", folder / f"{name}{days}.key")
    made.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@asynccontextmanager
async def secure_sink(sink: ScriptedSink, mode: str, certificate: Certificate) -> AsyncIterator[list[bytes]]:
    """Put a mail server that asks for a login, of this SMTP_TLS, in front of a sink; the user names that signed in."""
    logins: list[bytes] = []

    def check(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword | None
    ) -> AuthResult:
        expected = LoginPassword(USERNAME.encode(), PASSWORD.encode())
        if data != expected:
            return AuthResult(success=False, handled=False)
        logins.append(expected.login)
        return AuthResult(success=True)

    context = certificate.server_context()
    loop = asyncio.get_running_loop()
    if mode == "starttls":
        server = await loop.create_server(
            lambda: SMTP(
                sink,
                hostname="localhost",
                tls_context=context,
                require_starttls=True,
                auth_required=True,
                authenticator=check,
                loop=loop,
            ),
            "127.0.0.1",
            sink.port,
        )
    else:
        server = await loop.create_server(
            # What aiosmtpd calls TLS is STARTTLS.
            lambda: SMTP(sink, hostname="localhost", auth_require_tls=False, authenticator=check, loop=loop),
            "127.0.0.1",
            sink.port,
            ssl=context if mode == "tls" else None,
        )
    try:
        yield logins
    finally:
        server.close()
