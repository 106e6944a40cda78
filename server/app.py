"""Composition root: opens everything in order, serves, and closes in reverse."""

import asyncio
import contextlib
import platform
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import grpc
import structlog
from bank.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    hold_service_pb2,
    hold_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    order_service_pb2,
    order_service_pb2_grpc,
    product_service_pb2,
    product_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
    transfer_service_pb2,
    transfer_service_pb2_grpc,
    user_service_pb2,
    user_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from server.access import ACCESS, BATCH_BYTES_MAX
from server.accounts.operations import Accounts
from server.accounts.payees import Payees
from server.accounts.rpc import AccountServicer
from server.accounts.standing import AccountStanding
from server.accounts.statements import Statements
from server.audit.operations import AuditLog
from server.clock import DatabaseClock, read_clock
from server.config import Settings
from server.credentials import CredentialCheck
from server.database import Database, close_all, open_pool, show_pool
from server.error_status import status_of
from server.event_loop import measure_lag
from server.events.hub import EventHub
from server.events.messages import PAYLOADS
from server.events.operations import CONNECTIONS as EVENT_CONNECTIONS
from server.events.operations import EVENT_SETTINGS, EventReader
from server.events.rpc import EventServicer
from server.events.watching import Watches
from server.holds.operations import HoldReader
from server.holds.rpc import HoldServicer
from server.interceptor import CallInterceptor, streams_requests, unlisted
from server.keys import Keys
from server.ledger.batches import BATCHES_AT_ONCE, Batches
from server.ledger.commit_queue import LEDGER_SETTINGS, CommitQueue
from server.ledger.rpc import LedgerServicer
from server.ledger.verification import VERIFY_TIMEOUT_S
from server.metrics import BUILD_INFO
from server.orders.operations import Orders
from server.orders.rpc import OrderServicer
from server.orders.transactions import ORDER_SETTINGS, ORDERS_AT_ONCE, OrderTransactions
from server.page_token import PageTokens
from server.passwords import PasswordPolicy, Passwords
from server.products.operations import Products
from server.products.rpc import ProductServicer
from server.quotas import CallQuota
from server.reference_data import ReferenceData
from server.sessions.callers import CallerStates
from server.sessions.operations import Sessions
from server.sessions.rpc import SessionServicer
from server.throttles import Action, RateLimits, SignInThrottle
from server.tokens import AccessTokens, MailTokens
from server.tracing import Tracing, open_tracing
from server.transfers.operations import TransferReader
from server.transfers.rpc import TransferServicer
from server.transfers.schedules.operations import Schedules
from server.users.addresses import UserAddresses
from server.users.confirmation import PasswordConfirmation
from server.users.links import Links
from server.users.operations import Users
from server.users.passwords import UserPasswords
from server.users.rpc import UserServicer
from server.webhooks.messages import Terms
from server.webhooks.operations import Webhooks
from server.webhooks.rpc import WebhookServicer
from server.webhooks.secrets import WebhookSecrets
from server.webhooks.targets import Resolver, Targets

