"""Amounts between what people write and minor units."""

import re

_AMOUNT = re.compile(r"([0-9]{1,18})(?:\.([0-9]+))?")


def to_minor(amount: str, minor_unit_digits: int) -> int:
    """Minor units of a decimal amount: 12.34 with two digits is 1234; nothing is rounded.

    Raises:
        ValueError: It is no plain number, or has more decimals than the currency.
    """
    match = _AMOUNT.fullmatch(amount)
    if match is None:
        raise ValueError(f"{amount!r} is no amount: write it like 12.34")
    decimals = match[2] or ""
    if len(decimals) > minor_unit_digits:
        raise ValueError(f"{amount} has more than the {minor_unit_digits} decimals of its currency")
    return int(match[1] + decimals.ljust(minor_unit_digits, "0"))


def to_decimal(amount_minor: int, minor_unit_digits: int) -> str:
    """How people write an amount of minor units: 1234 with two digits is 12.34."""
    whole, decimals = divmod(abs(amount_minor), 10**minor_unit_digits)
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{whole}.{decimals:0{minor_unit_digits}d}" if minor_unit_digits else f"{sign}{whole}"
