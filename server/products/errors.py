"""Refusals about products and their stock; part of the tree in server/errors.py."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from server.errors import RuleBroken

_NAMED_MAX = 3


class Shortage(NamedTuple):
    """A product of which more is wanted than is available, in pieces."""

    product_id: UUID
    wanted: int
    available: int


class OutOfStock(RuleBroken):
    """More pieces are wanted than are available, of one product or of several.

    Attributes:
        wanted: How many of each product, in the order of the product ids in `subject`.
        available: How many there are of each.
    """

    reason = "OUT_OF_STOCK"

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        named = "; ".join(
            f"of product {each.product_id} {each.available} are available, {each.wanted} are wanted"
            for each in shortages[:_NAMED_MAX]
        )
        more = len(shortages) - _NAMED_MAX
        super().__init__(
            f"{named}; and {more} more products are short" if more > 0 else named,
            ",".join(str(each.product_id) for each in shortages),
        )
        self.wanted = tuple(str(each.wanted) for each in shortages)
        self.available = tuple(str(each.available) for each in shortages)

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "product_ids": self.subject,
            "wanted": ",".join(self.wanted),
            "available": ",".join(self.available),
        }


class ProductArchived(RuleBroken):
    """An archived product is neither ordered nor changed."""

    reason = "PRODUCT_ARCHIVED"

    def __init__(self, product_id: UUID) -> None:
        super().__init__(f"product {product_id} is not sold any more", product_id)

    @property
    def metadata(self) -> dict[str, str]:
        return {"product_id": self.subject}
