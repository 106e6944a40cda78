import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProductState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRODUCT_STATE_UNSPECIFIED: _ClassVar[ProductState]
    PRODUCT_STATE_ACTIVE: _ClassVar[ProductState]
    PRODUCT_STATE_ARCHIVED: _ClassVar[ProductState]

class InventoryMovementKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INVENTORY_MOVEMENT_KIND_UNSPECIFIED: _ClassVar[InventoryMovementKind]
    INVENTORY_MOVEMENT_KIND_ADJUSTED: _ClassVar[InventoryMovementKind]
    INVENTORY_MOVEMENT_KIND_RESERVED: _ClassVar[InventoryMovementKind]
    INVENTORY_MOVEMENT_KIND_RELEASED: _ClassVar[InventoryMovementKind]
    INVENTORY_MOVEMENT_KIND_SHIPPED: _ClassVar[InventoryMovementKind]
    INVENTORY_MOVEMENT_KIND_RESTOCKED: _ClassVar[InventoryMovementKind]
PRODUCT_STATE_UNSPECIFIED: ProductState
PRODUCT_STATE_ACTIVE: ProductState
PRODUCT_STATE_ARCHIVED: ProductState
INVENTORY_MOVEMENT_KIND_UNSPECIFIED: InventoryMovementKind
INVENTORY_MOVEMENT_KIND_ADJUSTED: InventoryMovementKind
INVENTORY_MOVEMENT_KIND_RESERVED: InventoryMovementKind
INVENTORY_MOVEMENT_KIND_RELEASED: InventoryMovementKind
INVENTORY_MOVEMENT_KIND_SHIPPED: InventoryMovementKind
INVENTORY_MOVEMENT_KIND_RESTOCKED: InventoryMovementKind

class Product(_message.Message):
    __slots__ = ("id", "merchant_user_id", "name", "description", "price_minor", "currency_code", "settlement_account_id", "on_hand", "reserved", "available", "state", "version", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    MERCHANT_USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    SETTLEMENT_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    ON_HAND_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    merchant_user_id: str
    name: str
    description: str
    price_minor: int
    currency_code: str
    settlement_account_id: str
    on_hand: int
    reserved: int
    available: int
    state: ProductState
    version: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., merchant_user_id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., price_minor: _Optional[int] = ..., currency_code: _Optional[str] = ..., settlement_account_id: _Optional[str] = ..., on_hand: _Optional[int] = ..., reserved: _Optional[int] = ..., available: _Optional[int] = ..., state: _Optional[_Union[ProductState, str]] = ..., version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateProductRequest(_message.Message):
    __slots__ = ("request_id", "name", "description", "price_minor", "currency_code", "settlement_account_id", "initial_quantity")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    SETTLEMENT_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    INITIAL_QUANTITY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    name: str
    description: str
    price_minor: int
    currency_code: str
    settlement_account_id: str
    initial_quantity: int
    def __init__(self, request_id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., price_minor: _Optional[int] = ..., currency_code: _Optional[str] = ..., settlement_account_id: _Optional[str] = ..., initial_quantity: _Optional[int] = ...) -> None: ...

class CreateProductResponse(_message.Message):
    __slots__ = ("product", "replayed")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    product: Product
    replayed: bool
    def __init__(self, product: _Optional[_Union[Product, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class GetProductRequest(_message.Message):
    __slots__ = ("product_id",)
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    def __init__(self, product_id: _Optional[str] = ...) -> None: ...

class GetProductResponse(_message.Message):
    __slots__ = ("product",)
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    product: Product
    def __init__(self, product: _Optional[_Union[Product, _Mapping]] = ...) -> None: ...

class ListProductsRequest(_message.Message):
    __slots__ = ("query", "merchant_user_id", "state", "page_size", "page_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MERCHANT_USER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: str
    merchant_user_id: str
    state: ProductState
    page_size: int
    page_token: str
    def __init__(self, query: _Optional[str] = ..., merchant_user_id: _Optional[str] = ..., state: _Optional[_Union[ProductState, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProductsResponse(_message.Message):
    __slots__ = ("products", "next_page_token")
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    products: _containers.RepeatedCompositeFieldContainer[Product]
    next_page_token: str
    def __init__(self, products: _Optional[_Iterable[_Union[Product, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateProductRequest(_message.Message):
    __slots__ = ("product", "update_mask")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    product: Product
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, product: _Optional[_Union[Product, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateProductResponse(_message.Message):
    __slots__ = ("product",)
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    product: Product
    def __init__(self, product: _Optional[_Union[Product, _Mapping]] = ...) -> None: ...

class ArchiveProductRequest(_message.Message):
    __slots__ = ("product_id",)
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    def __init__(self, product_id: _Optional[str] = ...) -> None: ...

class ArchiveProductResponse(_message.Message):
    __slots__ = ("product",)
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    product: Product
    def __init__(self, product: _Optional[_Union[Product, _Mapping]] = ...) -> None: ...

class AdjustInventoryRequest(_message.Message):
    __slots__ = ("product_id", "request_id", "delta", "to_zero", "reason")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    TO_ZERO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    request_id: str
    delta: int
    to_zero: bool
    reason: str
    def __init__(self, product_id: _Optional[str] = ..., request_id: _Optional[str] = ..., delta: _Optional[int] = ..., to_zero: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class AdjustInventoryResponse(_message.Message):
    __slots__ = ("product", "replayed")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    product: Product
    replayed: bool
    def __init__(self, product: _Optional[_Union[Product, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class InventoryMovement(_message.Message):
    __slots__ = ("product_id", "sequence", "kind", "on_hand_change", "reserved_change", "on_hand_after", "reserved_after", "user_id", "order_id", "reason", "create_time")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ON_HAND_CHANGE_FIELD_NUMBER: _ClassVar[int]
    RESERVED_CHANGE_FIELD_NUMBER: _ClassVar[int]
    ON_HAND_AFTER_FIELD_NUMBER: _ClassVar[int]
    RESERVED_AFTER_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    sequence: int
    kind: InventoryMovementKind
    on_hand_change: int
    reserved_change: int
    on_hand_after: int
    reserved_after: int
    user_id: str
    order_id: str
    reason: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, product_id: _Optional[str] = ..., sequence: _Optional[int] = ..., kind: _Optional[_Union[InventoryMovementKind, str]] = ..., on_hand_change: _Optional[int] = ..., reserved_change: _Optional[int] = ..., on_hand_after: _Optional[int] = ..., reserved_after: _Optional[int] = ..., user_id: _Optional[str] = ..., order_id: _Optional[str] = ..., reason: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListInventoryMovementsRequest(_message.Message):
    __slots__ = ("product_id", "page_size", "page_token")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    page_size: int
    page_token: str
    def __init__(self, product_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListInventoryMovementsResponse(_message.Message):
    __slots__ = ("inventory_movements", "next_page_token")
    INVENTORY_MOVEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    inventory_movements: _containers.RepeatedCompositeFieldContainer[InventoryMovement]
    next_page_token: str
    def __init__(self, inventory_movements: _Optional[_Iterable[_Union[InventoryMovement, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
