"""Who may call what, compared with the contract's table and with every RPC that exists."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from server.access import ACCESS, Access
from server.app import SERVICES
from server.caller import Role
from server.interceptor import unlisted
from tools.generate import ROOT

PUBLIC = Access(public=True)
SIGNED_IN = Access()
BY_LEDGER = Access(checked_by_ledger=True)
BATCH = Access(checked_by_ledger=True, request_bytes_max=2 * 1024 * 1024)
BANKER = Access(roles=frozenset({Role.BANKER}))
MERCHANT = Access(roles=frozenset({Role.MERCHANT, Role.ADMIN}))
STAFF = Access(roles=frozenset({Role.BANKER, Role.ADMIN}))
ADMIN = Access(roles=frozenset({Role.ADMIN}))
WHOLE_LEDGER = Access(roles=frozenset({Role.ADMIN}), deadline_s=900)

# What is written here was decided with the contract: a change of it is a change of the contract.
# Where the owner decides, such as in GetAccount, any signed-in user passes here and the operation refuses.
EXPECTED = {
    "UserService": {
        "CreateUser": PUBLIC,
        "GetUser": SIGNED_IN,
        "ListUsers": STAFF,
        "UpdateUser": SIGNED_IN,
        "SetUserRoles": ADMIN,
        "DisableUser": ADMIN,
        "EnableUser": ADMIN,
        "VerifyEmail": PUBLIC,
        "ResendVerificationEmail": PUBLIC,
        "ChangeEmail": SIGNED_IN,
        "ChangePassword": SIGNED_IN,
        "RequestPasswordReset": PUBLIC,
        "ResetPassword": PUBLIC,
    },
    "SessionService": {
        "CreateSession": PUBLIC,
        "RefreshSession": PUBLIC,
        "ListSessions": SIGNED_IN,
        "RevokeSession": SIGNED_IN,
        "RevokeAllSessions": SIGNED_IN,
    },
    "AccountService": {
        "CreateAccount": SIGNED_IN,
        "GetAccount": SIGNED_IN,
        "ListAccounts": SIGNED_IN,
        "DepositFunds": BY_LEDGER,
        "WithdrawFunds": BY_LEDGER,
        "ListEntries": SIGNED_IN,
        "UpdateAccount": SIGNED_IN,
        "FreezeAccount": BANKER,
        "UnfreezeAccount": BANKER,
        "CloseAccount": SIGNED_IN,
        "GetBalance": SIGNED_IN,
        "GetStatement": SIGNED_IN,
        "ExportStatement": Access(deadline_s=300),
        "GetPayee": SIGNED_IN,
    },
    "TransferService": {
        "CreateTransfer": BY_LEDGER,
        "BatchCreateTransfers": BATCH,
        "ReverseTransfer": BY_LEDGER,
        "CreateScheduledTransfer": BY_LEDGER,
        "GetScheduledTransfer": SIGNED_IN,
        "ListScheduledTransfers": SIGNED_IN,
        "CancelScheduledTransfer": SIGNED_IN,
        "GetTransfer": SIGNED_IN,
        "ListTransfers": SIGNED_IN,
    },
    "HoldService": {
        "CreateHold": BY_LEDGER,
        "GetHold": SIGNED_IN,
        "ListHolds": SIGNED_IN,
        "CaptureHold": BY_LEDGER,
        "VoidHold": BY_LEDGER,
    },
    "ProductService": {
        "CreateProduct": MERCHANT,
        "GetProduct": SIGNED_IN,
        "ListProducts": SIGNED_IN,
        "UpdateProduct": MERCHANT,
        "ArchiveProduct": MERCHANT,
        "AdjustInventory": MERCHANT,
        "ListInventoryMovements": MERCHANT,
    },
    "OrderService": {
        "CreateOrder": BY_LEDGER,
        "GetOrder": SIGNED_IN,
        "ListOrders": SIGNED_IN,
        "CancelOrder": BY_LEDGER,
        "ShipOrder": BY_LEDGER,
        "DeliverOrder": BY_LEDGER,
        "RefundOrder": BY_LEDGER,
    },
    "EventService": {
        "ListEvents": SIGNED_IN,
        "WatchEvents": Access(deadline_s=3900),
        "StreamEvents": Access(deadline_s=3900),
    },
    "WebhookService": {
        "CreateWebhook": SIGNED_IN,
        "GetWebhook": SIGNED_IN,
        "ListWebhooks": SIGNED_IN,
        "UpdateWebhook": SIGNED_IN,
        "DeleteWebhook": SIGNED_IN,
        "RotateWebhookSecret": SIGNED_IN,
        "ListWebhookDeliveries": SIGNED_IN,
        "RedeliverWebhookDelivery": SIGNED_IN,
    },
    "LedgerService": {
        "VerifyLedger": WHOLE_LEDGER,
        "GetTrialBalance": ADMIN,
        "ListCurrencies": PUBLIC,
        "ListAuditEvents": ADMIN,
    },
}
METHODS = {
    f"/bank.v1.{service}/{name}": access for service, methods in EXPECTED.items() for name, access in methods.items()
}
STANDARD = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}


def described() -> set[str]:
    """Every RPC of ours in the descriptor set that the gateway loads."""
    files = FileDescriptorSet.FromString((ROOT / "gen" / "bank.binpb").read_bytes()).file
    return {
        f"/{file.package}.{service.name}/{method.name}"
        for file in files
        if file.package == "bank.v1"
        for service in file.service
        for method in service.method
    }


class TestAccess:
    def test_every_rpc_has_a_line_and_nothing_else_has(self) -> None:
        assert ACCESS.keys() == described() | STANDARD

    @pytest.mark.parametrize("method", METHODS)
    def test_caller_is_the_one_of_the_contract(self, method: str) -> None:
        assert ACCESS[method] == METHODS[method]

    def test_table_here_names_every_rpc(self) -> None:
        assert METHODS.keys() == described()

    @pytest.mark.parametrize("method", STANDARD)
    def test_health_and_reflection_need_no_token(self, method: str) -> None:
        assert ACCESS[method] == PUBLIC

    def test_nothing_is_both_public_and_bound_to_a_role(self) -> None:
        assert [
            name for name, access in ACCESS.items() if access.public and (access.roles or access.checked_by_ledger)
        ] == []


class TestUnlisted:
    def test_served_methods_are_all_listed(self) -> None:
        served = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]
        assert unlisted(served, ACCESS) == []
        assert set(served) == described()

    def test_method_without_a_line_is_named(self) -> None:
        served = ["/bank.v1.UserService/GetUser", "/bank.v1.OrderService/LoseOrder", "/bank.v1.OrderService/EatOrder"]
        assert unlisted(served, ACCESS) == ["/bank.v1.OrderService/EatOrder", "/bank.v1.OrderService/LoseOrder"]
