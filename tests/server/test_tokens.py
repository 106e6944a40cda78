"""Access tokens in both formats, attacked; mailed tokens."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import jwt
import pyseto
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.errors import Unauthenticated
from server.keys import Keys, SigningKey
from server.sessions.successor import new_refresh_token
from server.tokens import LEEWAY_S, VERIFIED_MAX, VERIFY_EMAIL, AccessTokens, MailTokens, digest
from tests.server.identity import new_keys

USER_ID = UUID("018f6b3e-5a1c-7c3d-9a57-000000000001")
SESSION_ID = UUID("018f6b3e-5a1c-7c3d-9a57-000000000002")
TTL_S = 900
NOW = datetime(2026, 5, 4, 3, 2, 1, 999_999, tzinfo=UTC)
FORMATS: tuple[Literal["paseto", "jwt"], ...] = ("paseto", "jwt")


class Clock:
    """A clock that is put by hand."""

    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def keys() -> Keys:
    return new_keys()


@pytest.fixture(params=FORMATS)
def tokens(request: pytest.FixtureRequest, keys: Keys, clock: Clock) -> AccessTokens:
    return AccessTokens(keys, request.param, TTL_S, clock)


def issue(tokens: AccessTokens) -> str:
    return tokens.issue(USER_ID, SESSION_ID, NOW)[0]


def assert_refused(tokens: AccessTokens, token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify(token)
    assert str(refused.value) == str(Unauthenticated())


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class TestVerify:
    def test_issued_token_proves_user_and_session_until_it_expires(self, tokens: AccessTokens) -> None:
        token, expire_time = tokens.issue(USER_ID, SESSION_ID, NOW)
        assert expire_time == NOW.replace(microsecond=0) + timedelta(seconds=TTL_S)
        for _ in range(2):
            verified = tokens.verify(token)
            assert (verified.user_id, verified.session_id, verified.expire_time) == (USER_ID, SESSION_ID, expire_time)
        assert len(token) < 600

    @pytest.mark.parametrize("remembered", [False, True])
    def test_token_ends_with_its_time_and_the_leeway(
        self, tokens: AccessTokens, clock: Clock, remembered: bool
    ) -> None:
        token, expire_time = tokens.issue(USER_ID, SESSION_ID, NOW)
        if remembered:
            tokens.verify(token)
        clock.now = expire_time.timestamp() + LEEWAY_S - 0.001
        tokens.verify(token)
        clock.now += 0.001
        assert_refused(tokens, token)

    @pytest.mark.parametrize("remembered", [False, True])
    def test_token_from_the_future_is_refused_beyond_the_leeway(
        self, tokens: AccessTokens, clock: Clock, remembered: bool
    ) -> None:
        token = issue(tokens)
        if remembered:
            tokens.verify(token)
        issued = NOW.replace(microsecond=0).timestamp()
        clock.now = issued - LEEWAY_S - 0.001
        assert_refused(tokens, token)
        clock.now = issued - LEEWAY_S
        tokens.verify(token)

    @pytest.mark.parametrize("text", ["", " ", ".", "...", "v4.public.", "v4.public..", "x" * 2049, "é.ü.ö", "\0"])
    def test_garbage_is_refused(self, tokens: AccessTokens, text: str) -> None:
        assert_refused(tokens, text)

    def test_any_changed_character_is_refused(self, tokens: AccessTokens) -> None:
        token = issue(tokens)
        for position in range(len(token)):
            for replacement in ("A", "B", "_", "=", " ", "."):
                if token[position] != replacement:
                    assert_refused(tokens, token[:position] + replacement + token[position + 1 :])

    def test_added_or_missing_characters_are_refused(self, tokens: AccessTokens) -> None:
        token = issue(tokens)
        for changed in (token + "=", token + ".", token + "A", " " + token, token + "\n", token[:-1], token[1:]):
            assert_refused(tokens, changed)

    def test_padding_up_to_the_limit_is_refused(self, tokens: AccessTokens) -> None:
        token = issue(tokens)
        assert_refused(tokens, token + "\n" * (2048 - len(token)))
        assert_refused(tokens, token + "." + "A" * 8192)

    def test_refresh_and_mailed_tokens_are_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        assert_refused(tokens, new_refresh_token())
        assert_refused(tokens, MailTokens(keys.mail_token_key).make(VERIFY_EMAIL, SESSION_ID, USER_ID))

    def test_token_of_another_key_is_refused(self, tokens: AccessTokens, clock: Clock) -> None:
        # The same key id does not help either.
        for stranger in (new_keys(), new_keys(2)):
            for wire_format in FORMATS:
                assert_refused(tokens, issue(AccessTokens(stranger, wire_format, TTL_S, clock)))

    @pytest.mark.parametrize("wire_format", FORMATS)
    def test_token_of_the_other_format_is_refused(
        self, keys: Keys, clock: Clock, wire_format: Literal["paseto", "jwt"]
    ) -> None:
        other: Literal["paseto", "jwt"] = "jwt" if wire_format == "paseto" else "paseto"
        assert_refused(AccessTokens(keys, wire_format, TTL_S, clock), issue(AccessTokens(keys, other, TTL_S, clock)))

    @pytest.mark.parametrize("wire_format", FORMATS)
    def test_keys_are_replaced_without_a_refused_token(
        self, clock: Clock, wire_format: Literal["paseto", "jwt"]
    ) -> None:
        old, new = new_keys(2).access_token_keys

        def with_keys(*listed: SigningKey) -> AccessTokens:
            return AccessTokens(Keys(listed, b"", b""), wire_format, TTL_S, clock)

        steps = [with_keys(old), with_keys(old, new), with_keys(new, old), with_keys(new)]
        # While a step is rolled out, the tokens of either neighbour reach both.
        for earlier, later in ((steps[0], steps[1]), (steps[1], steps[2])):
            earlier.verify(issue(later))
            later.verify(issue(earlier))
        steps[3].verify(issue(steps[2]))
        assert_refused(steps[3], issue(steps[1]))

    def test_remembered_tokens_are_bounded_and_forgotten_ones_verified_anew(
        self, keys: Keys, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("server.tokens.VERIFIED_MAX", 3)
        tokens = AccessTokens(keys, "paseto", TTL_S, clock)
        made = [tokens.issue(USER_ID, UUID(int=number), NOW)[0] for number in range(5)]
        for _ in range(2):
            for token in made:
                tokens.verify(token)
            assert len(tokens._verified) == 3
        assert VERIFIED_MAX >= 1000

    def test_remembered_token_costs_a_look_up(self, keys: Keys) -> None:
        tokens = AccessTokens(keys, "paseto", TTL_S)
        token = tokens.issue(USER_ID, SESSION_ID, datetime.now(UTC))[0]
        tokens.verify(token)
        best = min(_seconds(lambda: tokens.verify(token)) for _ in range(20))
        assert best < 20e-6


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def claims(**changed: Any) -> dict[str, Any]:
    """What a token of ours says, in JWT's form; None takes a claim away."""
    issued = int(NOW.timestamp())
    made = {
        "iss": "bank.v1",
        "aud": "bank.v1",
        "purpose": "access",
        "sub": str(USER_ID),
        "sid": str(SESSION_ID),
        "iat": issued,
        "nbf": issued,
        "exp": issued + TTL_S,
        **changed,
    }
    return {name: value for name, value in made.items() if value is not None}


