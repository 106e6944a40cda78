"""The gateway's process: started, watched, and drained before it ends, so that a restart costs no call."""

import asyncio
import signal
from contextlib import suppress
from http.client import HTTPConnection, HTTPException

from gateway.config import gateway_command, render
from gateway.observed import DRAIN_PATH, FAIL_PATH, LOOPBACK, STATS_PATH, Observed
from gateway.settings import Settings

_POLL_S = 0.2
_STOP_S = 5.0
_ANSWER_S = 3.0
_QUIET_POLLS = 10
"""So many looks without a call under way: whoever still has a connection does not use it."""


async def run(settings: Settings) -> int:
    """Run the gateway until SIGTERM or SIGINT, then drain it: a second signal ends it at once.

    Returns:
        0 after a signal; the gateway's own status if it ended by itself.
    """
    signals: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, None)
    # The kernel ends it with this process, however that ends.
    bound = ("setpriv", "--pdeathsig", "KILL", "--")
    process = await asyncio.create_subprocess_exec(*bound, *command(settings), start_new_session=True)
    ended = asyncio.create_task(process.wait())
    told = asyncio.create_task(signals.get())
    await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        told.cancel()
        return ended.result() or 1
    draining = asyncio.create_task(_drain(settings))
    told_again = asyncio.create_task(signals.get())
    await asyncio.wait([ended, draining, told_again], return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, told_again):
        task.cancel()
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(ended), _STOP_S)
    if not ended.done():
        process.kill()
        await ended
    return 0


def command(settings: Settings) -> list[str]:
    """Fill in the configuration, and say what runs it."""
    config = settings.config_dir / "envoy.yaml"
    render(
        config,
        gateway_port=settings.gateway_port,
        grpc_port=settings.grpc_port,
        server_endpoints=settings.server_endpoints,
        reflection=settings.reflection,
        listen_address=settings.listen_address,
        xff_trusted_hops=settings.xff_trusted_hops,
        calls_per_second=settings.calls_per_second,
        certificate=settings.certificate,
        observed=Observed(
            admin_port=settings.admin_port,
            stats_address=settings.listen_address,
            stats_port=settings.metrics_port,
            collector_url=settings.collector_url,
            traced_percent=settings.traced_percent,
        ),
    )
    return gateway_command(config, threads=settings.threads)


async def _drain(settings: Settings) -> None:
    """Be unready while new calls still come, take no new connections, and wait for those there are to end."""
    # From now on /readyz says 503, and every answer asks its client to connect elsewhere.
    await asyncio.to_thread(ask, settings.admin_port, "POST", FAIL_PATH)
    await asyncio.sleep(settings.drain_s)
    # Clients that know several gateways by address go on connecting until nobody listens.
    await asyncio.to_thread(ask, settings.admin_port, "POST", DRAIN_PATH)
    quiet = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(settings.grace_s):
            # A connection without calls ends by its client's will only: it is not waited for.
            while quiet < _QUIET_POLLS and await _count(settings.admin_port, "downstream_cx_active"):
                quiet = 0 if await _count(settings.admin_port, "downstream_rq_active") else quiet + 1
                await asyncio.sleep(_POLL_S)


async def _count(admin_port: int, name: str) -> int:
    answer = await asyncio.to_thread(ask, admin_port, "GET", f"{STATS_PATH}?filter=^http.gateway.{name}$")
    counts = [line.split()[-1] for line in answer.splitlines() if line and not line.startswith("#")]
    # A gateway too busy to say has some.
    return int(counts[0]) if counts else 1


def ask(admin_port: int, method: str, path: str) -> str:
    """What the admin port answers; nothing if it does not, or not with 200."""
    connection = HTTPConnection(LOOPBACK, admin_port, timeout=_ANSWER_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.read().decode() if response.status == 200 else ""
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()
