"""`python -m worker`: jobs, relay, sequencer, hash chain, due work and retention, until SIGTERM or SIGINT."""

import asyncio
import os
import platform
import signal
import sys
from contextlib import AsyncExitStack

import structlog
import uvloop
from prometheus_client import start_http_server

from server import logs
from server.config import Settings, SettingsRefusedError, read_settings
from server.database import Database, close_all, open_pool
from server.event_loop import measure_lag
from server.keys import KeysRefusedError, load
from server.metrics import BUILD_INFO
from server.tokens import MailTokens
from server.tracing import open_tracing
from worker.chain import Chain
from worker.holds import HoldSweep
from worker.job_queue import JobQueue
from worker.lanes import LANES, work_in
from worker.mail_server import MailServer
from worker.orders import OrderSweep
from worker.outbox import Relay
from worker.retention import Retention
from worker.schedules import Schedules
from worker.sequencer import CONNECTION_SETTINGS, Sequencer
from worker.settings import DATABASE_CONNECTIONS, MAIL, METRICS_PORT_OFFSET, PROMPT, open_redis
from worker.supervision import keep_running

log = structlog.get_logger()


async def run(settings: Settings, mail_tokens: MailTokens, mail_server: MailServer) -> None:
    """Work until cancelled; then let running jobs end, within the grace of the settings."""
    async with AsyncExitStack() as stack:
        url = settings.database_url.get_secret_value()
        database = Database(
            await open_pool(url, size=DATABASE_CONNECTIONS, settings={"application_name": "worker"}), "worker"
        )
        sequencing = Database(await open_pool(url, size=1, settings=CONNECTION_SETTINGS), "sequencer")
        sealing = Database(
            await open_pool(url, size=1, settings={**CONNECTION_SETTINGS, "application_name": "chain"}), "chain"
        )
        stack.push_async_callback(close_all, database, sequencing, sealing)
        tracing = open_tracing(settings.otel_exporter_otlp_endpoint, "worker", str(os.getpid()), settings.build_version)
        if tracing is not None:
            stack.push_async_callback(asyncio.to_thread, tracing.close)
        redis = open_redis(settings.redis_url.get_secret_value())
        stack.push_async_callback(redis.aclose, close_connection_pool=True)

        relay = Relay(database, redis, LANES)
        ready_file, grace_s = settings.worker_ready_file, settings.shutdown_grace_s
        work, mail_work = (work_in(lane, database, mail_server, mail_tokens, settings) for lane in (PROMPT, MAIL))
        queue = JobQueue(database, redis, PROMPT, work, ready_file, grace_s, tracing)
        mail_queue = JobQueue(database, redis, MAIL, mail_work, None, grace_s, tracing)
        async with asyncio.TaskGroup() as group:
            group.create_task(measure_lag())
            group.create_task(keep_running("sequencer", Sequencer(sequencing).run))
            group.create_task(keep_running("chain", Chain(sealing).run))
            group.create_task(keep_running("relay", relay.run))
            group.create_task(keep_running("hold_sweep", HoldSweep(database).run))
            group.create_task(keep_running("order_sweep", OrderSweep(database).run))
            group.create_task(keep_running("schedules", Schedules(database).run))
            group.create_task(keep_running("retention", Retention(database).run))
            group.create_task(keep_running("queue", queue.run))
            group.create_task(keep_running("mail_queue", mail_queue.run))


async def _serve(settings: Settings, mail_tokens: MailTokens, mail_server: MailServer) -> None:
    working = asyncio.current_task()
    assert working is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, working.cancel)
    log.info("worker_started")
    try:
        await run(settings, mail_tokens, mail_server)
    except asyncio.CancelledError:
        log.info("worker_stopped")
    finally:
        if settings.worker_ready_file is not None:
            settings.worker_ready_file.unlink(missing_ok=True)


def main() -> int:
    """Run the worker; the exit status."""
    try:
        settings = read_settings()
        keys = load(settings)
        mail_server = MailServer(settings)
    except (SettingsRefusedError, KeysRefusedError) as error:
        print(f"refusing to start: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level, "worker")
    if settings.worker_ready_file is not None:
        # One left over from a worker that was killed says nothing about this one.
        settings.worker_ready_file.unlink(missing_ok=True)
    if settings.metrics_port:
        BUILD_INFO.labels(settings.build_version, platform.python_version()).set(1)
        start_http_server(settings.metrics_port + METRICS_PORT_OFFSET, addr=settings.server_host)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, MailTokens(keys.mail_token_key), mail_server))
    return 0


if __name__ == "__main__":
    sys.exit(main())