SERVICES = [
    service
    for module in (
        user_service_pb2,
        session_service_pb2,
        account_service_pb2,
        transfer_service_pb2,
        hold_service_pb2,
        product_service_pb2,
        order_service_pb2,
        event_service_pb2,
        webhook_service_pb2,
        ledger_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]
LIVENESS = "liveness"
"""Health service that only proves that the process answers; the empty name needs the database too."""

OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", BATCH_BYTES_MAX),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.max_connection_age_ms", 5 * 60 * 1000),
    # Calls under way when a connection is given up are cut off after this: not before their own limit.
    ("grpc.max_connection_age_grace_ms", int(max(access.deadline_s for access in ACCESS.values()) + 20) * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
_HEALTH_INTERVAL_S = 0.5
_HEALTH_TIMEOUT_S = 1.0
_HEALTH_FAILURES_MAX = 2
_HEALTH_FAILURES_SAID = 20
"""Of so many failures in a row one is logged."""
_DRAIN_S = 1.5
"""What the gateway may need to see NOT_SERVING: two of its health intervals and a margin."""
_log = structlog.get_logger()


async def serve(settings: Settings, keys: Keys, process: int, stop: asyncio.Event) -> None:
    """Serve gRPC until `stop` is set, then finish the calls in flight.

    A database that cannot be reached, at start or later, makes the health service say
    NOT_SERVING; the process stays up and goes on when the database is back.

    Args:
        settings: As read from the environment.
        keys: Of tokens and page tokens.
        process: Number of this process; it listens on server_port + process.
        stop: Set by a signal.

    Raises:
        RuntimeError: The port is in use, an RPC has no line in server/access.py, or one streams requests.
    """
    _refuse_unguarded()
    async with _observed(settings, process) as tracing:
        await _serve(settings, keys, process, stop, tracing)


@contextlib.asynccontextmanager
async def _observed(settings: Settings, process: int) -> AsyncIterator[Tracing | None]:
    """Metrics, and traces if they are wanted, as long as the context lasts."""
    if settings.metrics_port:
        BUILD_INFO.labels(settings.build_version, platform.python_version()).set(1)
        start_http_server(settings.metrics_port + process, addr=settings.server_host)
    tracing = open_tracing(settings.otel_exporter_otlp_endpoint, "server", str(process), settings.build_version)
    lag = asyncio.create_task(measure_lag(), name="event loop lag")
    try:
        yield tracing
    finally:
        lag.cancel()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)


async def _serve(settings: Settings, keys: Keys, process: int, stop: asyncio.Event, tracing: Tracing | None) -> None:
    url = settings.database_url.get_secret_value()
    database = Database(await open_pool(url, size=settings.read_pool_size), "read")
    whole_ledger = Database(await open_pool(url, size=2, statement_timeout_s=VERIFY_TIMEOUT_S), "verify")
    ledger_pool = await open_pool(
        url, size=1 + BATCHES_AT_ONCE + settings.ledger_side_connections, settings=LEDGER_SETTINGS
    )
    show_pool("ledger", ledger_pool)
    ledger = CommitQueue(ledger_pool, settings.ledger_side_connections)
    batches = Batches(ledger_pool)
    order_database = Database(await open_pool(url, size=ORDERS_AT_ONCE, settings=ORDER_SETTINGS), "orders")
    reference = ReferenceData()
    passwords = _passwords(settings)
    with contextlib.suppress(OSError):
        await passwords.start()
    clock = DatabaseClock()
    watches = await open_watches(url, database, clock)
    server, health_servicer = _build(
        *(settings, keys, clock, database, whole_ledger, order_database, ledger, batches, reference, passwords),
        *(watches, tracing),
    )
    address = f"{settings.server_host}:{settings.server_port + process}"
    server.add_insecure_port(address)
    # Loaded before the first call can arrive, if the database is there; the watch tries again.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_HEALTH_TIMEOUT_S):
            await _ask(database, reference, clock)
    await server.start()
    _log.info("listening", address=address)
    watch = asyncio.create_task(_watch_database(database, reference, clock, health_servicer), name="database watch")
    await stop.wait()
    _log.info("stopping")
    watch.cancel()
    await _set_health(health_servicer, serving=False)
    await asyncio.sleep(_DRAIN_S)
    # By now whoever watches again is led to another process.
    watches.stop()
    await server.stop(settings.shutdown_grace_s)
    await watches.close()
    await ledger.close()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    await passwords.close()
    await close_all(whole_ledger, order_database, database, watches.events.database, Database(ledger_pool))
    _log.info("stopped")


