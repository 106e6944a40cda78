"""Every type of event that the code can write has a payload, and every payload is of a type that is written."""

import re

from bank.v1.event_service_pb2 import Event
from bank.v1.hold_service_pb2 import HoldState
from bank.v1.transfer_service_pb2 import ScheduledTransferState

from server.events.messages import PAYLOADS
from server.orders.transitions import Step
from tools.generate import ROOT

_TYPE = re.compile(r"""["']([a-z_]+\.[a-z_]+)["']""")
_NOUN_BEFORE_STATE = re.compile(r"'([a-z_]+\.)' \|\| lower\(")
_INSERT = re.compile(r"INSERT INTO events \(type,.*?(?=\n\)|;)", re.DOTALL)
# States that rows are brought to, by the noun they are put after.
_END_STATES = {
    "hold.": ("HOLD_STATE_", HoldState.keys()[2:]),
    "scheduled_transfer.": ("SCHEDULED_TRANSFER_STATE_", ScheduledTransferState.keys()[2:]),
}
# Queries whose callers name the type: those of InsertEvent are read in the modules that call it.
_TOLD_THE_TYPE = {"InsertEvent", "UpdateOrderStates"}


def inserts() -> dict[str, str]:
    """How queries write events, by the name of the query."""
    queries = [
        query
        for path in sorted((ROOT / "db" / "queries").glob("*.sql"))
        for query in path.read_text().split("-- name: ")[1:]
    ]
    return {query.split()[0]: " ".join(_INSERT.findall(query)) for query in queries if "INTO events" in query}


def types_in_sql() -> set[str]:
    found = set()
    for statement in inserts().values():
        found |= set(_TYPE.findall(statement))
        for noun in _NOUN_BEFORE_STATE.findall(statement):
            prefix, states = _END_STATES[noun]
            found |= {noun + state.removeprefix(prefix).lower() for state in states}
    return found


def types_in_python() -> set[str]:
    texts = [path.read_text() for folder in ("server", "worker") for path in (ROOT / folder).rglob("*.py")]
    writing = [text for text in texts if "insert_event(" in text or "publish(" in text]
    return {name for text in writing for name in _TYPE.findall(text)} | set(Step)


class TestPayloads:
    def test_each_field_of_an_event_is_the_payload_of_one_type(self) -> None:
        fields = [field.name for field in Event.DESCRIPTOR.oneofs_by_name["payload"].fields]
        assert sorted(PAYLOADS.values()) == sorted(fields)
        assert [name.replace(".", "_") for name in PAYLOADS] == list(PAYLOADS.values())

    def test_types_that_are_written_are_those_with_a_payload(self) -> None:
        assert types_in_sql() | types_in_python() == PAYLOADS.keys()

    def test_no_other_query_is_told_the_type(self) -> None:
        told = {name for name, statement in inserts().items() if not (_TYPE.search(statement) or "||" in statement)}
        assert told == _TOLD_THE_TYPE
