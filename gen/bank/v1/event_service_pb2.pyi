import datetime

from bank.v1 import account_service_pb2 as _account_service_pb2
from bank.v1 import hold_service_pb2 as _hold_service_pb2
from bank.v1 import order_service_pb2 as _order_service_pb2
from bank.v1 import product_service_pb2 as _product_service_pb2
from bank.v1 import transfer_service_pb2 as _transfer_service_pb2
from bank.v1 import user_service_pb2 as _user_service_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    END_REASON_UNSPECIFIED: _ClassVar[EndReason]
    END_REASON_TOKEN_EXPIRED: _ClassVar[EndReason]
    END_REASON_SESSION_ENDED: _ClassVar[EndReason]
    END_REASON_ROLES_CHANGED: _ClassVar[EndReason]
    END_REASON_SERVER_STOPPING: _ClassVar[EndReason]
    END_REASON_DATABASE_UNAVAILABLE: _ClassVar[EndReason]
END_REASON_UNSPECIFIED: EndReason
END_REASON_TOKEN_EXPIRED: EndReason
END_REASON_SESSION_ENDED: EndReason
END_REASON_ROLES_CHANGED: EndReason
END_REASON_SERVER_STOPPING: EndReason
END_REASON_DATABASE_UNAVAILABLE: EndReason