NOW_S = int(NOW.timestamp())
BAD_CLAIMS: list[dict[str, Any]] = [
    *({name: None} for name in claims()),
    {"exp": "later"},
    {"exp": str(NOW_S + TTL_S)},
    {"exp": float(NOW_S + TTL_S)},
    {"exp": True},
    {"exp": NOW_S - 60},
    {"exp": NOW_S + 3601},
    {"exp": 2**63},
    {"exp": -1},
    {"exp": [NOW_S + TTL_S]},
    {"nbf": NOW_S + 31},
    {"nbf": NOW_S - 1},
    {"iat": NOW_S + 31},
    {"iat": NOW_S + TTL_S},
    {"aud": "other"},
    {"aud": ["bank.v1"]},
    {"iss": "other"},
    {"iss": ["bank.v1"]},
    {"purpose": "refresh"},
    {"purpose": VERIFY_EMAIL},
    {"sub": "me"},
    {"sub": ""},
    {"sub": 7},
    {"sub": str(USER_ID).upper()},
    {"sub": USER_ID.hex},
    {"sid": "x"},
    {"role": "ADMIN"},
]


class TestJwt:
    @pytest.fixture
    def tokens(self, keys: Keys, clock: Clock) -> AccessTokens:
        return AccessTokens(keys, "jwt", TTL_S, clock)

    def sign(self, keys: Keys, payload: bytes | None = None, **headers: Any) -> str:
        """A token signed by the true key with this payload and these headers; None takes one away."""
        key = keys.access_token_keys[0]
        made: dict[str, Any] = {"alg": "EdDSA", "kid": key.kid, "typ": "at+jwt", **headers}
        header = json.dumps({name: value for name, value in made.items() if value is not None}, separators=(",", ":"))
        body = payload if payload is not None else json.dumps(claims(), separators=(",", ":")).encode()
        signed = f"{encode(header.encode())}.{encode(body)}"
        return f"{signed}.{encode(key.private_key.sign(signed.encode()))}"

    def test_same_header_and_claims_made_by_hand_are_accepted(self, tokens: AccessTokens, keys: Keys) -> None:
        # So that what is refused below is refused for what was changed.
        header = jwt.get_unverified_header(issue(tokens))
        assert header == {"alg": "EdDSA", "kid": keys.access_token_keys[0].kid, "typ": "at+jwt"}
        tokens.verify(self.sign(keys, **{name: header[name] for name in header}))

    @pytest.mark.parametrize("changed", BAD_CLAIMS, ids=str)
    def test_bad_claims_are_refused(self, tokens: AccessTokens, keys: Keys, changed: dict[str, Any]) -> None:
        assert_refused(tokens, self.sign(keys, json.dumps(claims(**changed)).encode()))

    @pytest.mark.parametrize(
        "payload", [b"", b"{", b"[]", b"null", b'"text"', b"7", b"\xff", b"{}", b"[" * 700, b'{"exp": NaN}']
    )
    def test_payload_that_is_no_object_of_claims_is_refused(
        self, tokens: AccessTokens, keys: Keys, payload: bytes
    ) -> None:
        assert_refused(tokens, self.sign(keys, payload))

    def test_claim_given_twice_is_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        text = json.dumps(claims())
        assert_refused(tokens, self.sign(keys, (text[:-1] + f', "sub": "{USER_ID}"' + "}").encode()))

    @pytest.mark.parametrize(
        "headers",
        [
            {"typ": "JWT"},
            {"typ": None},
            {"typ": "refresh+jwt"},
            {"alg": "none"},
            {"alg": "None"},
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
        ],
        ids=str,
    )
    def test_other_header_is_refused_though_the_signature_is_right(
        self, tokens: AccessTokens, keys: Keys, headers: dict[str, Any]
    ) -> None:
        assert_refused(tokens, self.sign(keys, **headers))

    def test_symmetric_signature_with_the_public_key_is_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        public_key = keys.access_token_keys[0].private_key.public_key()
        headers = {"kid": keys.access_token_keys[0].kid, "typ": "at+jwt"}
        # The library refuses to sign with a PEM, an attacker does not.
        raw = jwt.encode(claims(), public_key.public_bytes_raw(), algorithm="HS256", headers=headers)
        pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        jws = jwt.PyJWS(algorithms=["HS256"]).encode(
            json.dumps(claims()).encode(), base64.b64encode(pem), algorithm="HS256", headers=headers
        )
        for forged in (raw, jws):
            assert_refused(tokens, forged)
            # With the expected header put before the forged rest.
            assert_refused(tokens, issue(tokens).partition(".")[0] + "." + forged.partition(".")[2])

    def test_unsigned_and_empty_signatures_are_refused(self, tokens: AccessTokens) -> None:
        header, payload, _ = issue(tokens).split(".")
        assert_refused(tokens, f"{header}.{payload}.")
        assert_refused(tokens, f"{header}.{payload}")
        assert_refused(tokens, jwt.encode(claims(), "", algorithm="none"))

    def test_rsa_signature_is_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        key = generate_private_key(65537, 2048)
        headers = {"kid": keys.access_token_keys[0].kid, "typ": "at+jwt"}
        assert_refused(tokens, jwt.encode(claims(), key, algorithm="RS256", headers=headers))

    def test_same_signature_with_spare_bits_set_is_refused(self, tokens: AccessTokens) -> None:
        token = issue(tokens)
        twin = token[:-1] + chr(ord(token[-1]) + 1)
        assert decode(twin.rpartition(".")[2]) == decode(token.rpartition(".")[2])
        assert_refused(tokens, twin)


