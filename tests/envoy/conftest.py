"""One gateway in front of one server for the tests that leave both as they are."""

from collections.abc import AsyncIterator

import pytest

from local.ports import free_ports
from tests.envoy.gateway import Gateway, running_gateway, wait_for_status
from tests.envoy.upstream import Upstream, start_upstream


@pytest.fixture(scope="session")
async def upstream() -> AsyncIterator[Upstream]:
    upstream = await start_upstream(free_ports(1))
    yield upstream
    await upstream.server.stop(None)


@pytest.fixture(scope="session")
async def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path_factory.mktemp("gateway"), [upstream.port]) as gateway:
        await wait_for_status(gateway, "/readyz", 200, within_s=15)
        yield gateway
