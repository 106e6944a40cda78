"""Every state of an order, and every step from one to another: the one table of them.

The constraint `orders_states_legal` repeats which states there are.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class States(NamedTuple):
    """The three states of an order, as stored."""

    order: str
    payment: str
    fulfillment: str


class Step(StrEnum):
    """What can happen to an order after it was placed; the names are those of the events."""

    SHIP = "order.shipped"
    DELIVER = "order.delivered"
    CANCEL = "order.canceled"
    EXPIRE = "order.expired"
    REFUND_PART = "order.partially_refunded"
    REFUND_REST = "order.refunded"


PLACED = States("PLACED", "HELD", "RESERVED")
CANCELED = States("CANCELED", "RELEASED", "RELEASED")
EXPIRED = States("EXPIRED", "RELEASED", "RELEASED")

_PAID = ("PAID", "PARTIALLY_REFUNDED", "REFUNDED")
_SENT = (("PLACED", "SHIPPED"), ("COMPLETED", "DELIVERED"))


def _after_refund(payment_after: str) -> dict[States, States]:
    return {
        States(order, payment, fulfillment): States(order, payment_after, fulfillment)
        for order, fulfillment in _SENT
        for payment in ("PAID", "PARTIALLY_REFUNDED")
    }


TRANSITIONS: Mapping[Step, Mapping[States, States]] = {
    Step.SHIP: {PLACED: States("PLACED", "PAID", "SHIPPED")},
    Step.DELIVER: {
        States("PLACED", payment, "SHIPPED"): States("COMPLETED", payment, "DELIVERED") for payment in _PAID
    },
    Step.CANCEL: {PLACED: CANCELED},
    Step.EXPIRE: {PLACED: EXPIRED},
    Step.REFUND_PART: _after_refund("PARTIALLY_REFUNDED"),
    Step.REFUND_REST: _after_refund("REFUNDED"),
}


def after(step: Step, states: States) -> States | None:
    """Where the step leads; None if it is not for an order in these states."""
    return TRANSITIONS[step].get(states)


def is_reached(step: Step, states: States) -> bool:
    """Whether the step was taken before, so that taking it again changes nothing."""
    if step is Step.SHIP:
        return states.fulfillment in ("SHIPPED", "DELIVERED")
    if step is Step.DELIVER:
        return states.fulfillment == "DELIVERED"
    return step is Step.CANCEL and states == CANCELED
