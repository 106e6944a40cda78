"""Which module may import which: from the edge to the ledger, never back."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tools.tidy.sources import imports, python_files


@dataclass(frozen=True)
class Boundary:
    """Modules that may not import some others.

    Attributes:
        modules: File pattern below the root; `*` also matches folders.
        forbidden: Patterns of imported names, their submodules included.
        reason: What to do instead.
        but: Files of `modules` that may, each for a reason of its own.
        only: Imports that are allowed although a pattern of `forbidden` matches them.
    """

    modules: str
    forbidden: tuple[str, ...]
    reason: str
    but: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


BOUNDARIES = (
    Boundary(
        "server/*",
        ("worker", "client", "local", "tools", "tests"),
        "the service knows nothing of what is around it; jobs are named in server.jobs",
    ),
    Boundary("server/*", ("redis", "arq"), "no call may need Redis: write an outbox row"),
    Boundary(
        "server/*",
        ("server.app",),
        "only the entry point sees everything",
        but=("server/__main__.py",),
    ),
    Boundary(
        "server/*",
        ("grpc", "grpc_status", "bank"),
        "gRPC and its messages end at rpc.py and messages.py",
        but=(
            "server/app.py",
            "server/administrator.py",
            "server/health_check.py",
            "server/interceptor.py",
            "server/error_status.py",
            "server/hold_messages.py",
            "server/schedule_messages.py",
            "server/transfer_messages.py",
            "server/*/rpc.py",
            "server/*/messages.py",
            "server/events/payloads.py",
            "server/events/shop_payloads.py",
        ),
    ),
    Boundary(
        "server/*",
        ("asyncpg",),
        "the driver is known to database.py, the ledger and what runs queries",
        but=(
            "server/app.py",
            "server/administrator.py",
            "server/uuids.py",
            "server/database.py",
            "server/ledger/*",
            "server/*/operations.py",
            "server/accounts/opening.py",
            "server/users/addresses.py",
        ),
    ),
    Boundary("server/errors.py", ("server", "bankdb"), "errors are the bottom: everything else names them"),
    Boundary(
        "server/*/operations.py",
        ("server.*.rpc", "server.*.messages"),
        "operations know neither the wire nor who calls them",
    ),
    Boundary("server/*/messages.py", ("server.*.rpc",), "messages know neither who calls them nor what is done"),
    Boundary(
        "server/ledger/*",
        ("server",),
        "the ledger stands below every noun",
        but=("server/ledger/rpc.py", "server/ledger/messages.py"),
        only=(
            "server.ledger",
            "server.admission",
            "server.database",
            "server.errors",
            "server.caller",
            "server.clock",
            "server.metrics",
            "server.tracing",
            "server.uuids",
        ),
    ),
    Boundary(
        "server/ledger/posting.py",
        ("asyncio", "asyncpg", "bankdb", "server.database", "server.metrics"),
        "the money rules are pure",
    ),
    Boundary(
        "worker/*",
        ("server", "grpc", "bank", "local", "tools", "tests"),
        "the worker shares the foundations with the server, not its calls",
        only=(
            "server.config",
            "server.database",
            "server.errors",
            "server.event_loop",
            "server.jobs",
            "server.keys",
            "server.logs",
            "server.metrics",
            "server.tokens",
            "server.tracing",
            "server.ledger",
            "server.accounts.opening",
            "server.orders.delivery",
            "server.orders.expiry",
            "server.caller",
            "server.audit.recording",
            "server.events.messages",
            "server.events.operations",
            "server.webhooks.secrets",
            "server.webhooks.targets",
        ),
    ),
    Boundary("client/*", ("server", "worker", "local", "tools", "bankdb", "asyncpg"), "a client has the contract only"),
    Boundary(
        "migrate/*",
        ("server", "worker", "gateway", "client", "local", "tools", "tests", "bank", "bankdb", "grpc"),
        "a migration knows the database alone",
    ),
    Boundary(
        "gateway/*",
        ("server", "worker", "client", "local", "tools", "tests", "bank", "bankdb", "grpc"),
        "its image has nothing but Python and Envoy",
    ),
    Boundary("tools/*", ("server", "worker", "local"), "tools read sources", only=("server.access",)),
)


def within(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the patterns or below one."""
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns)


def import_direction(root: Path) -> list[str]:
    """Imports point from the edge to the ledger, never back."""
    complaints = []
    for file, tree, _ in python_files(root, "server", "worker", "client", "gateway", "migrate", "tools"):
        noun = file.split("/")[1] if file.startswith("server/") and file.count("/") == 2 else None
        for imported in imports(tree):
            for boundary in BOUNDARIES:
                if (
                    fnmatchcase(file, boundary.modules)
                    and not any(fnmatchcase(file, exception) for exception in boundary.but)
                    and within(imported.name, boundary.forbidden)
                    and not within(imported.name, boundary.only)
                ):
                    complaints.append(f"{file}:{imported.line}: may not import {imported.name}: {boundary.reason}")
            wire = noun and within(imported.name, ("server.*.rpc", "server.*.messages"))
            if wire and imported.name.split(".")[1] != noun:
                reason = "another noun's data is a query away"
                complaints.append(f"{file}:{imported.line}: may not import {imported.name}: {reason}")
    return complaints


def foundation(root: Path) -> list[str]:
    """Modules directly in server/ are below the nouns; only those that wire or render know them.

    What records the audit log is below the nouns too: every one of them writes to it.
    """
    nouns = tuple(f"server.{path.name}" for path in (root / "server").glob("*") if path.is_dir())
    above = (
        "server/app.py",
        "server/__main__.py",
        "server/administrator.py",
        "server/hold_messages.py",
        "server/transfer_messages.py",
    )
    return [
        f"{file}:{imported.line}: may not import {imported.name}: it is above this module"
        for file, tree, _ in python_files(root, "server")
        if file.count("/") == 1 and file not in above
        for imported in imports(tree)
        if within(imported.name, nouns) and not within(imported.name, ("server.audit.recording",))
    ]
