"""Access tokens that must open nothing, each wrong in one way; most of them signed by the true key."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import jwt
import pyseto
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.keys import Keys, SigningKey
from server.tokens import VERIFY_EMAIL

Format: TypeAlias = Literal["paseto", "jwt"]
FORMATS: tuple[Format, ...] = ("paseto", "jwt")
TTL_S = 900
_TIMES = ("iat", "nbf", "exp")


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def true_claims(user_id: UUID, session_id: UUID, now_s: int) -> dict[str, Any]:
    """What a token of ours says, with times as JWT writes them."""
    return {
        "iss": "bank.v1",
        "aud": "bank.v1",
        "purpose": "access",
        "sub": str(user_id),
        "sid": str(session_id),
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + TTL_S,
    }


def changes(now_s: int, user_id: UUID) -> list[dict[str, Any]]:
    """What may be wrong with the claims; None takes one away."""
    return [
        *({name: None} for name in true_claims(user_id, user_id, now_s)),
        {"exp": "later"},
        {"exp": str(now_s + TTL_S)},
        {"exp": float(now_s + TTL_S)},
        {"exp": True},
        {"exp": now_s - 60},
        {"exp": now_s + 3601},
        {"exp": 2**63},
        {"exp": -1},
        {"exp": [now_s + TTL_S]},
        {"nbf": now_s + 90, "iat": now_s + 90},
        {"nbf": now_s - 1},
        {"iat": now_s + 90},
        {"iat": now_s + TTL_S},
        {"aud": "other"},
        {"aud": ["bank.v1"]},
        {"iss": "other"},
        {"iss": ["bank.v1"]},
        {"purpose": "refresh"},
        {"purpose": VERIFY_EMAIL},
        {"sub": "me"},
        {"sub": ""},
        {"sub": 7},
        {"sub": str(user_id).upper()},
        {"sub": user_id.hex},
        {"sub": "018f6b3e-5a1c-7c3d-9a57-0242ac120002"},
        {"sid": "x"},
        {"sid": "018f6b3e-5a1c-7c3d-9a57-0242ac120002"},
        {"role": "ADMIN"},
    ]


# Right in form, so that it is the session they name, or do not, that refuses them.
REFUSED_BY_THE_SESSION = (
    {"sub": "018f6b3e-5a1c-7c3d-9a57-0242ac120002"},
    {"sid": "018f6b3e-5a1c-7c3d-9a57-0242ac120002"},
)

JWT_HEADERS: list[dict[str, Any]] = [
    {"typ": "JWT"},
    {"typ": None},
    {"typ": "refresh+jwt"},
    {"alg": "none"},
    {"alg": "None"},
    {"alg": "nOnE"},
    {"alg": "HS256"},
    {"alg": "RS256"},
    {"alg": "Ed25519"},
    {"kid": None},
    {"kid": ""},
    {"kid": "unknown"},
    {"kid": "../../etc/passwd"},
    {"kid": "' OR 1=1 --"},
    {"kid": "k" * 1500},
    {"kid": 7},
    {"jku": "https://attacker.example.com/keys.json"},
    {"x5u": "https://attacker.example.com/certificate.pem"},
    {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": encode(bytes(32))}},
    {"crit": ["exp"]},
    {"crit": ["unknown"], "unknown": 1},
    {"b64": False, "crit": ["b64"]},
]
PASETO_FOOTERS = [
    b"",
    b"{}",
    b"kid",
    b'{"kid":"unknown"}',
    b'{"kid": "' + b"k" * 1024 + b'"}',
    b"[" * 700,
    b'{"kid":{"kid":{}}}',
    b"\xff",
]
PAYLOADS = [b"", b"{", b"[]", b"null", b'"text"', b"7", b"\xff", b"{}", b"[" * 700, b'{"exp": NaN}']


def sign_jwt(keys: Keys, payload: bytes, **headers: Any) -> str:
    """A token signed by the true key with this payload and these headers; None takes one away."""
    key = keys.access_token_keys[0]
    made: dict[str, Any] = {"alg": "EdDSA", "kid": key.kid, "typ": "at+jwt", **headers}
    header = compact({name: value for name, value in made.items() if value is not None})
    signed = f"{encode(header)}.{encode(payload)}"
    return f"{signed}.{encode(key.private_key.sign(signed.encode()))}"


def sign_paseto(keys: Keys, payload: bytes, footer: bytes | None = None, assertion: bytes = b"") -> str:
    """A token signed by the true key with this payload."""
    key = keys.access_token_keys[0]
    signer = pyseto.Key.from_asymmetric_key_params(4, d=key.private_key.private_bytes_raw())
    if footer is None:
        footer = compact({"kid": key.kid})
    return pyseto.encode(signer, payload, footer=footer, implicit_assertion=assertion).decode()


def paseto_payload(claims: Mapping[str, Any]) -> bytes:
    """The claims with times as PASETO writes them."""
    made = dict(claims)
    for name in _TIMES:
        if type(made.get(name)) is int and 0 <= made[name] < 2**33:
            made[name] = datetime.fromtimestamp(made[name], UTC).isoformat()
    return json.dumps(made).encode()


def genuine(wire_format: Format, keys: Keys, claims: Mapping[str, Any]) -> str:
    """A token made here by hand as the service makes them, with these claims."""
    return sign_jwt(keys, compact(claims)) if wire_format == "jwt" else sign_paseto(keys, paseto_payload(claims))


def forgeries(wire_format: Format, keys: Keys, user_id: UUID, session_id: UUID, now_s: int) -> dict[str, str]:
    """Tokens for a true user and session, by what is wrong with them; all can be sent as a header."""
    true = true_claims(user_id, session_id, now_s)
    good = genuine(wire_format, keys, true)
    other: Format = "jwt" if wire_format == "paseto" else "paseto"
    stranger = Keys((SigningKey(keys.access_token_keys[0].kid, Ed25519PrivateKey.generate()),), b"", b"", b"")
    found = {
        "in the other format": genuine(other, keys, true),
        "of a stranger's key": genuine(wire_format, stranger, true),
        "without its last character": good[:-1],
        "without its first character": good[1:],
        "with one more character": good + "A",
        "with padding": good + "=",
        "with an empty part": good + ".",
        **{f"with a bit changed at {place}": _flipped(good, place) for place in range(0, len(good), 16)},
    }
    for change in changes(now_s, user_id):
        claims = {name: value for name, value in {**true, **change}.items() if value is not None}
        found[f"claims {change}"[:80]] = genuine(wire_format, keys, claims)
    made = _jwt_forgeries if wire_format == "jwt" else _paseto_forgeries
    return found | made(keys, true)


def _flipped(token: str, place: int) -> str:
    changed = chr(ord(token[place]) ^ 1)
    return token[:place] + (changed if changed.isalnum() else "AB"[token[place] == "A"]) + token[place + 1 :]


def _jwt_forgeries(keys: Keys, true: Mapping[str, Any]) -> dict[str, str]:
    public_key = keys.access_token_keys[0].private_key.public_key()
    ours = {"kid": keys.access_token_keys[0].kid, "typ": "at+jwt"}
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    payload = compact(true)
    good = sign_jwt(keys, payload)
    header, body, signature = good.split(".")
    # The library refuses to sign with a PEM as it stands, an attacker does not.
    symmetric = {
        "the raw public key": jwt.encode(dict(true), public_key.public_bytes_raw(), algorithm="HS256", headers=ours),
        "the public key's PEM": jwt.PyJWS(algorithms=["HS256"]).encode(
            payload, base64.b64encode(pem), algorithm="HS256", headers=ours
        ),
    }
    twin = chr(ord(signature[-1]) + 1)
    assert decode(signature[:-1] + twin) == decode(signature)
    return {
        **{f"header {headers}"[:80]: sign_jwt(keys, payload, **headers) for headers in JWT_HEADERS},
        **{f"payload {text[:12]!r}": sign_jwt(keys, text) for text in PAYLOADS},
        "claim given twice": sign_jwt(keys, payload[:-1] + b',"sub":"' + true["sub"].encode() + b'"}'),
        **{f"HS256 by {name}": token for name, token in symmetric.items()},
        # With the expected header put before the forged rest.
        **{f"HS256 by {name}, our header": f"{header}.{token.partition('.')[2]}" for name, token in symmetric.items()},
        "RS256": jwt.encode(dict(true), generate_private_key(65537, 2048), algorithm="RS256", headers=ours),
        "unsigned": jwt.encode(dict(true), "", algorithm="none"),
        "with an empty signature": f"{header}.{body}.",
        "without its signature": f"{header}.{body}",
        "with spare bits of its signature set": good[:-1] + twin,
    }


def _paseto_forgeries(keys: Keys, true: Mapping[str, Any]) -> dict[str, str]:
    key = keys.access_token_keys[0]
    footer, payload = compact({"kid": key.kid}), paseto_payload(true)
    good = sign_paseto(keys, payload)
    local = pyseto.encode(
        pyseto.Key.new(4, "local", key.private_key.public_key().public_bytes_raw()), payload, footer=footer
    ).decode()
    second = pyseto.encode(
        pyseto.Key.from_asymmetric_key_params(2, d=key.private_key.private_bytes_raw()), payload, footer=footer
    ).decode()
    return {
        **{f"footer {text[:20]!r}": sign_paseto(keys, payload, text) for text in PASETO_FOOTERS},
        **{f"payload {text[:12]!r}": sign_paseto(keys, text) for text in PAYLOADS if text},
        "numeric times": sign_paseto(keys, compact(true)),
        "claim given twice": sign_paseto(keys, payload[:-1] + b', "sub": "' + true["sub"].encode() + b'"}'),
        "with an implicit assertion": sign_paseto(keys, payload, assertion=b"other"),
        "encrypted under the public key": local,
        "encrypted, said to be signed": local.replace("v4.local", "v4.public"),
        "of version 2": second,
        "of version 2, said to be 4": second.replace("v2.", "v4."),
        **{f"said to be {version!r}": version + good[2:] for version in ("v1", "v2", "v3", "v5", "V4", "v")},
        "said to be encrypted": good.replace("v4.public", "v4.local"),
        "without its footer": good.rpartition(".")[0],
    }
