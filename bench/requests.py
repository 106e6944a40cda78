"""Transfers that the load consists of, made before a run so that making them takes no time of it."""

import random
from collections.abc import Iterator

from bank.v1.account_service_pb2 import ListEntriesRequest
from bank.v1.order_service_pb2 import CreateOrderRequest, ProductQuantity
from bank.v1.transfer_service_pb2 import BatchCreateTransfersRequest, BatchMode, CreateTransferRequest
from uuid_utils.compat import uuid4

from bench.bank import Bank, Owner

UNIFORM = "uniform"
"""From one owner's accounts to anybody's."""
HOT_DESTINATION = "hot destination"
"""All to one account."""
HOT_SOURCE = "hot source"
"""All from one account."""
ORDERS = "orders"
"""No transfers, but orders of one piece each."""


def transfers(bank: Bank, owner: Owner, pattern: str, seed: int) -> Iterator[CreateTransferRequest]:
    """Transfers of 1 with new request ids, without end; the accounts are the same for one seed."""
    draw = random.Random(seed)  # noqa: S311 - the same load in every run
    accounts = [str(account_id) for each in bank.owners for account_id in each.account_ids]
    own = [str(account_id) for account_id in owner.account_ids]
    while True:
        source = own[0] if pattern == HOT_SOURCE else draw.choice(own)
        destination = accounts[-1] if pattern == HOT_DESTINATION else draw.choice(accounts)
        if source != destination:
            yield CreateTransferRequest(
                request_id=str(uuid4()),
                source_account_id=source,
                destination_account_id=destination,
                amount_minor=1,
                currency_code="USD",
            )


def orders(bank: Bank, owner: Owner, seed: int) -> Iterator[CreateOrderRequest]:
    """Orders of one piece of anybody else's product, paid from the owner's accounts, without end."""
    draw = random.Random(seed)  # noqa: S311 - the same load in every run
    offered = [str(product_id) for each in bank.owners if each is not owner for product_id in each.product_ids]
    own = [str(account_id) for account_id in owner.account_ids]
    while True:
        yield CreateOrderRequest(
            request_id=str(uuid4()),
            payment_account_id=draw.choice(own),
            items=[ProductQuantity(product_id=draw.choice(offered), quantity=1)],
        )


def readings(owner: Owner, seed: int) -> Iterator[ListEntriesRequest]:
    """First pages of the entries of the owner's accounts, without end."""
    draw = random.Random(seed)  # noqa: S311 - the same load in every run
    while True:
        yield ListEntriesRequest(account_id=str(draw.choice(owner.account_ids)), page_size=20)


def batches(bank: Bank, owner: Owner, size: int, seed: int) -> Iterator[BatchCreateTransfersRequest]:
    """Independent batches of such transfers, without end."""
    source = transfers(bank, owner, UNIFORM, seed)
    while True:
        yield BatchCreateTransfersRequest(
            transfers=[next(source) for _ in range(size)], mode=BatchMode.BATCH_MODE_INDEPENDENT
        )


def delimited(message: bytes) -> bytes:
    """A message after its length as a varint, as protobuf streams are written."""
    length, head = len(message), bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((*head, length)) + message
