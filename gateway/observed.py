"""How the gateway is looked at: its statistics, its readiness, and the traces it begins."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
STATS_PATH = "/stats/prometheus"
FAIL_PATH = "/healthcheck/fail"
READY_PATH = "/ready"
ADMIN_PATHS = [{"prefix": STATS_PATH}, {"exact": FAIL_PATH}, {"exact": READY_PATH}]


@dataclass(frozen=True)
class Observed:
    """How the gateway is looked at.

    Attributes:
        admin_port: Port on loopback that tells the statistics; None: no such port, and no statistics.
        stats_address: Address the statistics are passed on at.
        stats_port: Port for that; 0: any free one.
        collector_url: Base URL of a collector of traces that takes OTLP over HTTP; empty: nothing is traced.
        traced_percent: How many of a hundred requests are sampled.
    """

    admin_port: int | None = None
    stats_address: str = LOOPBACK
    stats_port: int = 0
    collector_url: str = ""
    traced_percent: int = 100

    def placeholders(self) -> dict[str, object]:
        """What the template is told of it."""
        collector = urlsplit(self.collector_url)
        collectors = [endpoint(collector.hostname, collector.port or 4318)] if collector.hostname else []
        admin = [] if self.admin_port is None else [endpoint(LOOPBACK, self.admin_port)]
        return {
            # Without everything that tells or changes more than statistics and readiness.
            "ADMIN": json.dumps({**admin[0]["endpoint"], "allow_paths": ADMIN_PATHS} if admin else {}),
            "ADMIN_ENDPOINTS": json.dumps(admin),
            "STATS_ADDRESS": self.stats_address,
            "STATS_PORT": self.stats_port,
            "TRACING": json.dumps(self._tracing() if collectors else None),
            "TRACE_ID": "%TRACE_ID%" if collectors else "%REQ(X-REQUEST-ID)%",
            "COLLECTOR_ENDPOINTS": json.dumps(collectors),
        }

    def _tracing(self) -> dict[str, object]:
        uri = {"uri": f"{self.collector_url.rstrip('/')}/v1/traces", "cluster": "collector", "timeout": "5s"}
        provider = {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": "gateway",
                "http_service": {"http_uri": uri},
            },
        }
        return {"random_sampling": {"value": self.traced_percent}, "provider": provider}


def endpoint(host: str, port: int) -> dict[str, Any]:
    """An address as Envoy's configuration writes it in a list of endpoints."""
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
