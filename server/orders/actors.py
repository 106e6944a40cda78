"""Who acts on an order, and whether they may."""

from typing import NamedTuple
from uuid import UUID

from bankdb import orders as queries
from bankdb.models import Order

from server.caller import Role
from server.database import Connection
from server.errors import EmailNotVerified, Forbidden, NotFound, SessionRevoked, Unauthenticated


class Actor(NamedTuple):
    """Who asks for a step.

    Attributes:
        session_id: None for what the service does by itself, in the name of the user.
    """

    user_id: UUID
    session_id: UUID | None


async def roles_of(connection: Connection, actor: Actor) -> frozenset[Role]:
    """The actor's roles; of the service itself, all.

    Asked before anything is locked, so a refusal comes before all others. The ledger asks again
    under its locks.

    Raises:
        SessionRevoked: The session has ended.
        Unauthenticated: The user is disabled.
        EmailNotVerified: The user moves no money.
    """
    if actor.session_id is None:
        return frozenset(Role)
    row = await queries.get_actor(connection, session_id=actor.session_id, user_id=actor.user_id)
    if row is None or not row.live:
        raise SessionRevoked
    if row.disabled:
        raise Unauthenticated("this user is disabled")
    if not row.email_verified:
        raise EmailNotVerified(actor.user_id)
    return frozenset(map(Role, row.roles))


def check_sees(order: Order | None, order_id: UUID, actor: Actor, roles: frozenset[Role]) -> Order:
    """The order, for its buyer, its merchant and admins.

    Raises:
        NotFound: For everybody else, and if there is none.
    """
    if order is None or not (actor.user_id in (order.buyer_user_id, order.merchant_user_id) or Role.ADMIN in roles):
        raise NotFound("order", order_id)
    return order


def seller_roles(order: Order, actor: Actor, roles: frozenset[Role]) -> frozenset[Role]:
    """The roles of which the actor must have one to act for the seller.

    Raises:
        Forbidden: The actor is neither the order's merchant, a merchant still, nor an admin who
            did not place it.
    """
    wanted: set[Role] = set()
    if actor.user_id == order.merchant_user_id:
        wanted = {Role.MERCHANT, Role.ADMIN}
    elif actor.user_id != order.buyer_user_id:
        wanted = {Role.ADMIN}  # who is not to pay themselves back
    if roles.isdisjoint(wanted):
        raise Forbidden("only its merchant and admins who did not place it ship, deliver and refund an order")
    return frozenset() if actor.session_id is None else frozenset(wanted)
