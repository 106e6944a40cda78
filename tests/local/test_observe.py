"""`make observe`: Prometheus beside a stack, or a clear word on why not."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from local.ports import free_ports
from local.probes import answers_http
from local.settings import ROOT
from tests.conftest import stack_environment


async def started(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local", "observe"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


class TestObserve:
    async def test_it_watches_the_ports_of_the_stack_until_it_is_stopped(self, tmp_path: Path) -> None:
        port, metrics = free_ports(1), free_ports(202)
        environment = stack_environment(tmp_path / "state")
        environment |= {"METRICS_PORT": str(metrics), "PROMETHEUS_PORT": str(port)}
        process = await started(environment)
        assert process.stdout is not None
        printed = ""
        async with asyncio.timeout(40):
            while "Dashboards" not in printed:
                line = await process.stdout.readline()
                assert line, printed
                printed += line.decode()
        assert f"http://localhost:{port}/graph" in printed
        assert await answers_http(port, "/-/ready")
        targets = json.loads((tmp_path / "state" / "observe" / "prometheus" / "targets.json").read_text())
        assert [target["targets"] for target in targets] == [
            [f"127.0.0.1:{metrics}", f"127.0.0.1:{metrics + 1}"],
            [f"127.0.0.1:{metrics + 100}"],
            [f"127.0.0.1:{metrics + 200}"],
        ]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert not await answers_http(port, "/-/ready")

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"METRICS_PORT": "0"}, "METRICS_PORT is 0"),
            ({"METRICS_PORT": "9101", "PATH": "/nowhere"}, "apt-get install --no-install-recommends prometheus"),
        ],
    )
    async def test_what_is_missing_is_told_in_a_line(self, tmp_path: Path, changed: dict[str, str], told: str) -> None:
        process = await started({**stack_environment(tmp_path / "state"), **changed})
        output, _ = await process.communicate()
        assert process.returncode == 1
        assert told in output.decode()
        assert len(output.decode().splitlines()) == 1
        assert not (tmp_path / "state").exists()

    def test_grafana_is_given_what_its_provisioning_names(self) -> None:
        source = (ROOT / "local" / "observe.py").read_text()
        for file in (ROOT / "observability" / "grafana" / "provisioning").rglob("*.yml"):
            for word in file.read_text().split():
                if word.startswith("$"):
                    assert f'"{word.strip("$,}")}"' in source, word
        assert os.path.isdir(ROOT / "observability" / "grafana" / "dashboards")
