"""Access tokens, which prove a session, and mailed tokens, which prove that a mail was read."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

import jwt
import pyseto

from server.errors import Unauthenticated
from server.keys import Keys, SigningKey

ISSUER = "bank.v1"
AUDIENCE = "bank.v1"
PURPOSE = "access"
LEEWAY_S = 30
"""How far the clocks of two processes may differ."""
TTL_MAX = timedelta(hours=1)
"""A token that claims to live longer is not ours, whatever the setting."""
TOKEN_LENGTH_MAX = 2048
VERIFIED_MAX = 10_000
"""How many verified tokens a process remembers."""
VERIFY_EMAIL = "VERIFY_EMAIL"
"""Purpose of a mailed token that proves an address; as stored in mail_tokens.purpose."""
RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105 - the name of a purpose
"""Purpose of a mailed token that sets a new password."""
MAIL_TOKEN_TTL_S = {VERIFY_EMAIL: 24 * 3600, RESET_PASSWORD: 3600}
"""How long mailed tokens live by purpose: from when they are made, and again from when their mail is sent."""

_CLAIMS = {"iss", "aud", "purpose", "sub", "sid", "iat", "nbf", "exp"}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_PASETO_HEADER = "v4.public"
_PASETO_TIME = "%Y-%m-%dT%H:%M:%S+00:00"


@dataclass(frozen=True, slots=True)
class Verified:
    """What an access token proves."""

    user_id: UUID
    session_id: UUID
    expire_time: datetime


class TokenFormat(Protocol):
    """How claims are written, signed and read back; which key and algorithm is never the token's choice."""

    def sign(self, claims: dict[str, Any]) -> str:
        """The token that carries the claims, signed by the first key; times are datetimes."""
        ...

    def open(self, token: str) -> dict[str, Any]:
        """The claims of a token that one of the keys signed in exactly this form.

        Raises:
            Exception: Of any kind, for any other text.
        """
        ...