class TestPaseto:
    @pytest.fixture
    def tokens(self, keys: Keys, clock: Clock) -> AccessTokens:
        return AccessTokens(keys, "paseto", TTL_S, clock)

    def sign(self, keys: Keys, payload: bytes, footer: bytes | None = None, assertion: bytes = b"") -> str:
        key = keys.access_token_keys[0]
        signer = pyseto.Key.from_asymmetric_key_params(4, d=key.private_key.private_bytes_raw())
        if footer is None:
            footer = json.dumps({"kid": key.kid}, separators=(",", ":")).encode()
        return pyseto.encode(signer, payload, footer=footer, implicit_assertion=assertion).decode()

    def payload(self, **changed: Any) -> bytes:
        made = claims(**changed)
        for name in {"iat", "nbf", "exp"} & made.keys():
            if type(made[name]) is int and 0 <= made[name] < 2**33:
                made[name] = datetime.fromtimestamp(made[name], UTC).isoformat()
        return json.dumps(made).encode()

    def test_same_footer_and_claims_made_by_hand_are_accepted(self, tokens: AccessTokens, keys: Keys) -> None:
        tokens.verify(self.sign(keys, self.payload()))

    @pytest.mark.parametrize("changed", BAD_CLAIMS, ids=str)
    def test_bad_claims_are_refused(self, tokens: AccessTokens, keys: Keys, changed: dict[str, Any]) -> None:
        assert_refused(tokens, self.sign(keys, self.payload(**changed)))

    def test_numeric_times_are_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        assert_refused(tokens, self.sign(keys, json.dumps(claims()).encode()))

    @pytest.mark.parametrize(
        "footer",
        [
            b"",
            b"{}",
            b"kid",
            b'{"kid":"unknown"}',
            b'{"kid": "' + b"k" * 8192 + b'"}',
            b"[" * 700,
            b'{"kid":{"kid":{}}}',
            b"\xff",
        ],
        ids=lambda footer: footer[:20].decode("ascii", "replace"),
    )
    def test_other_footer_is_refused_though_the_signature_is_right(
        self, tokens: AccessTokens, keys: Keys, footer: bytes
    ) -> None:
        assert_refused(tokens, self.sign(keys, self.payload(), footer))

    def test_implicit_assertion_is_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        assert_refused(tokens, self.sign(keys, self.payload(), assertion=b"other"))

    @pytest.mark.parametrize("version", ["v1", "v2", "v3", "v4 ", "V4", "", "v5"])
    def test_other_version_is_refused(self, tokens: AccessTokens, version: str) -> None:
        _, _, rest = issue(tokens).partition(".")
        assert_refused(tokens, f"{version}.{rest}")

    def test_version_two_signed_by_the_same_key_is_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        private_key = keys.access_token_keys[0].private_key
        signer = pyseto.Key.from_asymmetric_key_params(2, d=private_key.private_bytes_raw())
        token = pyseto.encode(signer, self.payload(), footer={"kid": keys.access_token_keys[0].kid}).decode()
        assert_refused(tokens, token)
        assert_refused(tokens, token.replace("v2.", "v4."))

    def test_local_token_under_the_public_key_is_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        public_key = keys.access_token_keys[0].private_key.public_key()
        local = pyseto.Key.new(4, "local", public_key.public_bytes_raw())
        footer = json.dumps({"kid": keys.access_token_keys[0].kid}, separators=(",", ":")).encode()
        token = pyseto.encode(local, self.payload(), footer=footer).decode()
        assert_refused(tokens, token)
        assert_refused(tokens, token.replace("v4.local", "v4.public"))

    def test_claim_given_twice_is_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        assert_refused(tokens, self.sign(keys, self.payload()[:-1] + f', "sub": "{USER_ID}"'.encode() + b"}"))

    def test_strangers_signature_under_our_footer_is_refused(self, tokens: AccessTokens, keys: Keys) -> None:
        stranger = Keys((SigningKey(keys.access_token_keys[0].kid, Ed25519PrivateKey.generate()),), b"", b"")
        assert_refused(tokens, issue(AccessTokens(stranger, "paseto", TTL_S)))


