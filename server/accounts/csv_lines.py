"""The rows of an exported statement as CSV (RFC 4180)."""

import csv
from collections.abc import Iterable
from datetime import datetime
from io import StringIO

from bankdb.entries import ListStatementLinesRow

from server.accounts.statements import Period, Range
from server.timestamps import EARLIEST, LATEST

CONTENT_TYPE = "text/csv; charset=utf-8; header=present"
COLUMNS = (
    "row",
    "time",
    "sequence",
    "transfer_id",
    "kind",
    "description",
    "amount_minor",
    "balance_after_minor",
    "currency_code",
)
# What a spreadsheet takes for the beginning of a formula, also in its wide forms.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def opening_lines(period: Period, whole: Range, currency_code: str) -> bytes:
    """The names of the columns and the balance before the first entry."""
    time = "" if period.start_time == EARLIEST else _time(period.start_time)
    return _lines([COLUMNS, ("OPENING", time, "", "", "", "", "", whole.opening_balance_minor, currency_code)])


def entry_lines(rows: Iterable[ListStatementLinesRow], currency_code: str) -> bytes:
    """One line for each entry."""
    return _lines(
        (
            "ENTRY",
            _time(row.create_time),
            row.sequence,
            row.transfer_id,
            row.kind,
            _text(row.description),
            row.amount_minor,
            row.balance_after_minor,
            currency_code,
        )
        for row in rows
    )


def closing_line(period: Period, whole: Range, currency_code: str) -> bytes:
    """The balance after the last entry."""
    time = "" if period.end_time == LATEST else _time(period.end_time)
    return _lines([("CLOSING", time, "", "", "", "", "", whole.closing_balance_minor, currency_code)])


def _text(value: str) -> str:
    """Free text that no spreadsheet takes for a formula."""
    return f"'{value}" if value.lstrip().startswith(_FORMULA) else value


def _time(value: datetime) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%S.%f}Z"


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
