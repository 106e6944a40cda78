"""The one table of states and steps, beside what the database lets be stored."""

from itertools import product

import pytest

from server.orders.transitions import CANCELED, EXPIRED, PLACED, TRANSITIONS, States, Step, after, is_reached

ORDER = ("PLACED", "COMPLETED", "CANCELED", "EXPIRED")
PAYMENT = ("HELD", "PAID", "PARTIALLY_REFUNDED", "REFUNDED", "RELEASED")
FULFILLMENT = ("RESERVED", "SHIPPED", "DELIVERED", "RELEASED")
LEGAL = {
    PLACED,
    CANCELED,
    EXPIRED,
    *(States("PLACED", payment, "SHIPPED") for payment in ("PAID", "PARTIALLY_REFUNDED", "REFUNDED")),
    *(States("COMPLETED", payment, "DELIVERED") for payment in ("PAID", "PARTIALLY_REFUNDED", "REFUNDED")),
}
ALL = [States(*each) for each in product(ORDER, PAYMENT, FULFILLMENT)]


class TestTransitions:
    def test_what_can_be_reached_is_what_is_legal(self) -> None:
        reached, fresh = {PLACED}, {PLACED}
        while fresh:
            fresh = {then for states in fresh for step in Step if (then := after(step, states))} - reached
            reached |= fresh
        assert reached == LEGAL

    def test_no_step_begins_in_a_state_that_cannot_be(self) -> None:
        assert {states for steps in TRANSITIONS.values() for states in steps} <= LEGAL

    @pytest.mark.parametrize("end", [CANCELED, EXPIRED])
    def test_nothing_happens_to_an_order_that_has_ended(self, end: States) -> None:
        assert [step for step in Step if after(step, end)] == []

    def test_nothing_takes_pieces_or_money_back_to_reserved(self) -> None:
        for steps in TRANSITIONS.values():
            for then in steps.values():
                assert then != PLACED

    def test_step_that_was_taken_is_not_taken_again(self) -> None:
        for step, steps in TRANSITIONS.items():
            for states, then in steps.items():
                assert not is_reached(step, states)
                if step in (Step.SHIP, Step.DELIVER, Step.CANCEL):
                    assert is_reached(step, then)

    def test_shipping_stays_reached_after_delivery_and_refunds(self) -> None:
        reached = {states for states in LEGAL if is_reached(Step.SHIP, states)}
        assert reached == {states for states in LEGAL if states.fulfillment in ("SHIPPED", "DELIVERED")}
        assert [states for states in LEGAL if is_reached(Step.EXPIRE, states)] == []
