"""Access tokens in both formats, attacked; mailed tokens."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest

from server.errors import Unauthenticated
from server.keys import Keys, SigningKey
from server.sessions.successor import new_refresh_token
from server.tokens import LEEWAY_S, VERIFIED_MAX, VERIFY_EMAIL, AccessTokens, MailTokens, digest
from tests.clocks import Clock
from tests.server.identity import new_keys
from tests.server.token_vectors import (
    FORMATS,
    REFUSED_BY_THE_SESSION,
    TTL_S,
    Format,
    decode,
    forgeries,
    genuine,
    true_claims,
)
from tests.timing import shortest_s

USER_ID = UUID("018f6b3e-5a1c-7c3d-9a57-000000000001")
SESSION_ID = UUID("018f6b3e-5a1c-7c3d-9a57-000000000002")
NOW = datetime(2026, 5, 4, 3, 2, 1, 999_999, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
FORGED = [
    pytest.param(wire_format, name, id=f"{wire_format}-{name}")
    for wire_format in FORMATS
    for name in forgeries(wire_format, new_keys(), USER_ID, SESSION_ID, NOW_S)
    if name not in {f"claims {change}" for change in REFUSED_BY_THE_SESSION}
]


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW.timestamp())


@pytest.fixture(scope="module")
def keys() -> Keys:
    return new_keys()


@pytest.fixture(params=FORMATS)
def tokens(request: pytest.FixtureRequest, keys: Keys, clock: Clock) -> AccessTokens:
    return AccessTokens(keys, request.param, TTL_S, clock)


@pytest.fixture(scope="module")
def forged(keys: Keys) -> dict[Format, dict[str, str]]:
    return {wire_format: forgeries(wire_format, keys, USER_ID, SESSION_ID, NOW_S) for wire_format in FORMATS}


def issue(tokens: AccessTokens) -> str:
    return tokens.issue(USER_ID, SESSION_ID, NOW)[0]


def assert_refused(tokens: AccessTokens, token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify(token)
    assert str(refused.value) == str(Unauthenticated())


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
    def test_token_of_the_other_format_is_refused(self, keys: Keys, clock: Clock, wire_format: Format) -> None:
        other: Format = "jwt" if wire_format == "paseto" else "paseto"
        assert_refused(AccessTokens(keys, wire_format, TTL_S, clock), issue(AccessTokens(keys, other, TTL_S, clock)))

    @pytest.mark.parametrize("wire_format", FORMATS)
    def test_keys_are_replaced_without_a_refused_token(self, clock: Clock, wire_format: Format) -> None:
        old, new = new_keys(2).access_token_keys

        def with_keys(*listed: SigningKey) -> AccessTokens:
            return AccessTokens(Keys(listed, b"", b"", b""), wire_format, TTL_S, clock)

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
        # By a process that has seen no token yet.
        first_s = shortest_s(lambda: AccessTokens(keys, "paseto", TTL_S).verify(token), 20)
        tokens.verify(token)
        assert shortest_s(lambda: tokens.verify(token), 20) < first_s / 10


class TestForgeries:
    """Every token of tests/server/token_vectors.py."""

    @pytest.mark.parametrize("wire_format", FORMATS)
    def test_token_made_by_hand_is_accepted(self, keys: Keys, clock: Clock, wire_format: Format) -> None:
        # So that what is refused below is refused for what was changed.
        made = genuine(wire_format, keys, true_claims(USER_ID, SESSION_ID, NOW_S))
        tokens = AccessTokens(keys, wire_format, TTL_S, clock)
        assert tokens.verify(made) == tokens.verify(issue(tokens))

    def test_jwt_says_what_it_is(self, keys: Keys) -> None:
        header = jwt.get_unverified_header(issue(AccessTokens(keys, "jwt", TTL_S)))
        assert header == {"alg": "EdDSA", "kid": keys.access_token_keys[0].kid, "typ": "at+jwt"}

    @pytest.mark.parametrize(("wire_format", "name"), FORGED)
    def test_forged_token_is_refused(
        self, keys: Keys, clock: Clock, forged: dict[Format, dict[str, str]], wire_format: Format, name: str
    ) -> None:
        assert_refused(AccessTokens(keys, wire_format, TTL_S, clock), forged[wire_format][name])


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
