"""Runs the daemon: listens, waits for SIGTERM or SIGINT, stops in order."""

from __future__ import annotations

import asyncio
import signal

import structlog
from aiohttp import web

from heldard.app import build
from heldard.config import Settings
from heldard.errors import ConfigError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

log = structlog.get_logger("heldard")


def check_exposure(settings: Settings) -> None:
    """Raises ConfigError when other machines would be served without auth."""
    if settings.server.host not in LOOPBACK and not settings.auth.enabled and not settings.auth.allow_insecure:
        raise ConfigError(
            f"server.host = {settings.server.host!r} serves other machines, but auth is off: set auth.enabled = true, "
            "or auth.allow_insecure = true if that is meant",
            code="insecure_bind",
        )


async def serve(settings: Settings) -> None:
    """Until a signal comes. Raises ConfigError before anything is written when the settings cannot be used."""
    check_exposure(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = await build(settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.server.host, settings.server.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {settings.server.host}:{settings.server.port}: {error.strerror}; "
                "choose another server.port",
                code="cannot_listen",
            ) from None
        host, port = runner.addresses[0][:2]
        log.info("listening", url=f"http://{host}:{port}", data_dir=str(settings.data_dir))
        await stop.wait()
        log.info("stopping")
    finally:
        await runner.cleanup()
    log.info("stopped")
