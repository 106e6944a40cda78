"""Prometheus beside a stack that is running, and Grafana where it is installed; both on loopback alone."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from local.errors import StackError
from local.probes import answers_http
from local.process import Service
from local.settings import LOOPBACK, ROOT, WORKER_METRICS_OFFSET, Settings
from local.supervisor import Supervisor

OBSERVABILITY = ROOT / "observability"
_GRAFANA_HOME = "/usr/share/grafana"
_PROMETHEUS_MISSING = (
    "prometheus is not installed: on Debian `apt-get install --no-install-recommends prometheus`, then "
    "`systemctl disable --now prometheus`, whose own service takes port 9090"
)


async def observe(settings: Settings, say: Callable[[str], None]) -> None:
    """Watch the stack of these settings until told to stop.

    Raises:
        StackError: Prometheus is not installed or ended, or the stack shows no metrics.
    """
    if not settings.metrics_port:
        raise StackError("there is nothing to watch: METRICS_PORT is 0")
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        raise StackError(_PROMETHEUS_MISSING)
    folder = settings.state_dir / "observe"
    services = [prometheus_service(prometheus, write_configuration(settings, folder), settings.prometheus_port)]
    grafana = shutil.which("grafana-server")
    if grafana is not None:
        services.append(_grafana_service(grafana, folder, settings))
    supervisor = Supervisor(folder, say)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    try:
        await supervisor.start(*services)
        say(_greeting(settings, with_grafana=grafana is not None))
        ends: set[asyncio.Future[Any]] = {stopping, supervisor.failure}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if supervisor.failure.done():
            raise supervisor.failure.result()
    finally:
        stopping.cancel()
        await supervisor.stop()


def write_configuration(settings: Settings, folder: Path) -> Path:
    """Write what Prometheus needs: the configuration and rules of the repository, and the targets of this stack.

    Returns:
        The folder it is in, which also takes the data.
    """
    home = folder / "prometheus"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(OBSERVABILITY / "prometheus" / "prometheus.yml", home / "prometheus.yml")
    shutil.copytree(OBSERVABILITY / "prometheus" / "rules", home / "rules", dirs_exist_ok=True)
    servers = [settings.metrics_port + index for index in range(settings.server_processes)]
    targets = [
        _target("server", *servers),
        _target("worker", settings.metrics_port + WORKER_METRICS_OFFSET),
        _target("gateway", settings.gateway_metrics_port, __metrics_path__="/stats/prometheus"),
    ]
    (home / "targets.json").write_text(json.dumps(targets))
    return home


def _target(job: str, *ports: int, **labels: str) -> dict[str, object]:
    return {"targets": [f"{LOOPBACK}:{port}" for port in ports], "labels": {"job": job, **labels}}


def prometheus_service(binary: str, home: Path, port: int) -> Service:
    """Prometheus on loopback, with the configuration in `home`."""
    command = [binary, f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}"]
    command += [f"--web.listen-address={LOOPBACK}:{port}", "--storage.tsdb.retention.time=7d", "--log.level=warn"]
    return Service("prometheus", command, partial(answers_http, port, "/-/ready"), dict(os.environ))


def _grafana_service(binary: str, folder: Path, settings: Settings) -> Service:
    environment = {
        **os.environ,
        "GF_SERVER_HTTP_ADDR": LOOPBACK,
        "GF_SERVER_HTTP_PORT": str(settings.grafana_port),
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_PROVISIONING": str(OBSERVABILITY / "grafana" / "provisioning"),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "PROMETHEUS_URL": f"http://{LOOPBACK}:{settings.prometheus_port}",
        "LOKI_URL": f"http://{LOOPBACK}:3100",
        "DASHBOARDS_PATH": str(OBSERVABILITY / "grafana" / "dashboards"),
    }
    ready = partial(answers_http, settings.grafana_port, "/api/health")
    return Service("grafana", [binary, f"--homepath={_GRAFANA_HOME}"], ready, environment)


def _greeting(settings: Settings, *, with_grafana: bool) -> str:
    prometheus = f"http://localhost:{settings.prometheus_port}"
    grafana = f"http://localhost:{settings.grafana_port}/dashboards"
    return f"""
Watching the stack of {settings.state_dir}. Ctrl-C ends it.

  Prometheus      {prometheus}/graph
  Targets         {prometheus}/targets
  Alerts          {prometheus}/alerts
  Dashboards      {grafana if with_grafana else "grafana-server is not on PATH: install Grafana to see them"}
"""
