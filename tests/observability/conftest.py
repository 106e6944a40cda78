"""A stack that is watched: Prometheus scrapes it every second, and a collector takes its traces."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from local.observe import prometheus_service, write_configuration
from local.ports import free_ports
from local.settings import read_settings
from local.supervisor import Supervisor
from tests.conftest import running_stack
from tests.e2e.conftest import Bank, open_bank
from tests.observability.collector import Collector, serve_collector
from tests.observability.traffic import make_traffic

_PROCESSES = 4
"""Two servers, a worker and the gateway."""
PROMETHEUS = shutil.which("prometheus")


@dataclass(frozen=True)
class Observed:
    """A bank with a little of every kind of traffic behind it, and who looks at it."""

    bank: Bank
    collector: Collector
    prometheus_url: str

    async def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus, which must be no error."""
        url = f"{self.prometheus_url}/api/v1/{path}?{urlencode(parameters)}"
        answer = json.loads(await asyncio.to_thread(_read, url))
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Every series that the expression gives now."""
        found: list[dict[str, Any]] = (await self.ask("query", query=expression))["result"]
        return found

    def log(self, name: str) -> list[dict[str, Any]]:
        """The lines that a part of the stack has logged."""
        text = (self.bank.stack.state_dir / "logs" / f"{name}.log").read_text()
        return [json.loads(line) for line in text.splitlines()]


def _read(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - on loopback
        return bytes(answer.read())


@pytest.fixture(scope="package")
async def observed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    assert PROMETHEUS is not None, "prometheus is not installed: apt-get install --no-install-recommends prometheus"
    folder = tmp_path_factory.mktemp("observed")
    port = free_ports(1)
    with serve_collector() as collector:
        settings = {
            "METRICS_PORT": str(free_ports(202)),
            "PROMETHEUS_PORT": str(port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        async with running_stack(folder, **settings) as stack, open_bank(stack) as bank:
            supervisor = Supervisor(folder, print)
            home = write_configuration(read_settings(stack.environment), folder)
            _hurry(home / "prometheus.yml")
            try:
                await supervisor.start(prometheus_service(PROMETHEUS, home, port))
                watched = Observed(bank, collector, f"http://127.0.0.1:{port}")
                async with asyncio.timeout(30):
                    # Else the traffic could be over before anybody looks.
                    while len(await watched.query("up == 1")) < _PROCESSES:
                        await asyncio.sleep(0.2)
                await make_traffic(bank)
                yield watched
            finally:
                await supervisor.stop()


def _hurry(configuration: Path) -> None:
    text = configuration.read_text()
    assert "scrape_interval: 10s" in text
    configuration.write_text(text.replace("_interval: 10s", "_interval: 1s"))
