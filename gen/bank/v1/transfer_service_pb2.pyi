import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TransferKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSFER_KIND_UNSPECIFIED: _ClassVar[TransferKind]
    TRANSFER_KIND_TRANSFER: _ClassVar[TransferKind]
    TRANSFER_KIND_DEPOSIT: _ClassVar[TransferKind]
    TRANSFER_KIND_WITHDRAWAL: _ClassVar[TransferKind]
    TRANSFER_KIND_CAPTURE: _ClassVar[TransferKind]
    TRANSFER_KIND_REVERSAL: _ClassVar[TransferKind]

class BatchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_MODE_UNSPECIFIED: _ClassVar[BatchMode]
    BATCH_MODE_ATOMIC: _ClassVar[BatchMode]
    BATCH_MODE_INDEPENDENT: _ClassVar[BatchMode]

class ScheduledTransferState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCHEDULED_TRANSFER_STATE_UNSPECIFIED: _ClassVar[ScheduledTransferState]
    SCHEDULED_TRANSFER_STATE_SCHEDULED: _ClassVar[ScheduledTransferState]
    SCHEDULED_TRANSFER_STATE_POSTED: _ClassVar[ScheduledTransferState]
    SCHEDULED_TRANSFER_STATE_FAILED: _ClassVar[ScheduledTransferState]
    SCHEDULED_TRANSFER_STATE_CANCELED: _ClassVar[ScheduledTransferState]
TRANSFER_KIND_UNSPECIFIED: TransferKind
TRANSFER_KIND_TRANSFER: TransferKind
TRANSFER_KIND_DEPOSIT: TransferKind
TRANSFER_KIND_WITHDRAWAL: TransferKind
TRANSFER_KIND_CAPTURE: TransferKind
TRANSFER_KIND_REVERSAL: TransferKind
BATCH_MODE_UNSPECIFIED: BatchMode
BATCH_MODE_ATOMIC: BatchMode
BATCH_MODE_INDEPENDENT: BatchMode
SCHEDULED_TRANSFER_STATE_UNSPECIFIED: ScheduledTransferState
SCHEDULED_TRANSFER_STATE_SCHEDULED: ScheduledTransferState
SCHEDULED_TRANSFER_STATE_POSTED: ScheduledTransferState
SCHEDULED_TRANSFER_STATE_FAILED: ScheduledTransferState
SCHEDULED_TRANSFER_STATE_CANCELED: ScheduledTransferState

class Transfer(_message.Message):
    __slots__ = ("id", "request_id", "kind", "source_account_id", "destination_account_id", "amount_minor", "currency_code", "description", "reference", "metadata", "reverses_transfer_id", "reversed_amount_minor", "hold_id", "order_id", "create_time")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REVERSES_TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    REVERSED_AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    request_id: str
    kind: TransferKind
    source_account_id: str
    destination_account_id: str
    amount_minor: int
    currency_code: str
    description: str
    reference: str
    metadata: _containers.ScalarMap[str, str]
    reverses_transfer_id: str
    reversed_amount_minor: int
    hold_id: str
    order_id: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., request_id: _Optional[str] = ..., kind: _Optional[_Union[TransferKind, str]] = ..., source_account_id: _Optional[str] = ..., destination_account_id: _Optional[str] = ..., amount_minor: _Optional[int] = ..., currency_code: _Optional[str] = ..., description: _Optional[str] = ..., reference: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., reverses_transfer_id: _Optional[str] = ..., reversed_amount_minor: _Optional[int] = ..., hold_id: _Optional[str] = ..., order_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("account_id", "transfer_id", "amount_minor", "balance_after_minor", "sequence", "create_time")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    BALANCE_AFTER_MINOR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    transfer_id: str
    amount_minor: int
    balance_after_minor: int
    sequence: int
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, account_id: _Optional[str] = ..., transfer_id: _Optional[str] = ..., amount_minor: _Optional[int] = ..., balance_after_minor: _Optional[int] = ..., sequence: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateTransferRequest(_message.Message):
    __slots__ = ("request_id", "source_account_id", "destination_account_id", "amount_minor", "currency_code", "description", "reference", "metadata", "validate_only")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    source_account_id: str
    destination_account_id: str
    amount_minor: int
    currency_code: str
    description: str
    reference: str
    metadata: _containers.ScalarMap[str, str]
    validate_only: bool
    def __init__(self, request_id: _Optional[str] = ..., source_account_id: _Optional[str] = ..., destination_account_id: _Optional[str] = ..., amount_minor: _Optional[int] = ..., currency_code: _Optional[str] = ..., description: _Optional[str] = ..., reference: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CreateTransferResponse(_message.Message):
    __slots__ = ("transfer", "replayed", "entries")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    replayed: bool
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ..., replayed: _Optional[bool] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class BatchCreateTransfersRequest(_message.Message):
    __slots__ = ("transfers", "mode")
    TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    transfers: _containers.RepeatedCompositeFieldContainer[CreateTransferRequest]
    mode: BatchMode
    def __init__(self, transfers: _Optional[_Iterable[_Union[CreateTransferRequest, _Mapping]]] = ..., mode: _Optional[_Union[BatchMode, str]] = ...) -> None: ...

class BatchCreateTransfersResult(_message.Message):
    __slots__ = ("transfer", "status", "replayed")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    status: _status_pb2.Status
    replayed: bool
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class BatchCreateTransfersResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchCreateTransfersResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchCreateTransfersResult, _Mapping]]] = ...) -> None: ...

