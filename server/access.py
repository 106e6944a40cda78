"""Who may call what: one line per RPC. What is not listed is refused."""

from dataclasses import dataclass

from server.caller import Role

BATCH_BYTES_MAX = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Access:
    """What the interceptor checks before the handler runs.

    Attributes:
        public: No access token is needed.
        roles: The caller must have one of these; empty: any signed-in user.
        checked_by_ledger: Session, user and roles are read in the transaction that moves the
            money, by the ledger under its locks, and so not before it.
        request_bytes_max: Largest request message.
        deadline_s: How long a call may take, whatever deadline the caller sets.
    """

    public: bool = False
    roles: frozenset[Role] = frozenset()
    checked_by_ledger: bool = False
    request_bytes_max: int = 64 * 1024
    deadline_s: float = 15.0


PUBLIC = Access(public=True)
SIGNED_IN = Access()
MONEY = Access(checked_by_ledger=True)
ADMIN = Access(roles=frozenset({Role.ADMIN}))
BANKER = Access(roles=frozenset({Role.BANKER}))
MERCHANT = Access(roles=frozenset({Role.MERCHANT, Role.ADMIN}))
STAFF = Access(roles=frozenset({Role.BANKER, Role.ADMIN}))
# Longer than any access token lives, and with it the watch.
WATCH = Access(deadline_s=3900.0)

ACCESS: dict[str, Access] = {
    "/bank.v1.UserService/CreateUser": PUBLIC,
    "/bank.v1.UserService/GetUser": SIGNED_IN,
    "/bank.v1.UserService/ListUsers": STAFF,
    "/bank.v1.UserService/UpdateUser": SIGNED_IN,
    "/bank.v1.UserService/SetUserRoles": ADMIN,
    "/bank.v1.UserService/DisableUser": ADMIN,
    "/bank.v1.UserService/EnableUser": ADMIN,
    "/bank.v1.UserService/VerifyEmail": PUBLIC,
    "/bank.v1.UserService/ResendVerificationEmail": PUBLIC,
    "/bank.v1.UserService/ChangeEmail": SIGNED_IN,
    "/bank.v1.UserService/ChangePassword": SIGNED_IN,
    "/bank.v1.UserService/RequestPasswordReset": PUBLIC,
    "/bank.v1.UserService/ResetPassword": PUBLIC,
    "/bank.v1.SessionService/CreateSession": PUBLIC,
    "/bank.v1.SessionService/RefreshSession": PUBLIC,
    "/bank.v1.SessionService/ListSessions": SIGNED_IN,
    "/bank.v1.SessionService/RevokeSession": SIGNED_IN,
    "/bank.v1.SessionService/RevokeAllSessions": SIGNED_IN,
    "/bank.v1.AccountService/CreateAccount": SIGNED_IN,
    "/bank.v1.AccountService/GetAccount": SIGNED_IN,
    "/bank.v1.AccountService/ListAccounts": SIGNED_IN,
    "/bank.v1.AccountService/UpdateAccount": SIGNED_IN,
    "/bank.v1.AccountService/FreezeAccount": BANKER,
    "/bank.v1.AccountService/UnfreezeAccount": BANKER,
    "/bank.v1.AccountService/CloseAccount": SIGNED_IN,
    "/bank.v1.AccountService/DepositFunds": MONEY,
    "/bank.v1.AccountService/WithdrawFunds": MONEY,
    "/bank.v1.AccountService/ListEntries": SIGNED_IN,
    "/bank.v1.AccountService/GetBalance": SIGNED_IN,
    "/bank.v1.AccountService/GetStatement": SIGNED_IN,
    "/bank.v1.AccountService/ExportStatement": Access(deadline_s=300.0),
    "/bank.v1.AccountService/GetPayee": SIGNED_IN,
    "/bank.v1.TransferService/CreateTransfer": MONEY,
    "/bank.v1.TransferService/BatchCreateTransfers": Access(checked_by_ledger=True, request_bytes_max=BATCH_BYTES_MAX),
    "/bank.v1.TransferService/ReverseTransfer": MONEY,
    "/bank.v1.TransferService/GetTransfer": SIGNED_IN,
    "/bank.v1.TransferService/ListTransfers": SIGNED_IN,
    "/bank.v1.TransferService/CreateScheduledTransfer": MONEY,
    "/bank.v1.TransferService/GetScheduledTransfer": SIGNED_IN,
    "/bank.v1.TransferService/ListScheduledTransfers": SIGNED_IN,
    "/bank.v1.TransferService/CancelScheduledTransfer": SIGNED_IN,
    "/bank.v1.HoldService/CreateHold": MONEY,
    "/bank.v1.HoldService/GetHold": SIGNED_IN,
    "/bank.v1.HoldService/ListHolds": SIGNED_IN,
    "/bank.v1.HoldService/CaptureHold": MONEY,
    "/bank.v1.HoldService/VoidHold": MONEY,
    "/bank.v1.ProductService/CreateProduct": MERCHANT,
    "/bank.v1.ProductService/GetProduct": SIGNED_IN,
    "/bank.v1.ProductService/ListProducts": SIGNED_IN,
    "/bank.v1.ProductService/UpdateProduct": MERCHANT,
    "/bank.v1.ProductService/ArchiveProduct": MERCHANT,
    "/bank.v1.ProductService/AdjustInventory": MERCHANT,
    "/bank.v1.ProductService/ListInventoryMovements": MERCHANT,
    "/bank.v1.OrderService/CreateOrder": MONEY,
    "/bank.v1.OrderService/GetOrder": SIGNED_IN,
    "/bank.v1.OrderService/ListOrders": SIGNED_IN,
    "/bank.v1.OrderService/CancelOrder": MONEY,
    "/bank.v1.OrderService/ShipOrder": MONEY,
    "/bank.v1.OrderService/DeliverOrder": MONEY,
    "/bank.v1.OrderService/RefundOrder": MONEY,
    "/bank.v1.EventService/ListEvents": SIGNED_IN,
    "/bank.v1.EventService/WatchEvents": WATCH,
    "/bank.v1.EventService/StreamEvents": WATCH,
    "/bank.v1.WebhookService/CreateWebhook": SIGNED_IN,
    "/bank.v1.WebhookService/GetWebhook": SIGNED_IN,
    "/bank.v1.WebhookService/ListWebhooks": SIGNED_IN,
    "/bank.v1.WebhookService/UpdateWebhook": SIGNED_IN,
    "/bank.v1.WebhookService/DeleteWebhook": SIGNED_IN,
    "/bank.v1.WebhookService/RotateWebhookSecret": SIGNED_IN,
    "/bank.v1.WebhookService/ListWebhookDeliveries": SIGNED_IN,
    "/bank.v1.WebhookService/RedeliverWebhookDelivery": SIGNED_IN,
    "/bank.v1.LedgerService/VerifyLedger": Access(roles=ADMIN.roles, deadline_s=900.0),
    "/bank.v1.LedgerService/GetTrialBalance": ADMIN,
    "/bank.v1.LedgerService/ListCurrencies": PUBLIC,
    "/bank.v1.LedgerService/ListAuditEvents": ADMIN,
    "/grpc.health.v1.Health/Check": PUBLIC,
    "/grpc.health.v1.Health/Watch": PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": PUBLIC,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": PUBLIC,
}