class TestMailTokens:
    def test_same_row_gives_the_same_token_on_every_process(self) -> None:
        key = bytes(range(32))
        token = MailTokens(key).make(VERIFY_EMAIL, SESSION_ID, USER_ID)
        assert token == MailTokens(key).make(VERIFY_EMAIL, SESSION_ID, USER_ID)
        assert len(token) == 64
        assert token.replace("-", "").replace("_", "").isalnum()

    def test_another_key_purpose_row_or_user_gives_another_token(self) -> None:
        key = bytes(range(32))
        made = {
            MailTokens(key).make(VERIFY_EMAIL, SESSION_ID, USER_ID),
            MailTokens(key[::-1]).make(VERIFY_EMAIL, SESSION_ID, USER_ID),
            MailTokens(key).make("RESET_PASSWORD", SESSION_ID, USER_ID),
            MailTokens(key).make(VERIFY_EMAIL, USER_ID, USER_ID),
            MailTokens(key).make(VERIFY_EMAIL, SESSION_ID, SESSION_ID),
        }
        assert len({token[-43:] for token in made}) == 5

    def test_digest_does_not_contain_the_token(self) -> None:
        token = MailTokens(bytes(32)).make(VERIFY_EMAIL, SESSION_ID, USER_ID)
        assert len(digest(token)) == 32
        assert digest(token) not in decode(token)