class ReverseTransferRequest(_message.Message):
    __slots__ = ("transfer_id", "request_id", "amount_minor", "full", "description")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    request_id: str
    amount_minor: int
    full: bool
    description: str
    def __init__(self, transfer_id: _Optional[str] = ..., request_id: _Optional[str] = ..., amount_minor: _Optional[int] = ..., full: _Optional[bool] = ..., description: _Optional[str] = ...) -> None: ...

class ReverseTransferResponse(_message.Message):
    __slots__ = ("transfer", "replayed", "entries")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    replayed: bool
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ..., replayed: _Optional[bool] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class GetTransferRequest(_message.Message):
    __slots__ = ("transfer_id",)
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    def __init__(self, transfer_id: _Optional[str] = ...) -> None: ...

class GetTransferResponse(_message.Message):
    __slots__ = ("transfer",)
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ...) -> None: ...

class ListTransfersRequest(_message.Message):
    __slots__ = ("account_id", "start_time", "end_time", "kind", "reference", "page_size", "page_token", "metadata_key", "metadata_value")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    METADATA_KEY_FIELD_NUMBER: _ClassVar[int]
    METADATA_VALUE_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    kind: TransferKind
    reference: str
    page_size: int
    page_token: str
    metadata_key: str
    metadata_value: str
    def __init__(self, account_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[TransferKind, str]] = ..., reference: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., metadata_key: _Optional[str] = ..., metadata_value: _Optional[str] = ...) -> None: ...

class ListTransfersResponse(_message.Message):
    __slots__ = ("transfers", "next_page_token")
    TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    transfers: _containers.RepeatedCompositeFieldContainer[Transfer]
    next_page_token: str
    def __init__(self, transfers: _Optional[_Iterable[_Union[Transfer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ScheduledTransfer(_message.Message):
    __slots__ = ("id", "source_account_id", "destination_account_id", "amount_minor", "currency_code", "description", "reference", "execute_time", "state", "transfer_id", "failure_reason", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    EXECUTE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    source_account_id: str
    destination_account_id: str
    amount_minor: int
    currency_code: str
    description: str
    reference: str
    execute_time: _timestamp_pb2.Timestamp
    state: ScheduledTransferState
    transfer_id: str
    failure_reason: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., source_account_id: _Optional[str] = ..., destination_account_id: _Optional[str] = ..., amount_minor: _Optional[int] = ..., currency_code: _Optional[str] = ..., description: _Optional[str] = ..., reference: _Optional[str] = ..., execute_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[ScheduledTransferState, str]] = ..., transfer_id: _Optional[str] = ..., failure_reason: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateScheduledTransferRequest(_message.Message):
    __slots__ = ("request_id", "source_account_id", "destination_account_id", "amount_minor", "currency_code", "description", "reference", "execute_time")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    EXECUTE_TIME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    source_account_id: str
    destination_account_id: str
    amount_minor: int
    currency_code: str
    description: str
    reference: str
    execute_time: _timestamp_pb2.Timestamp
    def __init__(self, request_id: _Optional[str] = ..., source_account_id: _Optional[str] = ..., destination_account_id: _Optional[str] = ..., amount_minor: _Optional[int] = ..., currency_code: _Optional[str] = ..., description: _Optional[str] = ..., reference: _Optional[str] = ..., execute_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateScheduledTransferResponse(_message.Message):
    __slots__ = ("scheduled_transfer", "replayed")
    SCHEDULED_TRANSFER_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    scheduled_transfer: ScheduledTransfer
    replayed: bool
    def __init__(self, scheduled_transfer: _Optional[_Union[ScheduledTransfer, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class GetScheduledTransferRequest(_message.Message):
    __slots__ = ("scheduled_transfer_id",)
    SCHEDULED_TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    scheduled_transfer_id: str
    def __init__(self, scheduled_transfer_id: _Optional[str] = ...) -> None: ...

class GetScheduledTransferResponse(_message.Message):
    __slots__ = ("scheduled_transfer",)
    SCHEDULED_TRANSFER_FIELD_NUMBER: _ClassVar[int]
    scheduled_transfer: ScheduledTransfer
    def __init__(self, scheduled_transfer: _Optional[_Union[ScheduledTransfer, _Mapping]] = ...) -> None: ...

class ListScheduledTransfersRequest(_message.Message):
    __slots__ = ("account_id", "state", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    state: ScheduledTransferState
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., state: _Optional[_Union[ScheduledTransferState, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListScheduledTransfersResponse(_message.Message):
    __slots__ = ("scheduled_transfers", "next_page_token")
    SCHEDULED_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    scheduled_transfers: _containers.RepeatedCompositeFieldContainer[ScheduledTransfer]
    next_page_token: str
    def __init__(self, scheduled_transfers: _Optional[_Iterable[_Union[ScheduledTransfer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelScheduledTransferRequest(_message.Message):
    __slots__ = ("scheduled_transfer_id",)
    SCHEDULED_TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    scheduled_transfer_id: str
    def __init__(self, scheduled_transfer_id: _Optional[str] = ...) -> None: ...

class CancelScheduledTransferResponse(_message.Message):
    __slots__ = ("scheduled_transfer",)
    SCHEDULED_TRANSFER_FIELD_NUMBER: _ClassVar[int]
    scheduled_transfer: ScheduledTransfer
    def __init__(self, scheduled_transfer: _Optional[_Union[ScheduledTransfer, _Mapping]] = ...) -> None: ...
