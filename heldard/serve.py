"""Runs the daemon: listens, waits for SIGTERM or SIGINT, stops in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable

import structlog
from aiohttp import web

from heldard import keys, lock, upgrade
from heldard.api.wire import Runner
from heldard.app import build
from heldard.clock import SystemClock
from heldard.config import Settings
from heldard.errors import ConfigError
from heldard.notify import Notifier, Watchdog
from heldard.plugins import discover
from heldard.reload import Reloader

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

HANDLERS_S = 1.0
"""How long requests under way may take to end once the daemon stops; long polls are cut off then."""
WORK_LATER = "what was accepted is committed; what is left to do is done at the next start"

MARGIN_S = 4.0
"""Beyond `server.stop_grace_s`: for decoders, plugins' stop hooks and closing the database."""

log = structlog.get_logger("heldard")


def check_exposure(settings: Settings) -> None:
    """Raises ConfigError when other machines would be served without auth."""
    if settings.server.host not in LOOPBACK and not settings.auth.enabled and not settings.auth.allow_insecure:
        raise ConfigError(
            f"server.host = {settings.server.host!r} serves other machines, but auth is off: set auth.enabled = true, "
            "or auth.allow_insecure = true if that is meant",
            code="insecure_bind",
        )


async def serve(settings: Settings, read: Callable[[], Settings] | None = None) -> None:
    """Until SIGTERM or SIGINT; a second one ends it at once. SIGHUP reads the settings again with `read`.

    Raises ConfigError before anything is written when the settings cannot be used, or another daemon has the data.
    """
    check_exposure(settings)
    with lock.hold(settings.data_dir):
        await _serve(settings, read or (lambda: settings))


async def _serve(settings: Settings, read: Callable[[], Settings]) -> None:
    notifier = Notifier(os.environ)
    found = discover(settings.plugins.disabled)
    try:
        upgrade.prepare(settings.data_dir, found, SystemClock())
        stop = _stop_on_signals()
        app = await build(settings, found=found)
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(
            f"the data in {settings.data_dir} cannot be used: {error}. Look with `heldard doctor`; a damaged database "
            "is replaced with `heldard restore`",
            code="data_unusable",
        ) from error
    runner = Runner(app, access_log=None, shutdown_timeout=HANDLERS_S, handle_signals=False)
    await runner.setup()
    try:
        url = await _listen(runner, settings)
        _reload_on_signal(Reloader(app, settings, read), notifier, url)
        if notifier.watchdog_s is not None:
            app[keys.SUPERVISOR].start("watchdog", Watchdog(notifier, app[keys.DB], app[keys.CLOCK]).run)
        notifier.ready(f"listening on {url}")
        await stop.wait()
        log.info("stopping")
        notifier.stopping()
    finally:
        await _clean_up(runner, settings.server.stop_grace_s + MARGIN_S)
    log.info("stopped")


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()

    def asked(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("stopping_now", signal=number.name, note=WORK_LATER)
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    return stop


def _reload_on_signal(reloader: Reloader, notifier: Notifier, url: str) -> None:
    def reload() -> None:
        notifier.reloading()
        reloader.reload()
        notifier.ready(f"listening on {url}")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


async def _listen(runner: web.AppRunner, settings: Settings) -> str:
    """The address that is listened on."""
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
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    log.info("listening", url=url, data_dir=str(settings.data_dir))
    return url


async def _clean_up(runner: web.AppRunner, limit_s: float) -> None:
    """Stop in order; when something hangs, end all the same. What was accepted is in the database either way."""
    try:
        async with asyncio.timeout(limit_s):
            await runner.cleanup()
    except TimeoutError:
        log.error("stop_cut_short", seconds=limit_s, note=WORK_LATER)
        os._exit(1)
