"""Which words of a product's name are looked for, and how.

Words are made here and not by the database, whose idea of letters and capitals depends on how it
was set up.
"""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words of a text, letters and digits without regard to capitals and forms of characters."""
    return _WORD.findall(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))


def tsquery_of(query: str) -> str:
    """A tsquery that finds texts with all words of the query, each possibly going on; empty if there is none."""
    return " & ".join(f"'{word}':*" for word in words_of(query))
