"""The refusal that only orders meet; part of the tree in server/errors.py."""

from server.errors import RuleBroken


class PriceChanged(RuleBroken):
    """The order costs something else than its buyer has seen. Amounts in minor units."""

    reason = "PRICE_CHANGED"

    def __init__(self, expected_total_minor: int, total_minor: int) -> None:
        super().__init__(
            f"the order costs {total_minor}, {expected_total_minor} was expected (minor units):"
            " look at the prices again, then order with a new total",
            str(total_minor),
        )
        self.expected_total_minor = expected_total_minor

    @property
    def metadata(self) -> dict[str, str]:
        return {"total_minor": self.subject, "expected_total_minor": str(self.expected_total_minor)}
