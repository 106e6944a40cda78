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

class AuditEventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_EVENT_TYPE_UNSPECIFIED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_USER_CREATED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_SIGNED_IN: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_SIGN_IN_FAILED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_SIGN_IN_THROTTLED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_SESSION_REVOKED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_ALL_SESSIONS_REVOKED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_REFRESH_TOKEN_REUSED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_SESSION_DISPLACED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_PASSWORD_CHANGED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_PASSWORD_RESET_REQUESTED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_PASSWORD_RESET: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_EMAIL_CHANGE_REQUESTED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_EMAIL_VERIFIED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_EMAIL_CHANGED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_ROLES_CHANGED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_USER_DISABLED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_USER_ENABLED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_ACCOUNT_FROZEN: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_ACCOUNT_UNFROZEN: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_ACCOUNT_CLOSED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_OVERDRAFT_LIMIT_CHANGED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_ADMINISTRATOR_APPOINTED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_EMAIL_CLAIMED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_WEBHOOK_CREATED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_WEBHOOK_UPDATED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_WEBHOOK_SECRET_ROTATED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_WEBHOOK_DELETED: _ClassVar[AuditEventType]
    AUDIT_EVENT_TYPE_WEBHOOK_DISABLED: _ClassVar[AuditEventType]

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
AUDIT_EVENT_TYPE_UNSPECIFIED: AuditEventType
AUDIT_EVENT_TYPE_USER_CREATED: AuditEventType
AUDIT_EVENT_TYPE_SIGNED_IN: AuditEventType
AUDIT_EVENT_TYPE_SIGN_IN_FAILED: AuditEventType
AUDIT_EVENT_TYPE_SIGN_IN_THROTTLED: AuditEventType
AUDIT_EVENT_TYPE_SESSION_REVOKED: AuditEventType
AUDIT_EVENT_TYPE_ALL_SESSIONS_REVOKED: AuditEventType
AUDIT_EVENT_TYPE_REFRESH_TOKEN_REUSED: AuditEventType
AUDIT_EVENT_TYPE_SESSION_DISPLACED: AuditEventType
AUDIT_EVENT_TYPE_PASSWORD_CHANGED: AuditEventType
AUDIT_EVENT_TYPE_PASSWORD_RESET_REQUESTED: AuditEventType
AUDIT_EVENT_TYPE_PASSWORD_RESET: AuditEventType
AUDIT_EVENT_TYPE_EMAIL_CHANGE_REQUESTED: AuditEventType
AUDIT_EVENT_TYPE_EMAIL_VERIFIED: AuditEventType
AUDIT_EVENT_TYPE_EMAIL_CHANGED: AuditEventType
AUDIT_EVENT_TYPE_ROLES_CHANGED: AuditEventType
AUDIT_EVENT_TYPE_USER_DISABLED: AuditEventType
AUDIT_EVENT_TYPE_USER_ENABLED: AuditEventType
AUDIT_EVENT_TYPE_ACCOUNT_FROZEN: AuditEventType
AUDIT_EVENT_TYPE_ACCOUNT_UNFROZEN: AuditEventType
AUDIT_EVENT_TYPE_ACCOUNT_CLOSED: AuditEventType
AUDIT_EVENT_TYPE_OVERDRAFT_LIMIT_CHANGED: AuditEventType
AUDIT_EVENT_TYPE_ADMINISTRATOR_APPOINTED: AuditEventType
AUDIT_EVENT_TYPE_EMAIL_CLAIMED: AuditEventType
AUDIT_EVENT_TYPE_WEBHOOK_CREATED: AuditEventType
AUDIT_EVENT_TYPE_WEBHOOK_UPDATED: AuditEventType
AUDIT_EVENT_TYPE_WEBHOOK_SECRET_ROTATED: AuditEventType
AUDIT_EVENT_TYPE_WEBHOOK_DELETED: AuditEventType
AUDIT_EVENT_TYPE_WEBHOOK_DISABLED: AuditEventType
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

class AuditEvent(_message.Message):
    __slots__ = ("id", "type", "user_id", "actor_user_id", "session_id", "account_id", "client_address", "user_agent", "trace_id", "details", "create_time")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: AuditEventType
    user_id: str
    actor_user_id: str
    session_id: str
    account_id: str
    client_address: str
    user_agent: str
    trace_id: str
    details: _containers.ScalarMap[str, str]
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., type: _Optional[_Union[AuditEventType, str]] = ..., user_id: _Optional[str] = ..., actor_user_id: _Optional[str] = ..., session_id: _Optional[str] = ..., account_id: _Optional[str] = ..., client_address: _Optional[str] = ..., user_agent: _Optional[str] = ..., trace_id: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListAuditEventsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "type", "user_id", "actor_user_id", "start_time", "end_time")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_USER_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    type: AuditEventType
    user_id: str
    actor_user_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., type: _Optional[_Union[AuditEventType, str]] = ..., user_id: _Optional[str] = ..., actor_user_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListAuditEventsResponse(_message.Message):
    __slots__ = ("audit_events", "next_page_token")
    AUDIT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    audit_events: _containers.RepeatedCompositeFieldContainer[AuditEvent]
    next_page_token: str
    def __init__(self, audit_events: _Optional[_Iterable[_Union[AuditEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

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