class Event(_message.Message):
    __slots__ = ("cursor", "id", "type", "subject_id", "create_time", "user_created", "user_verified", "user_disabled", "user_enabled", "user_roles_changed", "account_created", "account_updated", "account_frozen", "account_unfrozen", "account_closed", "transfer_posted", "transfer_reversed", "hold_created", "hold_captured", "hold_voided", "hold_expired", "scheduled_transfer_created", "scheduled_transfer_canceled", "scheduled_transfer_posted", "scheduled_transfer_failed", "product_created", "product_updated", "product_archived", "inventory_adjusted", "order_created", "order_shipped", "order_delivered", "order_canceled", "order_expired", "order_partially_refunded", "order_refunded")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    USER_CREATED_FIELD_NUMBER: _ClassVar[int]
    USER_VERIFIED_FIELD_NUMBER: _ClassVar[int]
    USER_DISABLED_FIELD_NUMBER: _ClassVar[int]
    USER_ENABLED_FIELD_NUMBER: _ClassVar[int]
    USER_ROLES_CHANGED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_CREATED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_UPDATED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FROZEN_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_UNFROZEN_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_CLOSED_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_POSTED_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_REVERSED_FIELD_NUMBER: _ClassVar[int]
    HOLD_CREATED_FIELD_NUMBER: _ClassVar[int]
    HOLD_CAPTURED_FIELD_NUMBER: _ClassVar[int]
    HOLD_VOIDED_FIELD_NUMBER: _ClassVar[int]
    HOLD_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_TRANSFER_CREATED_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_TRANSFER_CANCELED_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_TRANSFER_POSTED_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_TRANSFER_FAILED_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_CREATED_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_UPDATED_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_ADJUSTED_FIELD_NUMBER: _ClassVar[int]
    ORDER_CREATED_FIELD_NUMBER: _ClassVar[int]
    ORDER_SHIPPED_FIELD_NUMBER: _ClassVar[int]
    ORDER_DELIVERED_FIELD_NUMBER: _ClassVar[int]
    ORDER_CANCELED_FIELD_NUMBER: _ClassVar[int]
    ORDER_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    ORDER_PARTIALLY_REFUNDED_FIELD_NUMBER: _ClassVar[int]
    ORDER_REFUNDED_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    id: str
    type: str
    subject_id: str
    create_time: _timestamp_pb2.Timestamp
    user_created: UserFacts
    user_verified: UserFacts
    user_disabled: UserFacts
    user_enabled: UserFacts
    user_roles_changed: UserFacts
    account_created: AccountFacts
    account_updated: AccountFacts
    account_frozen: AccountFacts
    account_unfrozen: AccountFacts
    account_closed: AccountFacts
    transfer_posted: _transfer_service_pb2.Transfer
    transfer_reversed: _transfer_service_pb2.Transfer
    hold_created: _hold_service_pb2.Hold
    hold_captured: _hold_service_pb2.Hold
    hold_voided: _hold_service_pb2.Hold
    hold_expired: _hold_service_pb2.Hold
    scheduled_transfer_created: _transfer_service_pb2.ScheduledTransfer
    scheduled_transfer_canceled: _transfer_service_pb2.ScheduledTransfer
    scheduled_transfer_posted: _transfer_service_pb2.ScheduledTransfer
    scheduled_transfer_failed: _transfer_service_pb2.ScheduledTransfer
    product_created: ProductFacts
    product_updated: ProductFacts
    product_archived: ProductFacts
    inventory_adjusted: InventoryFacts
    order_created: OrderFacts
    order_shipped: OrderFacts
    order_delivered: OrderFacts
    order_canceled: OrderFacts
    order_expired: OrderFacts
    order_partially_refunded: OrderFacts
    order_refunded: OrderFacts
    def __init__(self, cursor: _Optional[str] = ..., id: _Optional[str] = ..., type: _Optional[str] = ..., subject_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_created: _Optional[_Union[UserFacts, _Mapping]] = ..., user_verified: _Optional[_Union[UserFacts, _Mapping]] = ..., user_disabled: _Optional[_Union[UserFacts, _Mapping]] = ..., user_enabled: _Optional[_Union[UserFacts, _Mapping]] = ..., user_roles_changed: _Optional[_Union[UserFacts, _Mapping]] = ..., account_created: _Optional[_Union[AccountFacts, _Mapping]] = ..., account_updated: _Optional[_Union[AccountFacts, _Mapping]] = ..., account_frozen: _Optional[_Union[AccountFacts, _Mapping]] = ..., account_unfrozen: _Optional[_Union[AccountFacts, _Mapping]] = ..., account_closed: _Optional[_Union[AccountFacts, _Mapping]] = ..., transfer_posted: _Optional[_Union[_transfer_service_pb2.Transfer, _Mapping]] = ..., transfer_reversed: _Optional[_Union[_transfer_service_pb2.Transfer, _Mapping]] = ..., hold_created: _Optional[_Union[_hold_service_pb2.Hold, _Mapping]] = ..., hold_captured: _Optional[_Union[_hold_service_pb2.Hold, _Mapping]] = ..., hold_voided: _Optional[_Union[_hold_service_pb2.Hold, _Mapping]] = ..., hold_expired: _Optional[_Union[_hold_service_pb2.Hold, _Mapping]] = ..., scheduled_transfer_created: _Optional[_Union[_transfer_service_pb2.ScheduledTransfer, _Mapping]] = ..., scheduled_transfer_canceled: _Optional[_Union[_transfer_service_pb2.ScheduledTransfer, _Mapping]] = ..., scheduled_transfer_posted: _Optional[_Union[_transfer_service_pb2.ScheduledTransfer, _Mapping]] = ..., scheduled_transfer_failed: _Optional[_Union[_transfer_service_pb2.ScheduledTransfer, _Mapping]] = ..., product_created: _Optional[_Union[ProductFacts, _Mapping]] = ..., product_updated: _Optional[_Union[ProductFacts, _Mapping]] = ..., product_archived: _Optional[_Union[ProductFacts, _Mapping]] = ..., inventory_adjusted: _Optional[_Union[InventoryFacts, _Mapping]] = ..., order_created: _Optional[_Union[OrderFacts, _Mapping]] = ..., order_shipped: _Optional[_Union[OrderFacts, _Mapping]] = ..., order_delivered: _Optional[_Union[OrderFacts, _Mapping]] = ..., order_canceled: _Optional[_Union[OrderFacts, _Mapping]] = ..., order_expired: _Optional[_Union[OrderFacts, _Mapping]] = ..., order_partially_refunded: _Optional[_Union[OrderFacts, _Mapping]] = ..., order_refunded: _Optional[_Union[OrderFacts, _Mapping]] = ...) -> None: ...

class UserFacts(_message.Message):
    __slots__ = ("user_id", "username", "roles")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    username: str
    roles: _containers.RepeatedScalarFieldContainer[_user_service_pb2.Role]
    def __init__(self, user_id: _Optional[str] = ..., username: _Optional[str] = ..., roles: _Optional[_Iterable[_Union[_user_service_pb2.Role, str]]] = ...) -> None: ...

