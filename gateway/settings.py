"""Settings of a gateway that runs by itself; the only reader of its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Certificate, GatewayError


@dataclass(frozen=True)
class Settings:
    """One gateway process."""

    listen_address: str
    gateway_port: int
    grpc_port: int
    admin_port: int
    """On the loopback address alone; the process itself drains the gateway through it."""
    metrics_port: int
    """Where Prometheus reads the statistics, on the address of the other ports."""
    collector_url: str
    """Collector of traces, which server and worker find by the same variable; empty: nothing is traced."""
    traced_percent: int
    """How many of a hundred requests are traced, where there is a collector."""
    server_endpoints: tuple[tuple[str, int], ...]
    """Host and port of the servers; a name stands for every address it resolves to."""
    certificate: Certificate | None
    xff_trusted_hops: int
    calls_per_second: int
    """How many one client address may make."""
    reflection: bool
    threads: int
    config_dir: Path
    """Where the filled-in configuration is written; nothing else is."""
    drain_s: int
    """How long the gateway goes on after SIGTERM, calling itself unready, until nobody sends it anything new."""
    grace_s: int
    """How long calls in flight may take after that."""


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the gateway's settings; an empty variable counts as unset.

    Raises:
        GatewayError: A setting is missing or malformed.
    """
    given = {name: value for name, value in environment.items() if value.strip()}
    tls_dir = given.get("GATEWAY_TLS_DIR")
    return Settings(
        listen_address=given.get("GATEWAY_ADDRESS", "0.0.0.0"),
        gateway_port=_number(given, "GATEWAY_PORT", 8080, largest=65_535),
        grpc_port=_number(given, "GATEWAY_GRPC_PORT", 9090, largest=65_535),
        admin_port=_number(given, "GATEWAY_ADMIN_PORT", 9902, largest=65_535),
        metrics_port=_number(given, "GATEWAY_METRICS_PORT", 9901, largest=65_535),
        collector_url=given.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        traced_percent=_number(given, "GATEWAY_TRACED_PERCENT", 100, largest=100),
        server_endpoints=_endpoints(given.get("SERVER_ENDPOINTS", "")),
        certificate=None if tls_dir is None else Certificate(Path(tls_dir)),
        xff_trusted_hops=_number(given, "XFF_TRUSTED_HOPS", 0, largest=16),
        calls_per_second=_number(given, "GATEWAY_CALLS_PER_SECOND", 500, smallest=1, largest=1_000_000),
        reflection=given.get("BANK_ENVIRONMENT", "production") != "production",
        threads=_number(given, "GATEWAY_THREADS", 2, smallest=1, largest=64),
        config_dir=Path(given.get("GATEWAY_CONFIG_DIR", "/tmp")),  # noqa: S108 - a container has it to itself
        drain_s=_number(given, "GATEWAY_DRAIN_S", 15, largest=300),
        grace_s=_number(given, "GATEWAY_GRACE_S", 30, largest=3600),
    )


def _endpoints(text: str) -> tuple[tuple[str, int], ...]:
    endpoints = []
    for endpoint in filter(None, (part.strip() for part in text.split(","))):
        host, _, port = endpoint.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
            raise GatewayError(f"SERVER_ENDPOINTS must be like server-a:50051,server-b:50051, not {endpoint!r}")
        endpoints.append((host, int(port)))
    if not endpoints:
        raise GatewayError("SERVER_ENDPOINTS is missing: host:port of the servers, with commas between several")
    return tuple(endpoints)


def _number(given: Mapping[str, str], name: str, default: int, *, smallest: int = 0, largest: int) -> int:
    text = given.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not smallest <= int(text) <= largest:
        raise GatewayError(f"{name} must be a number from {smallest} to {largest}, not {text!r}")
    return int(text)