class AccessTokens:
    """Issues and verifies access tokens.

    Args:
        keys: The first access-token key signs, all verify.
        wire_format: PASETO v4.public, or JWT (EdDSA) of the type at+jwt; the other one is refused.
        ttl_s: How long a token lives, in seconds.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        keys: Keys,
        wire_format: Literal["paseto", "jwt"],
        ttl_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._format: TokenFormat = (
            PasetoFormat(keys.access_token_keys) if wire_format == "paseto" else JwtFormat(keys.access_token_keys)
        )
        self._ttl = timedelta(seconds=ttl_s)
        self._clock = clock
        # A token that was verified once is looked up until it expires, in the order of arrival.
        self._verified: dict[str, tuple[float, float, Verified]] = {}

    def issue(self, user_id: UUID, session_id: UUID, now: datetime) -> tuple[str, datetime]:
        """A token for the session, and when it ends; whole seconds."""
        issue_time = now.astimezone(UTC).replace(microsecond=0)
        expire_time = issue_time + self._ttl
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "purpose": PURPOSE,
            "sub": str(user_id),
            "sid": str(session_id),
            "iat": issue_time,
            "nbf": issue_time,
            "exp": expire_time,
        }
        return self._format.sign(claims), expire_time

    def verify(self, token: str) -> Verified:
        """What the token proves; a dictionary look-up if it was verified before.

        Raises:
            Unauthenticated: It proves nothing (here, or now); why is not told.
        """
        remembered = self._verified.get(token)
        if remembered is not None:
            valid_from, valid_until, verified = remembered
            if valid_from <= self._clock() < valid_until:
                return verified
            del self._verified[token]
        if len(token) > TOKEN_LENGTH_MAX:
            raise Unauthenticated
        try:
            claims = self._format.open(token)
            valid_from, valid_until, verified = _read_claims(claims)
        except Exception:
            # Whatever a library raises for a text that an attacker chose, the answer is one.
            raise Unauthenticated from None
        if not valid_from <= self._clock() < valid_until:
            raise Unauthenticated
        if len(self._verified) >= VERIFIED_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = valid_from, valid_until, verified
        return verified


class PasetoFormat:
    """PASETO v4.public with the key id in the footer."""

    def __init__(self, keys: tuple[SigningKey, ...]) -> None:
        self._footers = [_compact({"kid": key.kid}) for key in keys]
        self._signer = pyseto.Key.from_asymmetric_key_params(4, d=keys[0].private_key.private_bytes_raw())
        # By footer as written: a footer of ours is known by heart, every other one is refused unread.
        self._verifiers = {
            _encode(footer): pyseto.Key.from_asymmetric_key_params(4, x=key.private_key.public_key().public_bytes_raw())
            for footer, key in zip(self._footers, keys, strict=True)
        }

    def sign(self, claims: dict[str, Any]) -> str:
        """See TokenFormat."""
        times = {name: claims[name].strftime(_PASETO_TIME) for name in ("iat", "nbf", "exp")}
        return pyseto.encode(self._signer, _compact({**claims, **times}), footer=self._footers[0]).decode()

    def open(self, token: str) -> dict[str, Any]:
        """See TokenFormat."""
        version, purpose, payload, footer = token.split(".")
        if f"{version}.{purpose}" != _PASETO_HEADER or not _is_canonical(payload):
            raise ValueError
        decoded = pyseto.decode(self._verifiers[footer], token)
        assert isinstance(decoded.payload, bytes)
        claims = _parse_json(decoded.payload)
        for name in ("iat", "nbf", "exp"):
            claims[name] = datetime.strptime(claims[name], _PASETO_TIME).replace(tzinfo=UTC)
        return claims


class JwtFormat:
    """JSON Web Token signed with EdDSA, of the type of RFC 9068."""

    def __init__(self, keys: tuple[SigningKey, ...]) -> None:
        self._jws = jwt.PyJWS(algorithms=["EdDSA"])
        self._signer = keys[0]
        # By header as written: one of ours names algorithm, type and key, every other one is refused unread.
        self._verifiers = {self._sign(key, b"{}").partition(".")[0]: key.private_key.public_key() for key in keys}

    def sign(self, claims: dict[str, Any]) -> str:
        """See TokenFormat."""
        times = {name: int(claims[name].timestamp()) for name in ("iat", "nbf", "exp")}
        return self._sign(self._signer, _compact({**claims, **times}))

    def open(self, token: str) -> dict[str, Any]:
        """See TokenFormat."""
        header, payload, signature = token.split(".")
        if not _is_canonical(payload) or not _is_canonical(signature):
            raise ValueError
        claims = _parse_json(self._jws.decode(token, self._verifiers[header], algorithms=["EdDSA"]))
        for name in ("iat", "nbf", "exp"):
            if type(claims[name]) is not int:
                raise ValueError
            claims[name] = datetime.fromtimestamp(claims[name], UTC)
        return claims

    def _sign(self, key: SigningKey, payload: bytes) -> str:
        return self._jws.encode(payload, key.private_key, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": key.kid})


class MailTokens:
    """Tokens that are sent by mail.

    A token is derived from its database row, so that the worker makes the same link each time it
    sends the mail, and only its digest is stored.

    Args:
        key: Secret of 32 bytes, the same in every process.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, purpose: str, token_id: UUID, user_id: UUID) -> str:
        """The token of the row `token_id` of mail_tokens, for its purpose; 64 characters, safe in a URL."""
        message = b"|".join([purpose.encode(), token_id.bytes, user_id.bytes])
        return _encode(token_id.bytes + hmac.digest(self._key, message, "sha256"))


def digest(token: str) -> bytes:
    """What is stored of a refresh or mailed token; enough to find it and not to make it."""
    return hashlib.sha256(token.encode()).digest()


def _read_claims(claims: dict[str, Any]) -> tuple[float, float, Verified]:
    issue_time, begin_time, expire_time = claims["iat"], claims["nbf"], claims["exp"]
    if (
        set(claims) != _CLAIMS
        or (claims["iss"], claims["aud"], claims["purpose"]) != (ISSUER, AUDIENCE, PURPOSE)
        or not issue_time <= begin_time < expire_time <= issue_time + TTL_MAX
    ):
        raise ValueError
    verified = Verified(_uuid(claims["sub"]), _uuid(claims["sid"]), expire_time)
    return begin_time.timestamp() - LEEWAY_S, expire_time.timestamp() + LEEWAY_S, verified


def _uuid(text: str) -> UUID:
    value = UUID(text)
    if str(value) != text:
        raise ValueError
    return value


def _parse_json(raw: bytes) -> dict[str, Any]:
    claims = json.loads(raw, object_pairs_hook=_distinct)
    if not isinstance(claims, dict):
        raise TypeError
    return claims


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _compact(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _is_canonical(text: str) -> bool:
    """Whether this is base64url as we write it: libraries skip strange characters and spare bits."""
    return bool(_BASE64URL.fullmatch(text)) and _encode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) == text
