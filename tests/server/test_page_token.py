"""Page tokens: good for one caller, list and filter, and only as they were made."""

import base64
import json
from hashlib import sha256

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.errors import InvalidPageToken
from server.page_token import PageTokens

UNHURRIED = settings(deadline=None)  # a busy machine is no failure
TOKENS = PageTokens(bytes(range(32)))
SCOPES = st.lists(st.text(max_size=40), max_size=6).map(tuple)
POSITIONS = st.lists(st.text(max_size=40), max_size=3)


def refused(tokens: PageTokens, scope: tuple[str, ...], token: str) -> bool:
    try:
        tokens.read(scope, token)
    except InvalidPageToken:
        return True
    return False


class TestRead:
    @UNHURRIED
    @given(SCOPES, POSITIONS)
    def test_made_token_gives_its_position(self, scope: tuple[str, ...], position: list[str]) -> None:
        token = TOKENS.make(scope, position)
        assume(len(token) <= 1024)
        assert TOKENS.read(scope, token) == position

    def test_empty_token_is_the_first_page(self) -> None:
        assert TOKENS.read(("transfers",), "") is None

    def test_token_is_the_same_in_every_process(self) -> None:
        assert PageTokens(bytes(range(32))).read(("a",), TOKENS.make(("a",), ["1"])) == ["1"]

    @UNHURRIED
    @given(POSITIONS, st.data())
    def test_any_altered_character_is_refused(self, position: list[str], data: st.DataObject) -> None:
        token = TOKENS.make(("transfers", "alice"), position)
        place = data.draw(st.integers(0, len(token) - 1))
        other = data.draw(st.characters(exclude_characters=token[place]))
        assert refused(TOKENS, ("transfers", "alice"), token[:place] + other + token[place + 1 :])

    def test_every_altered_bit_is_refused(self) -> None:
        scope = ("transfers", "alice")
        raw = bytearray(base64.urlsafe_b64decode(TOKENS.make(scope, ["12345", "678901"]) + "=="))
        for bit in range(len(raw) * 8):
            raw[bit // 8] ^= 1 << bit % 8
            assert refused(TOKENS, scope, base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))
            raw[bit // 8] ^= 1 << bit % 8

    @UNHURRIED
    @given(SCOPES, SCOPES, POSITIONS)
    def test_other_scope_is_refused(self, made: tuple[str, ...], read: tuple[str, ...], position: list[str]) -> None:
        assume(made != read)
        assert refused(TOKENS, read, TOKENS.make(made, position))

    @pytest.mark.parametrize("other", [("ab", "c"), ("abc",), ("a", "b", "c"), ("a", "bc", ""), ('a","bc',)])
    def test_scope_is_not_its_joined_text(self, other: tuple[str, ...]) -> None:
        assert refused(TOKENS, other, TOKENS.make(("a", "bc"), ["1"]))

    @UNHURRIED
    @given(st.binary(min_size=32, max_size=32))
    def test_other_key_is_refused(self, key: bytes) -> None:
        assume(key != bytes(range(32)))
        assert refused(TOKENS, ("transfers",), PageTokens(key).make(("transfers",), ["1"]))

    @UNHURRIED
    @given(st.text(min_size=1, max_size=1100))
    def test_what_nobody_made_is_refused(self, token: str) -> None:
        assert refused(TOKENS, ("transfers",), token)

    @pytest.mark.parametrize("change", ["{}=", "{}==", "{}\n", " {}", "{}A", "{}.", "{0}{0}"])
    def test_decoration_is_refused(self, change: str) -> None:
        assert refused(TOKENS, ("transfers",), change.format(TOKENS.make(("transfers",), ["1"])))

    def test_spare_bits_of_the_last_character_are_refused(self) -> None:
        """Several texts stand for the same bytes; one of them is ours."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        token = TOKENS.make(("transfers",), ["12"])
        assert len(token) % 4 != 0
        for character in alphabet.replace(token[-1], ""):
            assert refused(TOKENS, ("transfers",), token[:-1] + character)

    def test_long_token_is_refused_unread(self) -> None:
        position = ["x" * 2000]
        assert refused(TOKENS, ("transfers",), TOKENS.make(("transfers",), position))
        assert refused(TOKENS, ("transfers",), "A" * 10_240)

    def test_unsigned_and_self_signed_positions_are_refused(self) -> None:
        payload = json.dumps(["0"]).encode()
        for mac in (b"", bytes(16), sha256(payload).digest()[:16]):
            assert refused(TOKENS, ("transfers",), base64.urlsafe_b64encode(mac + payload).decode().rstrip("="))

    def test_refusal_says_which_field_is_wrong(self) -> None:
        with pytest.raises(InvalidPageToken) as error:
            TOKENS.read(("transfers",), "x")
        assert [violation.field for violation in error.value.violations] == ["page_token"]


class TestMake:
    @UNHURRIED
    @given(SCOPES, POSITIONS)
    def test_token_is_safe_in_a_url(self, scope: tuple[str, ...], position: list[str]) -> None:
        assert set(TOKENS.make(scope, position)) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        )
