"""Who and what a local system is filled with: the same for the same numbers, on every machine."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from uuid import UUID, uuid5

_REQUEST_IDS = UUID("0d0c5a52-6c0e-4a3b-9f6e-3f3a7b0e54c1")
_GIVEN_NAMES = (
    *("Ada", "Amir", "Anna", "Bilal", "Carlos", "Chen", "Clara", "Daniel", "Elena", "Emeka", "Fatima", "Felix"),
    *("Grace", "Hana", "Hugo", "Ines", "Ivan", "Jonas", "Julia", "Kenji", "Lars", "Leila", "Lucía", "Marek"),
    *("Maya", "Mehmet", "Nadia", "Noah", "Olga", "Omar", "Priya", "Rosa", "Samuel", "Sofia", "Tomás", "Zoë"),
)
_FAMILY_NAMES = (
    *("Abe", "Ali", "Andersen", "Bauer", "Brown", "Costa", "Dubois", "Fischer", "García", "Haddad", "Hansen", "Ito"),
    *("Jensen", "Kaya", "Khan", "Kim", "Kowalski", "Lopez", "Martin", "Mensah", "Meyer", "Moreau", "Müller", "Nagy"),
    *("Nguyen", "Novak", "Okafor", "Patel", "Popescu", "Rossi", "Santos", "Sato", "Silva", "Singh", "Wang", "Weber"),
)
_QUALITIES = (
    "Blue",
    "Folding",
    "Heavy",
    "Light",
    "Little",
    "Oak",
    "Old",
    "Red",
    "Round",
    "Steel",
    "Striped",
    "Woollen",
)
_THINGS = (
    "Basket",
    "Bench",
    "Blanket",
    "Clock",
    "Kettle",
    "Kite",
    "Lamp",
    "Mirror",
    "Mug",
    "Rucksack",
    "Shelf",
    "Tent",
)
_LINES_MAX = 3
_PIECES = (1, 1, 1, 1, 2, 2, 3)
_POCKET_MONEY_MINOR = 5_000_00


class Fate(StrEnum):
    """What becomes of an order."""

    OPEN = "open"
    CANCELED = "canceled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Customer:
    """A user to sign up."""

    username: str
    full_name: str
    email: str


@dataclass(frozen=True, slots=True)
class Ware:
    """A product to offer."""

    number: int
    name: str
    description: str
    price_minor: int
    initial_quantity: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order to place.

    Attributes:
        pieces: By the number of the product.
    """

    number: int
    pieces: dict[int, int]
    fate: Fate


@dataclass(frozen=True)
class Population:
    """So many users who bought so much of so many products.

    Users and products are the same whatever the other numbers are, so that a larger population holds
    the smaller ones; orders belong to one number of users and products.
    """

    user_count: int
    product_count: int
    order_count: int

    @cached_property
    def customers(self) -> list[Customer]:
        return [_customer(number) for number in range(self.user_count)]

    @cached_property
    def wares(self) -> list[Ware]:
        return [_ware(number) for number in range(self.product_count)]

    @cached_property
    def purchases(self) -> dict[Customer, list[Purchase]]:
        """The orders of those who have any; a few products are in most of them."""
        found: defaultdict[Customer, list[Purchase]] = defaultdict(list)
        popularity = list(accumulate(1 / rank for rank in range(1, self.product_count + 1)))
        for number in range(self.order_count):
            draw = _dice(f"order {number}{self._scope}")
            customer = draw.choice(self.customers)
            pieces = Counter[int]()
            for product in draw.choices(
                range(self.product_count), cum_weights=popularity, k=draw.randint(1, _LINES_MAX)
            ):
                pieces[product] += draw.choice(_PIECES)
            fate = draw.choices(list(Fate), weights=(3, 1, 2, 8))[0]
            found[customer].append(Purchase(number, dict(pieces), fate))
        return found

    @cached_property
    def pieces(self) -> Counter[int]:
        """How many of each product are bought, by its number."""
        return sum((Counter(each.pieces) for orders in self.purchases.values() for each in orders), Counter[int]())

    def spending_minor(self, customer: Customer) -> int:
        """What a customer needs for their orders, and something to spend."""
        prices = [ware.price_minor for ware in self.wares]
        bought = (each.pieces.items() for each in self.purchases.get(customer, ()))
        return _POCKET_MONEY_MINOR + sum(prices[product] * pieces for items in bought for product, pieces in items)

    def request_id(self, step: str) -> UUID:
        """That of something done for this population, the same in every run."""
        return uuid5(_REQUEST_IDS, f"{step}{self._scope}")

    def product_request_id(self, ware: Ware) -> UUID:
        """That of a product, which populations share."""
        return uuid5(_REQUEST_IDS, f"product {ware.number}")

    @property
    def _scope(self) -> str:
        return f" of {self.user_count} users and {self.product_count} products"


def _dice(what: str) -> random.Random:
    return random.Random(what)  # noqa: S311 - the same data in every run


def _customer(number: int) -> Customer:
    draw = _dice(f"user {number}")
    given, family = draw.choice(_GIVEN_NAMES), draw.choice(_FAMILY_NAMES)
    plain = given.translate(str.maketrans("áëí", "aei")).lower()
    username = f"{plain}-{number:05}"
    return Customer(username, f"{given} {family}", f"{username}@example.com")


def _ware(number: int) -> Ware:
    draw = _dice(f"product {number}")
    name = f"{draw.choice(_QUALITIES)} {draw.choice(_THINGS)} {number + 1}"
    price_minor = round(draw.lognormvariate(7.5, 0.8)) + 99
    return Ware(number, name, f"A {name.lower()}, made to last.", price_minor, draw.randint(20, 200))
