"""Where the local stack lives and which ports it takes; the only reader of its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.errors import StackError

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
WORKER_METRICS_OFFSET = 100
GATEWAY_METRICS_OFFSET = 200
GATEWAY_ADMIN_OFFSET = 201

# What belongs to the launcher alone: services are told what they need one by one.
_OWN_VARIABLES = ("MIGRATION_DATABASE_URL", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")


@dataclass(frozen=True)
class Settings:
    """One local stack. Two stacks with other ports and another state folder live side by side."""

    environment_name: str
    state_dir: Path
    postgres_port: int
    redis_port: int
    smtp_port: int
    server_port: int
    """Server process i listens on server_port + i."""
    server_processes: int
    metrics_port: int
    """Server process i serves metrics on metrics_port + i, the worker on metrics_port + 100, the gateway on
    metrics_port + 200; 0 turns them off."""
    gateway_port: int
    gateway_grpc_port: int
    gateway_calls_per_second: int
    """How many one client address may make; all callers of a local stack have the same one."""
    database_url: str | None = field(repr=False)
    """Application role on a PostgreSQL of the user's; None starts the embedded one."""
    migration_database_url: str | None = field(repr=False)
    redis_url: str | None = field(repr=False)
    """A Redis of the user's; None starts an embedded one."""
    prometheus_port: int
    """Of `make observe`, as is grafana_port: the stack itself does not use them."""
    grafana_port: int
    public_url: str
    collector_url: str
    """Collector of traces, which server and worker find by the same variable; empty: nothing is traced."""
    inherited: Mapping[str, str] = field(repr=False)
    """The launcher's own environment, handed on to the services it starts."""

    @property
    def server_ports(self) -> list[int]:
        return [self.server_port + index for index in range(self.server_processes)]

    @property
    def gateway_metrics_port(self) -> int:
        """0: any free one, where nobody asks."""
        return self.metrics_port + GATEWAY_METRICS_OFFSET if self.metrics_port else 0

    @property
    def gateway_admin_port(self) -> int | None:
        """From which the gateway's metrics come; None without metrics."""
        return self.metrics_port + GATEWAY_ADMIN_OFFSET if self.metrics_port else None

    @property
    def logs_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def mail_dir(self) -> Path:
        return self.state_dir / "mail"

    @property
    def token_keys_file(self) -> Path:
        return self.state_dir / "token_keys.json"

    @property
    def worker_ready_file(self) -> Path:
        return self.state_dir / "worker.ready"

    def used_ports(self) -> list[tuple[int, str]]:
        """Every port the stack will listen on, with the variable that moves it."""
        used = [(self.smtp_port, "SMTP_PORT"), (self.gateway_port, "GATEWAY_PORT")]
        used.append((self.gateway_grpc_port, "GATEWAY_GRPC_PORT"))
        used += [(port, "SERVER_PORT") for port in self.server_ports]
        if self.database_url is None:
            used.append((self.postgres_port, "POSTGRES_PORT"))
        if self.redis_url is None:
            used.append((self.redis_port, "REDIS_PORT"))
        if self.metrics_port:
            offsets = [*range(self.server_processes), WORKER_METRICS_OFFSET]
            offsets += [GATEWAY_METRICS_OFFSET, GATEWAY_ADMIN_OFFSET]
            used += [(self.metrics_port + offset, "METRICS_PORT") for offset in offsets]
        return used


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the stack's settings; an empty variable counts as unset.

    Raises:
        StackError: A number is not one, or out of range.
    """
    given = {name: value for name, value in environment.items() if value.strip()}
    gateway_port = _number(given, "GATEWAY_PORT", 8080)
    return Settings(
        environment_name=given.get("BANK_ENVIRONMENT", "local"),
        state_dir=Path(given.get("BANK_STATE_DIR", ROOT / ".local")).absolute(),
        postgres_port=_number(given, "POSTGRES_PORT", 15432),
        redis_port=_number(given, "REDIS_PORT", 16379),
        smtp_port=_number(given, "SMTP_PORT", 11025),
        server_port=_number(given, "SERVER_PORT", 50051),
        server_processes=_number(given, "SERVER_PROCESSES", 2, largest=64),
        metrics_port=_number(given, "METRICS_PORT", 9101, smallest=0),
        gateway_port=gateway_port,
        gateway_grpc_port=_number(given, "GATEWAY_GRPC_PORT", 9090),
        gateway_calls_per_second=_number(given, "GATEWAY_CALLS_PER_SECOND", 100_000, largest=1_000_000),
        database_url=given.get("DATABASE_URL"),
        migration_database_url=given.get("MIGRATION_DATABASE_URL", given.get("DATABASE_URL")),
        redis_url=given.get("REDIS_URL"),
        prometheus_port=_number(given, "PROMETHEUS_PORT", 9095),
        grafana_port=_number(given, "GRAFANA_PORT", 3000),
        public_url=given.get("PUBLIC_URL", f"http://localhost:{gateway_port}"),
        collector_url=given.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        inherited={name: value for name, value in environment.items() if name not in _OWN_VARIABLES},
    )


def _number(given: Mapping[str, str], name: str, default: int, smallest: int = 1, largest: int = 65_535) -> int:
    text = given.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not smallest <= int(text) <= largest:
        raise StackError(f"{name} must be a number from {smallest} to {largest}, not {text!r}")
    return int(text)