class AccountFacts(_message.Message):
    __slots__ = ("account_id", "owner_user_id", "currency_code", "state", "version", "changed_fields")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_USER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    owner_user_id: str
    currency_code: str
    state: _account_service_pb2.AccountState
    version: int
    changed_fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, account_id: _Optional[str] = ..., owner_user_id: _Optional[str] = ..., currency_code: _Optional[str] = ..., state: _Optional[_Union[_account_service_pb2.AccountState, str]] = ..., version: _Optional[int] = ..., changed_fields: _Optional[_Iterable[str]] = ...) -> None: ...

class ProductFacts(_message.Message):
    __slots__ = ("product_id", "merchant_user_id", "name", "price_minor", "currency_code", "state", "version", "changed_fields", "initial_quantity")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    MERCHANT_USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_QUANTITY_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    merchant_user_id: str
    name: str
    price_minor: int
    currency_code: str
    state: _product_service_pb2.ProductState
    version: int
    changed_fields: _containers.RepeatedScalarFieldContainer[str]
    initial_quantity: int
    def __init__(self, product_id: _Optional[str] = ..., merchant_user_id: _Optional[str] = ..., name: _Optional[str] = ..., price_minor: _Optional[int] = ..., currency_code: _Optional[str] = ..., state: _Optional[_Union[_product_service_pb2.ProductState, str]] = ..., version: _Optional[int] = ..., changed_fields: _Optional[_Iterable[str]] = ..., initial_quantity: _Optional[int] = ...) -> None: ...

class InventoryFacts(_message.Message):
    __slots__ = ("product_id", "merchant_user_id", "delta", "on_hand", "reserved", "available", "reason")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    MERCHANT_USER_ID_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    ON_HAND_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    merchant_user_id: str
    delta: int
    on_hand: int
    reserved: int
    available: int
    reason: str
    def __init__(self, product_id: _Optional[str] = ..., merchant_user_id: _Optional[str] = ..., delta: _Optional[int] = ..., on_hand: _Optional[int] = ..., reserved: _Optional[int] = ..., available: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class OrderFacts(_message.Message):
    __slots__ = ("order_id", "buyer_user_id", "merchant_user_id", "total_minor", "currency_code", "state", "payment_state", "fulfillment_state", "transfer_id", "amount_minor")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    BUYER_USER_ID_FIELD_NUMBER: _ClassVar[int]
    MERCHANT_USER_ID_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_STATE_FIELD_NUMBER: _ClassVar[int]
    FULFILLMENT_STATE_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    buyer_user_id: str
    merchant_user_id: str
    total_minor: int
    currency_code: str
    state: _order_service_pb2.OrderState
    payment_state: _order_service_pb2.PaymentState
    fulfillment_state: _order_service_pb2.FulfillmentState
    transfer_id: str
    amount_minor: int
    def __init__(self, order_id: _Optional[str] = ..., buyer_user_id: _Optional[str] = ..., merchant_user_id: _Optional[str] = ..., total_minor: _Optional[int] = ..., currency_code: _Optional[str] = ..., state: _Optional[_Union[_order_service_pb2.OrderState, str]] = ..., payment_state: _Optional[_Union[_order_service_pb2.PaymentState, str]] = ..., fulfillment_state: _Optional[_Union[_order_service_pb2.FulfillmentState, str]] = ..., transfer_id: _Optional[str] = ..., amount_minor: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("cursor",)
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    def __init__(self, cursor: _Optional[str] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ("cursor", "reason")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    reason: EndReason
    def __init__(self, cursor: _Optional[str] = ..., reason: _Optional[_Union[EndReason, str]] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("after_cursor", "types", "page_size")
    AFTER_CURSOR_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    after_cursor: str
    types: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    def __init__(self, after_cursor: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_cursor", "complete")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    next_cursor: str
    complete: bool
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., complete: _Optional[bool] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("after_cursor", "types")
    AFTER_CURSOR_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    after_cursor: str
    types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, after_cursor: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("event", "heartbeat", "end")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    event: Event
    heartbeat: Heartbeat
    end: End
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ...) -> None: ...

class StreamEventsRequest(_message.Message):
    __slots__ = ("after_cursor", "types")
    AFTER_CURSOR_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    after_cursor: str
    types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, after_cursor: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ...) -> None: ...
