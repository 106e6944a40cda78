"""What a field may be, at each boundary."""

import unicodedata
from types import MappingProxyType
from uuid import UUID

import pytest

from server.errors import InvalidRequest, UnknownCurrency
from server.violations import NIL, Violations
from tests.timing import shortest_s

SAMPLE = "018f6b3e-5a1c-7c3d-9a57-0242ac120002"
COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"
COPTIC_EPACT, HEBREW_YOD = "\U000102e1", "\ufb1d"  # the second is two characters once it is composed


@pytest.fixture
def check() -> Violations:
    return Violations()


def found(check: Violations) -> list[tuple[str, str]]:
    """Field and description of every violation; empty if there is none."""
    try:
        check.raise_if_any()
    except InvalidRequest as error:
        return [(violation.field, violation.description) for violation in error.violations]
    return []


class TestUuid:
    @pytest.mark.parametrize("value", [SAMPLE, SAMPLE.upper(), str(NIL), "ffffffff-ffff-ffff-ffff-ffffffffffff"])
    def test_canonical_form_in_any_case_is_taken(self, check: Violations, value: str) -> None:
        assert check.uuid("id", value) == UUID(value)
        assert found(check) == []

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "me",
            SAMPLE[:-1],
            SAMPLE + "0",
            SAMPLE.replace("-", ""),
            f"{{{SAMPLE}}}",
            f"urn:uuid:{SAMPLE}",
            f" {SAMPLE[1:]}",
            f"{SAMPLE}\n",
            "018f6b3e-5a1c-7c3d-9a57-0242ac12000g",
            "0-1-8-f-6b3e5a1c7c3d9a570242ac120002",
            "018f6b3e5-a1c-7c3d-9a57-0242ac120002",
            "0x8f6b3e-5a1c-7c3d-9a57-0242ac120002",
            "018f_b3e-5a1c-7c3d-9a57-0242ac120002",
            "\u0660\u0661\u0668f6b3e-5a1c-7c3d-9a57-0242ac120002",
        ],
    )
    def test_any_other_form_is_refused(self, check: Violations, value: str) -> None:
        assert check.uuid("id", value) == NIL
        assert found(check) == [("id", f"must be a UUID such as {SAMPLE}")]


class TestRequestId:
    @pytest.mark.parametrize(("field", "header"), [(SAMPLE, ""), ("", SAMPLE), (SAMPLE, SAMPLE.upper())])
    def test_field_and_header_are_one(self, check: Violations, field: str, header: str) -> None:
        assert check.request_id(field, header) == UUID(SAMPLE)
        assert found(check) == []

    def test_field_and_header_that_differ_are_refused(self, check: Violations) -> None:
        check.request_id(SAMPLE, SAMPLE[:-1] + "3")
        assert found(check) == [("request_id", "differs from the header Idempotency-Key: send one of them")]

    @pytest.mark.parametrize(("field", "header"), [("", ""), ("1", ""), ("", "1")])
    def test_missing_or_malformed_is_refused(self, check: Violations, field: str, header: str) -> None:
        check.request_id(field, header)
        assert found(check) == [("request_id", f"must be a UUID such as {SAMPLE}")]


class TestAmount:
    @pytest.mark.parametrize("value", [1, 10**17])
    def test_bounds_are_taken(self, check: Violations, value: int) -> None:
        assert check.amount("amount_minor", value) == value
        assert found(check) == []

    @pytest.mark.parametrize("value", [0, -1, 10**17 + 1, 2**63 - 1, -(2**63)])
    def test_beyond_the_bounds_is_refused(self, check: Violations, value: int) -> None:
        check.amount("amount_minor", value)
        assert found(check) == [("amount_minor", "must be 1 to 100000000000000000 minor units")]


