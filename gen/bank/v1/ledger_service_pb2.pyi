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
    LEDGER_RULE_CHAIN: _ClassVar[LedgerRule]
    LEDGER_RULE_PAYMENT: _ClassVar[LedgerRule]
    LEDGER_RULE_STOCK: _ClassVar[LedgerRule]
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
LEDGER_RULE_CHAIN: LedgerRule
LEDGER_RULE_PAYMENT: LedgerRule
LEDGER_RULE_STOCK: LedgerRule

class LedgerDifference(_message.Message):
    __slots__ = ("rule", "subject", "expected", "actual", "detail")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    rule: LedgerRule
    subject: str
    expected: int
    actual: int
    detail: str
    def __init__(self, rule: _Optional[_Union[LedgerRule, str]] = ..., subject: _Optional[str] = ..., expected: _Optional[int] = ..., actual: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class Currency(_message.Message):
    __slots__ = ("currency_code", "minor_unit_digits", "name")
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    MINOR_UNIT_DIGITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    currency_code: str
    minor_unit_digits: int
    name: str
    def __init__(self, currency_code: _Optional[str] = ..., minor_unit_digits: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class LedgerHead(_message.Message):
    __slots__ = ("position", "hash", "block_count")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    BLOCK_COUNT_FIELD_NUMBER: _ClassVar[int]
    position: int
    hash: str
    block_count: int
    def __init__(self, position: _Optional[int] = ..., hash: _Optional[str] = ..., block_count: _Optional[int] = ...) -> None: ...

class VerifyLedgerRequest(_message.Message):
    __slots__ = ("expected_head_position", "expected_head_hash")
    EXPECTED_HEAD_POSITION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_HEAD_HASH_FIELD_NUMBER: _ClassVar[int]
    expected_head_position: int
    expected_head_hash: str
    def __init__(self, expected_head_position: _Optional[int] = ..., expected_head_hash: _Optional[str] = ...) -> None: ...

class VerifyLedgerResponse(_message.Message):
    __slots__ = ("consistent", "differences", "account_count", "transfer_count", "entry_count", "snapshot_time", "head")
    CONSISTENT_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TIME_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    consistent: bool
    differences: _containers.RepeatedCompositeFieldContainer[LedgerDifference]
    account_count: int
    transfer_count: int
    entry_count: int
    snapshot_time: _timestamp_pb2.Timestamp
    head: LedgerHead
    def __init__(self, consistent: _Optional[bool] = ..., differences: _Optional[_Iterable[_Union[LedgerDifference, _Mapping]]] = ..., account_count: _Optional[int] = ..., transfer_count: _Optional[int] = ..., entry_count: _Optional[int] = ..., snapshot_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., head: _Optional[_Union[LedgerHead, _Mapping]] = ...) -> None: ...

class CurrencyBalance(_message.Message):
    __slots__ = ("currency_code", "customer_posted_minor", "cash_posted_minor", "difference_minor", "held_minor", "customer_account_count")
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_POSTED_MINOR_FIELD_NUMBER: _ClassVar[int]
    CASH_POSTED_MINOR_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_MINOR_FIELD_NUMBER: _ClassVar[int]
    HELD_MINOR_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ACCOUNT_COUNT_FIELD_NUMBER: _ClassVar[int]
    currency_code: str
    customer_posted_minor: int
    cash_posted_minor: int
    difference_minor: int
    held_minor: int
    customer_account_count: int
    def __init__(self, currency_code: _Optional[str] = ..., customer_posted_minor: _Optional[int] = ..., cash_posted_minor: _Optional[int] = ..., difference_minor: _Optional[int] = ..., held_minor: _Optional[int] = ..., customer_account_count: _Optional[int] = ...) -> None: ...

class GetTrialBalanceRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTrialBalanceResponse(_message.Message):
    __slots__ = ("balances", "snapshot_time")
    BALANCES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TIME_FIELD_NUMBER: _ClassVar[int]
    balances: _containers.RepeatedCompositeFieldContainer[CurrencyBalance]
    snapshot_time: _timestamp_pb2.Timestamp
    def __init__(self, balances: _Optional[_Iterable[_Union[CurrencyBalance, _Mapping]]] = ..., snapshot_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListCurrenciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCurrenciesResponse(_message.Message):
    __slots__ = ("currencies",)
    CURRENCIES_FIELD_NUMBER: _ClassVar[int]
    currencies: _containers.RepeatedCompositeFieldContainer[Currency]
    def __init__(self, currencies: _Optional[_Iterable[_Union[Currency, _Mapping]]] = ...) -> None: ...