def _refuse_unguarded() -> None:
    """Raise RuntimeError if the contract has an RPC that the interceptor would not guard."""
    missing = unlisted((f"/{s.full_name}/{method.name}" for s in SERVICES for method in s.methods), ACCESS)
    if missing:
        raise RuntimeError(f"server/access.py does not say who may call {', '.join(missing)}")
    streaming = streams_requests(SERVICES)
    if streaming:
        raise RuntimeError(f"the interceptor admits one request a call, not the stream of {', '.join(streaming)}")


def _build(
    settings: Settings,
    keys: Keys,
    clock: DatabaseClock,
    database: Database,
    whole_ledger: Database,
    order_database: Database,
    ledger: CommitQueue,
    batches: Batches,
    reference: ReferenceData,
    passwords: Passwords,
    watches: Watches,
    tracing: Tracing | None = None,
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    page_tokens = PageTokens(keys.page_token_key)
    tokens = AccessTokens(keys, settings.token_format, settings.access_token_ttl_s, clock)
    transfers = TransferReader(database, page_tokens)
    rate_limits = _rate_limits(settings, database)
    credentials = CredentialCheck(database, passwords, SignInThrottle(rate_limits))
    ttls = {"idle_ttl_s": settings.session_idle_ttl_s, "ttl_s": settings.session_ttl_s}
    sessions = Sessions(database, credentials, tokens, page_tokens, **ttls)
    help_url = f"{settings.public_origin}/docs/errors.html"
    quota = _quota(settings.calls_per_second)
    callers = CallerStates(database)
    interceptor = CallInterceptor(ACCESS, tokens, callers, help_url, quota, tracing)
    server = grpc.aio.server(interceptors=[interceptor], options=OPTIONS)
    users = _users(database, passwords, credentials, Links(MailTokens(keys.mail_token_key)), rate_limits, page_tokens)
    user_service_pb2_grpc.add_UserServiceServicer_to_server(users, server)
    session_service_pb2_grpc.add_SessionServiceServicer_to_server(SessionServicer(sessions), server)
    account_service_pb2_grpc.add_AccountServiceServicer_to_server(
        _accounts(database, page_tokens, callers, rate_limits, ledger, transfers, reference), server
    )
    transfer_service_pb2_grpc.add_TransferServiceServicer_to_server(
        TransferServicer(
            ledger,
            batches,
            transfers,
            Schedules(database, page_tokens),
            reference,
            partial(status_of, trace_id="", help_url=help_url),
        ),
        server,
    )
    hold_service_pb2_grpc.add_HoldServiceServicer_to_server(
        HoldServicer(ledger, HoldReader(database, page_tokens), transfers, reference), server
    )
    _add_shop(server, database, order_database, page_tokens, reference, timedelta(seconds=settings.order_lifetime_s))
    _add_feed(server, settings, keys, database, page_tokens, watches)
    ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(
        LedgerServicer(whole_ledger, reference, AuditLog(database, page_tokens)), server
    )
    return server, _add_standard_services(server, reflected=not settings.is_production)


def _add_shop(
    server: grpc.aio.Server,
    database: Database,
    order_database: Database,
    page_tokens: PageTokens,
    reference: ReferenceData,
    order_lifetime: timedelta,
) -> None:
    products = Products(database, page_tokens)
    product_service_pb2_grpc.add_ProductServiceServicer_to_server(ProductServicer(products, reference), server)
    orders = Orders(database, OrderTransactions(order_database), page_tokens, order_lifetime)
    order_service_pb2_grpc.add_OrderServiceServicer_to_server(OrderServicer(orders), server)


def _add_feed(
    server: grpc.aio.Server,
    settings: Settings,
    keys: Keys,
    database: Database,
    page_tokens: PageTokens,
    watches: Watches,
) -> None:
    event_service_pb2_grpc.add_EventServiceServicer_to_server(EventServicer(watches.events, watches), server)
    private = not settings.is_production
    webhooks = Webhooks(database, page_tokens, WebhookSecrets(keys.webhook_key), Targets(Resolver(), private=private))
    servicer = WebhookServicer(webhooks, Terms(frozenset(PAYLOADS), private))
    webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(servicer, server)


async def open_watches(url: str, database: Database, clock: DatabaseClock) -> Watches:
    """The feed: its past on connections of its own, what happens on those that all share."""
    past = Database(await open_pool(url, size=EVENT_CONNECTIONS, settings=EVENT_SETTINGS), "events")
    return Watches(EventReader(past), EventHub(database), clock)


def _quota(calls_per_second: int) -> CallQuota | None:
    return CallQuota(calls_per_second) if calls_per_second else None


def _passwords(settings: Settings) -> Passwords:
    """No client network has more than half of the passwords that are hashed a second."""
    rate = settings.sign_ins_per_second
    return Passwords(settings.password_processes, _quota(rate), shares=_quota(rate and max(1, rate // 2)))


def _rate_limits(settings: Settings, database: Database) -> RateLimits:
    return RateLimits(
        database,
        {
            Action.SIGN_IN: settings.sign_in_failures_per_hour,
            Action.SIGN_UP: settings.sign_ups_per_hour,
            Action.MAIL: settings.mails_per_hour,
            Action.PAYEE: settings.payees_per_hour,
        },
    )


def _users(
    database: Database,
    passwords: Passwords,
    credentials: CredentialCheck,
    links: Links,
    rate_limits: RateLimits,
    page_tokens: PageTokens,
) -> UserServicer:
    confirmation = PasswordConfirmation(database, credentials)
    return UserServicer(
        Users(database, passwords, links, rate_limits, page_tokens),
        UserAddresses(database, confirmation, links, rate_limits),
        UserPasswords(database, passwords, confirmation, links, rate_limits),
        PasswordPolicy(),
    )


def _accounts(
    database: Database,
    page_tokens: PageTokens,
    callers: CallerStates,
    rate_limits: RateLimits,
    ledger: CommitQueue,
    transfers: TransferReader,
    reference: ReferenceData,
) -> AccountServicer:
    accounts = Accounts(database, page_tokens)
    return AccountServicer(
        accounts,
        AccountStanding(database),
        Statements(database, accounts, page_tokens, callers),
        Payees(database, rate_limits),
        ledger,
        transfers,
        reference,
    )


def _add_standard_services(server: grpc.aio.Server, *, reflected: bool) -> health.aio.HealthServicer:
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if reflected:
        reflection.enable_server_reflection(
            [*(service.full_name for service in SERVICES), health.SERVICE_NAME, reflection.SERVICE_NAME], server
        )
    return health_servicer


async def _ask(database: Database, reference: ReferenceData, clock: DatabaseClock) -> None:
    """Ask the database what time it is, and once for the reference data."""
    if not reference.loaded:
        await reference.load(database)
    async with database.connection() as connection:
        clock.tell(await read_clock(connection))


async def _watch_database(
    database: Database, reference: ReferenceData, clock: DatabaseClock, health_servicer: health.aio.HealthServicer
) -> None:
    """Keep the health service truthful and the clock right; one lost probe in a row is forgiven."""
    await health_servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    await _set_health(health_servicer, serving=False)
    serving, failures = False, 0
    while True:
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT_S):
                await _ask(database, reference, clock)
        except Exception as error:  # whatever it is, the database is of no use now
            failures += 1
            if serving and failures == _HEALTH_FAILURES_MAX:
                serving, failures = False, 1
                await _set_health(health_servicer, serving=False)
            if not serving and failures % _HEALTH_FAILURES_SAID == 1:
                _log.warning("waiting for the database", cause=type(error).__name__)
        else:
            if not serving:
                serving = True
                await _set_health(health_servicer, serving=True)
                _log.info("ready")
            failures = 0
        await asyncio.sleep(_HEALTH_INTERVAL_S)


async def _set_health(health_servicer: health.aio.HealthServicer, *, serving: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", *(service.full_name for service in SERVICES)):
        await health_servicer.set(name, status)