class TestCurrency:
    KNOWN = MappingProxyType({"USD": 2, "JPY": 0})

    def test_known_code_is_taken(self, check: Violations) -> None:
        assert check.currency("currency_code", "JPY", self.KNOWN) == "JPY"
        assert found(check) == []

    def test_empty_code_is_a_violation(self, check: Violations) -> None:
        check.currency("currency_code", "", self.KNOWN)
        assert found(check) == [("currency_code", "must be an ISO 4217 code such as USD")]

    @pytest.mark.parametrize("value", ["usd", "XAU", "US", "USDX", "USD ", "\uff35\uff33\uff24", "U" * 5000])
    def test_unknown_code_has_its_own_reason_and_is_told_shortened(self, check: Violations, value: str) -> None:
        check.currency("currency_code", value, self.KNOWN)
        with pytest.raises(UnknownCurrency) as refused:
            check.raise_if_any()
        assert refused.value.metadata == {"currency_code": value[:16]}

    def test_unknown_code_beside_another_violation_is_told_with_it(self, check: Violations) -> None:
        check.currency("currency_code", "usd", self.KNOWN)
        check.amount("amount_minor", 0)
        with pytest.raises(InvalidRequest) as refused:
            check.raise_if_any()
        assert refused.value.reason == "INVALID_REQUEST"
        assert {violation.field for violation in refused.value.violations} == {"currency_code", "amount_minor"}


class TestText:
    @pytest.mark.parametrize("value", ["", "a", "a" * 10, COMPOSED * 10, DECOMPOSED * 10, COPTIC_EPACT * 10, "🏦" * 10])
    def test_lengths_count_composed_characters(self, check: Violations, value: str) -> None:
        check.text("name", value, longest=10)
        assert found(check) == []

    @pytest.mark.parametrize("value", ["a" * 11, COMPOSED * 11, DECOMPOSED * 11, HEBREW_YOD * 6])
    def test_one_more_is_refused(self, check: Violations, value: str) -> None:
        check.text("name", value, longest=10)
        assert found(check) == [("name", "must have 0 to 10 characters")]

    def test_too_short_is_refused(self, check: Violations) -> None:
        check.text("name", "", longest=10, shortest=1)
        assert found(check) == [("name", "must have 1 to 10 characters")]

    def test_longest_text_is_taken_decomposed(self, check: Violations) -> None:
        four = "\u1f82"  # of four characters once it is decomposed
        decomposed = unicodedata.normalize("NFD", four * 200)
        assert (len(decomposed), check.text("description", decomposed, longest=200)) == (800, four * 200)

    def test_marks_without_end_are_refused_in_no_time(self, check: Violations) -> None:
        marks = "e" + "\u0301" * 20_000 + "\u0327" * 20_000
        assert shortest_s(lambda: Violations().text("description", marks, longest=200)) < 0.05
        check.text("description", marks, longest=200)
        assert found(check) == [("description", "must have 0 to 200 characters")]

    def test_two_forms_of_one_text_become_the_same(self, check: Violations) -> None:
        assert check.text("name", f"caf{DECOMPOSED}", longest=10) == f"caf{COMPOSED}"
        assert found(check) == []

    @pytest.mark.parametrize(
        "character",
        [*"\0\t\n\r\x1b\x7f\x85\x9b\u2028\u2029\ud800", *"\u061c\u200e\u200f\u202a\u202e\u2066\u2069"],
    )
    def test_character_that_disguises_a_text_is_refused(self, check: Violations, character: str) -> None:
        assert check.text("name", f"a{character}b", longest=10) == ""
        assert found(check) == [("name", "must not contain control or direction characters")]

    @pytest.mark.parametrize("value", ["مرحبا", "שלום", "नमस्ते", "👩\u200d👧", "a b"])
    def test_ordinary_text_of_any_script_is_taken(self, check: Violations, value: str) -> None:
        assert check.text("name", value, longest=10) == value
        assert found(check) == []


