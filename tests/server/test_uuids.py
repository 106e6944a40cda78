"""The driver's UUIDs take the place of Python's own, so they have to behave alike."""

from uuid import UUID, uuid4

import pytest

from server.uuids import uuid_of_bytes, uuid_of_text

STANDARD = uuid4()


class TestUuids:
    @pytest.mark.parametrize("made", [uuid_of_text(str(STANDARD)), uuid_of_bytes(STANDARD.bytes)])
    def test_equal_in_every_way_that_is_relied_on(self, made: UUID) -> None:
        assert isinstance(made, UUID)
        assert (made, hash(made), str(made), made.bytes) == (STANDARD, hash(STANDARD), str(STANDARD), STANDARD.bytes)
        assert {STANDARD: "found"}[made] == {made: "found"}[STANDARD] == "found"
        # The fingerprints of requests, kept for ever, are made of it.
        assert repr(made) == repr(STANDARD)
        assert (made < UUID(int=STANDARD.int + 1), made.version) == (True, 4)

    def test_upper_case_is_the_same(self) -> None:
        assert uuid_of_text(str(STANDARD).upper()) == STANDARD

    @pytest.mark.parametrize("text", ["", "x" * 36, str(STANDARD)[:-1]])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="UUID"):
            uuid_of_text(text)

    def test_other_lengths_are_refused(self) -> None:
        with pytest.raises(ValueError, match="bytes"):
            uuid_of_bytes(b"too few")
