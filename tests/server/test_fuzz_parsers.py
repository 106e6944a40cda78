"""What strangers write is parsed to the one declared error, and nothing is taken but what was made here.

Examples grow out of valid ones by small changes, because random text never gets past the first check.
"""

import email
import email.policy
import unicodedata
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any, TypeVar
from uuid import UUID

import pytest
from bank.v1 import user_service_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.access import MONEY
from server.caller import Caller
from server.errors import BankError, InvalidPageToken, InvalidRequest, Unauthenticated
from server.interceptor import CallInterceptor, _metadata
from server.page_token import PageTokens
from server.passwords import PasswordPolicy
from server.sessions.callers import CallerStates
from server.sessions.successor import new_refresh_token, seal, unseal
from server.tokens import VERIFY_EMAIL, AccessTokens, MailTokens, Verified, digest
from server.users.messages import parse_create_user, parse_email
from server.violations import Violations
from tests.server.identity import new_keys
from tests.server.token_vectors import FORMATS, TTL_S, Format

USER_ID = UUID("018f6b3e-5a1c-7c3d-9a57-000000000001")
SESSION_ID = UUID("018f6b3e-5a1c-7c3d-9a57-000000000002")
KEYS = new_keys(2)
SPECIAL = "\0\n\r\t ,;<>\"'()[]\\%@._-+=/~\u0130\u017f\u200b\u202e\u212a\uff0e\u3002\ufeff\U0001f600é"
EXAMPLES = [500, pytest.param(2_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
many = pytest.mark.parametrize("examples", EXAMPLES)

Result = TypeVar("Result")
Refusal = TypeVar("Refusal", bound=BankError)


@st.composite
def changed(draw: st.DrawFn, originals: list[str], special: str) -> str:
    """A valid text after one to four small changes, at its ends as often as inside."""
    text = draw(st.sampled_from(originals))
    characters = st.one_of(st.sampled_from(special), st.sampled_from(text), st.characters(codec="utf-8"))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.one_of(st.sampled_from([0, len(text)]), st.integers(0, len(text))))
        piece = text[start : start + draw(st.integers(0, 12))]
        if draw(st.booleans()):
            new = draw(st.sampled_from(special)) + piece
        else:
            other = draw(st.sampled_from(originals))[start : start + len(piece)]
            form = draw(st.sampled_from(["NFD", "NFKC"]))
            rewritten = [piece * 2, piece.swapcase(), piece[::-1], other, unicodedata.normalize(form, piece), ""]
            new = draw(st.one_of(st.sampled_from(rewritten), st.text(characters, max_size=6)))
        text = text[:start] + new + text[start + len(piece) :]
    return text


def check(examples: int, originals: list[str], claim: Callable[[str], None], special: str = SPECIAL) -> None:
    """Hold a claim against so many changed texts; `special` are the characters most worth a try."""
    run = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    run(given(changed(originals, special))(claim))()


def attempt(parse: Callable[[], Result], refusal: type[Refusal]) -> Result | Refusal:
    """What was parsed, or the one declared error; any other one passes."""
    try:
        return parse()
    except refusal as refused:
        return refused


def result_of(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine that waits for nothing returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        found: Result = done.value
        return found
    raise AssertionError("it waits")


def tokens_of(wire_format: Format) -> tuple[AccessTokens, list[str]]:
    """Tokens of two keys and sessions, and who verifies them."""
    now = datetime.now(UTC)
    made = [
        AccessTokens(type(KEYS)(keys, b"", b"", b""), wire_format, TTL_S).issue(USER_ID, session_id, now)[0]
        for keys in (KEYS.access_token_keys, KEYS.access_token_keys[::-1])
        for session_id in (SESSION_ID, USER_ID)
    ]
    return AccessTokens(KEYS, wire_format, TTL_S), made


class TestAccessTokens:
    @many
    @pytest.mark.parametrize("wire_format", FORMATS)
    def test_only_what_was_issued_is_accepted(self, wire_format: Format, examples: int) -> None:
        tokens, made = tokens_of(wire_format)

        def claim(text: str) -> None:
            found = attempt(lambda: tokens.verify(text), Unauthenticated)
            if text in made:
                assert isinstance(found, Verified)
                assert found.user_id == USER_ID
            else:
                assert str(found) == str(Unauthenticated())

        check(examples, made, claim)

    @many
    @pytest.mark.parametrize("wire_format", FORMATS)
    def test_header_is_the_word_bearer_and_a_token_as_issued(self, wire_format: Format, examples: int) -> None:
        tokens, made = tokens_of(wire_format)
        # What the ledger checks itself, so that nobody is looked up here.
        interceptor = CallInterceptor({}, tokens, CallerStates(None), "https://bank.example.com")  # type: ignore[arg-type]
        accepted = {f"bearer {token}" for token in made}

        def claim(text: str) -> None:
            _metadata.set({})
            found = attempt(
                lambda: result_of(interceptor._admit(MONEY, {"authorization": text}, None)), Unauthenticated
            )
            assert isinstance(found, Caller) == (text[:7].isascii() and text[:7].lower() + text[7:] in accepted)

        seeds = [f"{scheme} {token}" for scheme in ("Bearer", "bearer", "BEARER") for token in made]
        # Who calls from where is set in a context of its own, not for the tests that follow.
        copy_context().run(check, examples, seeds, claim)


class TestPageTokens:
    @many
    def test_only_what_was_made_for_the_list_is_accepted(self, examples: int) -> None:
        tokens = PageTokens(KEYS.page_token_key)
        scope = ("ListTransfers", str(USER_ID), "reference=x")
        made = {tokens.make(scope, position): position for position in (["1"], ["12", str(SESSION_ID)], ["é\n"], [])}
        others = [tokens.make(("ListAccounts", str(USER_ID)), ["1"]), PageTokens(bytes(32)).make(scope, ["1"])]

        def claim(text: str) -> None:
            found = attempt(lambda: tokens.read(scope, text), InvalidPageToken)
            assert isinstance(found, InvalidPageToken) == (text not in {"", *made})
            if not isinstance(found, InvalidPageToken):
                assert found == made.get(text)

        check(examples, [*made, *others], claim)


class TestMailAndRefreshTokens:
    @many
    def test_digest_finds_the_very_token_only(self, examples: int) -> None:
        """They are looked up by digest: two texts with one digest would be two tokens for one row."""
        made = [MailTokens(KEYS.mail_token_key).make(VERIFY_EMAIL, SESSION_ID, USER_ID), new_refresh_token()]
        digests = {digest(token): token for token in made}

        def claim(text: str) -> None:
            assert digests.get(digest(text), text) == text
            assert len(digest(text)) == 32

        check(examples, made, claim)

    @many
    def test_successor_opens_to_the_presented_token_only(self, examples: int) -> None:
        presented, successor = new_refresh_token(), new_refresh_token()
        sealed = seal(successor, presented)

        def claim(text: str) -> None:
            assert unseal(sealed, text) == (successor if text == presented else None)

        check(examples, [presented], claim)


ADDRESSES = [
    "alice@example.com",
    "Alice.Smith+tag@Mail.Example.CO.uk",
    "o'neil_{x}@xn--bcher-kva.example",
    "a@b.cd",
    f"{'a' * 64}@{'b' * 63}.example",
]


class TestEmailAddresses:
    @many
    def test_accepted_one_is_one_plain_address_to_any_reader(self, examples: int) -> None:
        def claim(text: str) -> None:
            found = attempt(lambda: parse_email(pb.RequestPasswordResetRequest(email=text)), InvalidRequest)
            if isinstance(found, InvalidRequest):
                assert [violation.field for violation in found.violations] == ["email"]
                assert text not in ADDRESSES
                return
            local, _, domain = found.rpartition("@")
            # As it was sent, but for the case of the domain, and the same when sent again.
            assert (local, domain) == (text.rpartition("@")[0], text.rpartition("@")[2].lower())
            assert parse_email(pb.RequestPasswordResetRequest(email=found)) == found
            assert found.isascii()
            assert found.isprintable()
            assert not set(found) & set(' ,;:<>()[]"\\\r\n')
            assert len(found) <= 254
            # The standard library's reading of it, bare and in the header of a mail, is this one address.
            assert Address(addr_spec=found).addr_spec == found
            mail = EmailMessage(policy=email.policy.SMTP)
            mail["To"] = found
            (read,) = email.message_from_bytes(mail.as_bytes(), policy=email.policy.SMTP)["To"].addresses
            assert read.addr_spec == found
            assert read.display_name == ""

        check(examples, ADDRESSES, claim)


NAMES = ["alice", "Alice_Smith-2", "abc", "z" * 32]


class TestUserNames:
    @many
    def test_accepted_one_is_the_one_form_of_its_name(self, examples: int) -> None:
        policy = PasswordPolicy()

        def parsed(username: str) -> str:
            request = pb.CreateUserRequest(
                username=username,
                password="seven blue herons at dusk",
                full_name="Somebody",
                email="somebody@example.com",
            )
            return parse_create_user(request, policy).username

        def claim(text: str) -> None:
            found = attempt(lambda: parsed(text), InvalidRequest)
            if isinstance(found, InvalidRequest):
                assert [violation.field for violation in found.violations] == ["username"]
                assert text not in NAMES
                return
            assert text.isascii()
            assert found == text.lower() == parsed(found)
            assert 3 <= len(found) <= 32
            assert found[0].isalpha()
            assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")

        check(examples, NAMES, claim, "\u0130\u017f\u212a\uff41\u0430\u0660\0\n .A_-9")


class TestIds:
    @many
    def test_accepted_one_is_a_uuid_in_its_36_characters(self, examples: int) -> None:
        def claim(text: str) -> None:
            violations = Violations()
            found = violations.uuid("id", text)
            refused = attempt(violations.raise_if_any, InvalidRequest)
            assert (refused is None) == (text.isascii() and str(found) == text.lower())

        check(examples, [str(USER_ID), str(SESSION_ID).upper()], claim)
