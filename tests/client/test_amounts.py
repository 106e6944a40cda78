import pytest

from client.amounts import to_decimal, to_minor


class TestToMinor:
    @pytest.mark.parametrize(
        ("amount", "digits", "minor"),
        [
            ("12.34", 2, 1234),
            ("12.3", 2, 1230),
            ("12", 2, 1200),
            ("0.01", 2, 1),
            ("500", 0, 500),
            ("1.005", 3, 1005),
            # Beyond what a float or a default Decimal keeps.
            ("99999999999999999.99", 2, 9999999999999999999),
        ],
    )
    def test_amount_is_converted_exactly(self, amount: str, digits: int, minor: int) -> None:
        assert to_minor(amount, digits) == minor

    @pytest.mark.parametrize("amount", ["", "abc", "-5", "+5", "1e3", "nan", "1,000.00", " 1", ".5", "5.", "١"])
    def test_anything_but_a_plain_number_is_refused(self, amount: str) -> None:
        with pytest.raises(ValueError, match="is no amount"):
            to_minor(amount, 2)

    @pytest.mark.parametrize(("amount", "digits"), [("12.345", 2), ("12.340", 2), ("1.0", 0)])
    def test_more_decimals_than_the_currency_has_are_refused(self, amount: str, digits: int) -> None:
        with pytest.raises(ValueError, match="decimals"):
            to_minor(amount, digits)


class TestToDecimal:
    @pytest.mark.parametrize(
        ("minor", "digits", "amount"),
        [(1234, 2, "12.34"), (5, 2, "0.05"), (-5, 2, "-0.05"), (0, 2, "0.00"), (-500, 0, "-500"), (1005, 3, "1.005")],
    )
    def test_amount_has_all_decimals_of_the_currency(self, minor: int, digits: int, amount: str) -> None:
        assert to_decimal(minor, digits) == amount
