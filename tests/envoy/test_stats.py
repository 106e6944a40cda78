"""What the gateway tells Prometheus, and that nobody gets more out of its admin port."""

import os
from functools import partial
from pathlib import Path

import pytest

from gateway.config import gateway_command, render
from gateway.observed import Observed
from local.ports import free_ports
from local.probes import answers_http
from local.process import Service, start_service
from tests.envoy.gateway import Gateway


async def fetch(port: int, method: str, path: str) -> tuple[int, str]:
    reply = await Gateway(port, port, Path(os.devnull)).send(method, path)
    return reply.status, reply.body.decode()


class TestStats:
    async def test_statistics_are_all_that_is_told_and_nothing_can_be_changed(self, tmp_path: Path) -> None:
        gateway, stats, admin = (free_ports(2), free_ports(1), free_ports(1))
        config = tmp_path / "envoy.yaml"
        render(
            config,
            gateway_port=gateway,
            grpc_port=gateway + 1,
            server_endpoints=[("127.0.0.1", 1)],
            reflection=False,
            observed=Observed(admin_port=admin, stats_port=stats),
        )
        ready = partial(answers_http, gateway, "/healthz")
        child = await start_service(Service("gateway", gateway_command(config), ready, os.environ), tmp_path)
        try:
            await child.wait_ready()
            for port in (stats, admin):
                status, text = await fetch(port, "GET", "/stats/prometheus")
                assert status == 200
                assert 'envoy_cluster_membership_healthy{envoy_cluster_name="server"} 0' in text
                for method, path in (
                    ("GET", "/"),
                    ("GET", "/config_dump"),
                    ("GET", "/stats"),
                    ("GET", "/stats/prometheus/../../config_dump"),
                    ("POST", "/quitquitquit"),
                    ("POST", "/healthcheck/ok"),
                    ("POST", "/runtime_modify?a=b"),
                ):
                    assert (await fetch(port, method, path))[0] in (403, 404), path
            assert (await fetch(gateway, "GET", "/stats/prometheus"))[0] == 404
            assert child.process.returncode is None
        finally:
            await child.stop()

    async def test_without_an_admin_port_there_is_none(self, tmp_path: Path) -> None:
        config = tmp_path / "envoy.yaml"
        render(config, gateway_port=1, grpc_port=2, server_endpoints=[("127.0.0.1", 3)], reflection=False)
        assert "\nadmin: {}\n" in config.read_text()

    @pytest.mark.parametrize("url", ["", "http://127.0.0.1:4318"])
    async def test_requests_are_traced_only_with_a_collector(self, tmp_path: Path, url: str) -> None:
        config = tmp_path / "envoy.yaml"
        render(
            config,
            gateway_port=1,
            grpc_port=2,
            server_endpoints=[("127.0.0.1", 3)],
            reflection=False,
            observed=Observed(collector_url=url),
        )
        assert ("tracing: null" in config.read_text()) == (url == "")
        assert ('"port_value": 4318' in config.read_text()) == (url != "")
