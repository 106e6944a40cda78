"""Which words of a name are found."""

import pytest

from server.products.search import tsquery_of, words_of


class TestWordsOf:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", []),
            ("-- _!_ --", []),
            ("Red Kite", ["red", "kite"]),
            ("Äpfel & STRASSE, Straße", ["äpfel", "strasse", "strasse"]),
            ("3.5mm jack-plug", ["3", "5mm", "jack", "plug"]),
            ("e\u0301tude", ["étude"]),
            ("ｆｕｌｌ", ["full"]),
            ("snake_case", ["snake", "case"]),
        ],
    )
    def test_words_are_letters_and_digits_without_regard_to_capitals(self, text: str, words: list[str]) -> None:
        assert words_of(text) == words


class TestTsqueryOf:
    def test_every_word_may_go_on(self) -> None:
        assert tsquery_of("Red ki") == "'red':* & 'ki':*"

    def test_nothing_of_the_query_language_gets_through(self) -> None:
        assert tsquery_of("a' | !b:* & (c") == "'a':* & 'b':* & 'c':*"
