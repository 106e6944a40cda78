"""Refresh tokens and their sealed successors."""

import pytest

from server.sessions.successor import new_refresh_token, seal, unseal


class TestNewRefreshToken:
    def test_tokens_have_256_bits_and_differ(self) -> None:
        tokens = {new_refresh_token() for _ in range(100)}
        assert len(tokens) == 100
        assert {len(token) for token in tokens} == {43}


class TestSeal:
    def test_presented_token_unseals_its_successor(self) -> None:
        presented, successor = new_refresh_token(), new_refresh_token()
        ciphertext = seal(successor, presented)
        assert unseal(ciphertext, presented) == successor
        assert successor.encode() not in ciphertext

    def test_another_token_does_not(self) -> None:
        presented, successor = new_refresh_token(), new_refresh_token()
        ciphertext = seal(successor, presented)
        for other in (new_refresh_token(), successor, presented[:-1], ""):
            assert unseal(ciphertext, other) is None

    @pytest.mark.parametrize("position", [0, 12, -1])
    def test_changed_ciphertext_does_not(self, position: int) -> None:
        presented = new_refresh_token()
        changed = bytearray(seal(new_refresh_token(), presented))
        changed[position] ^= 1
        assert unseal(bytes(changed), presented) is None

    @pytest.mark.parametrize("ciphertext", [b"", b"\0" * 12])
    def test_missing_ciphertext_does_not(self, ciphertext: bytes) -> None:
        assert unseal(ciphertext, new_refresh_token()) is None

    def test_equal_successors_are_sealed_differently(self) -> None:
        presented, successor = new_refresh_token(), new_refresh_token()
        assert seal(successor, presented) != seal(successor, presented)