class TestMetadata:
    def test_twenty_keys_and_exactly_a_kibibyte_are_taken(self, check: Violations) -> None:
        labels = {f"k{number:02}": "" for number in range(20)}
        labels["k00"] = COMPOSED * ((1024 - 3 * 20) // 2)
        assert sum(len((key + value).encode()) for key, value in labels.items()) == 1024
        assert check.metadata("metadata", labels) == labels
        assert found(check) == []

    def test_no_labels_are_none(self, check: Violations) -> None:
        assert check.metadata("metadata", {}) == {}
        assert found(check) == []

    def test_one_key_more_is_refused(self, check: Violations) -> None:
        check.metadata("metadata", {f"k{number}": "" for number in range(21)})
        assert found(check) == [("metadata", "must have at most 20 keys")]

    def test_one_byte_more_is_refused(self, check: Violations) -> None:
        check.metadata("metadata", {"key": "v" * 1022})
        assert found(check) == [("metadata", "must have at most 1024 bytes of keys and values")]

    @pytest.mark.parametrize("labels", [{"": "v"}, {"a\nb": "v"}, {"k": "\u202e"}])
    def test_each_key_and_value_is_a_text(self, check: Violations, labels: dict[str, str]) -> None:
        check.metadata("metadata", labels)
        assert [field for field, _ in found(check)] == ["metadata"]

    def test_keys_and_values_are_composed(self, check: Violations) -> None:
        assert check.metadata("metadata", {DECOMPOSED: DECOMPOSED}) == {COMPOSED: COMPOSED}
        assert found(check) == []

    def test_keys_that_are_one_text_are_refused(self, check: Violations) -> None:
        """Composed they would be one key, and one of the values would be lost."""
        check.metadata("metadata", {COMPOSED: "1", DECOMPOSED: "2"})
        assert [field for field, _ in found(check)] == ["metadata"]


class TestPageSize:
    @pytest.mark.parametrize(
        ("asked", "given"), [(0, 50), (1, 1), (50, 50), (200, 200), (201, 200), (1001, 200), (2**31 - 1, 200)]
    )
    def test_size_is_bounded(self, check: Violations, asked: int, given: int) -> None:
        assert check.page_size(asked) == given
        assert found(check) == []

    @pytest.mark.parametrize("asked", [-1, -(2**31)])
    def test_negative_size_is_refused(self, check: Violations, asked: int) -> None:
        check.page_size(asked)
        assert found(check) == [("page_size", "must not be negative")]


class TestUpdateMask:
    ALLOWED = ("full_name", "email")

    @pytest.mark.parametrize("paths", [["email"], ["full_name", "email"]])
    def test_allowed_paths_are_taken(self, check: Violations, paths: list[str]) -> None:
        assert check.update_mask(paths, self.ALLOWED) == set(paths)
        assert found(check) == []

    def test_empty_mask_says_what_may_be_named(self, check: Violations) -> None:
        check.update_mask([], self.ALLOWED)
        assert found(check) == [("update_mask", "must name what to change, of: email, full_name")]

    @pytest.mark.parametrize("paths", [["email", "email"], ["roles"], ["*"], ["email", "roles"], [""]])
    def test_repeated_or_unknown_path_is_refused(self, check: Violations, paths: list[str]) -> None:
        check.update_mask(paths, self.ALLOWED)
        assert found(check) == [("update_mask", "may name each of these once: email, full_name")]


class TestRaiseIfAny:
    def test_violations_come_in_the_order_they_were_found(self, check: Violations) -> None:
        check.amount("amount_minor", 0)
        check.uuid("id", "x")
        check.page_size(-1)
        assert [field for field, _ in found(check)] == ["amount_minor", "id", "page_size"]

    def test_message_names_every_field(self, check: Violations) -> None:
        check.uuid("id", "x")
        check.page_size(-1)
        with pytest.raises(InvalidRequest, match=f"^id: must be a UUID such as {SAMPLE}; page_size: must not be neg"):
            check.raise_if_any()
