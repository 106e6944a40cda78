import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LedgerRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEDGER_RULE_UNSPECIFIED: _ClassVar[LedgerRule]
    LEDGER_RULE_ZERO_SUM: _ClassVar[LedgerRule]
    LEDGER_RULE_BALANCE: _ClassVar[LedgerRule]
    LEDGER_RULE_BALANCE_CHAIN: _ClassVar[LedgerRule]
    LEDGER_RULE_SEQUENCE: _ClassVar[LedgerRule]
    LEDGER_RULE_TWO_ENTRIES: _ClassVar[LedgerRule]
    LEDGER_RULE_LIMIT: _ClassVar[LedgerRule]
    LEDGER_RULE_HELD: _ClassVar[LedgerRule]
    LEDGER_RULE_CAPTURE: _ClassVar[LedgerRule]
    LEDGER_RULE_REVERSAL: _ClassVar[LedgerRule]
LEDGER_RULE_UNSPECIFIED: LedgerRule
LEDGER_RULE_ZERO_SUM: LedgerRule
LEDGER_RULE_BALANCE: LedgerRule
LEDGER_RULE_BALANCE_CHAIN: LedgerRule
LEDGER_RULE_SEQUENCE: LedgerRule
LEDGER_RULE_TWO_ENTRIES: LedgerRule
LEDGER_RULE_LIMIT: LedgerRule
LEDGER_RULE_HELD: LedgerRule
LEDGER_RULE_CAPTURE: LedgerRule
LEDGER_RULE_REVERSAL: LedgerRule

class LedgerDifference(_message.Message):
    __slots__ = ("rule", "subject", "expected", "actual")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    rule: LedgerRule
    subject: str
    expected: int
    actual: int
    def __init__(self, rule: _Optional[_Union[LedgerRule, str]] = ..., subject: _Optional[str] = ..., expected: _Optional[int] = ..., actual: _Optional[int] = ...) -> None: ...

class Currency(_message.Message):
    __slots__ = ("currency_code", "minor_unit_digits", "name")
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    MINOR_UNIT_DIGITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    currency_code: str
    minor_unit_digits: int
    name: str
    def __init__(self, currency_code: _Optional[str] = ..., minor_unit_digits: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class VerifyLedgerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyLedgerResponse(_message.Message):
    __slots__ = ("consistent", "differences", "account_count", "transfer_count", "entry_count", "snapshot_time")
    CONSISTENT_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TIME_FIELD_NUMBER: _ClassVar[int]
    consistent: bool
    differences: _containers.RepeatedCompositeFieldContainer[LedgerDifference]
    account_count: int
    transfer_count: int
    entry_count: int
    snapshot_time: _timestamp_pb2.Timestamp
    def __init__(self, consistent: _Optional[bool] = ..., differences: _Optional[_Iterable[_Union[LedgerDifference, _Mapping]]] = ..., account_count: _Optional[int] = ..., transfer_count: _Optional[int] = ..., entry_count: _Optional[int] = ..., snapshot_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListCurrenciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCurrenciesResponse(_message.Message):
    __slots__ = ("currencies",)
    CURRENCIES_FIELD_NUMBER: _ClassVar[int]
    currencies: _containers.RepeatedCompositeFieldContainer[Currency]
    def __init__(self, currencies: _Optional[_Iterable[_Union[Currency, _Mapping]]] = ...) -> None: ...
