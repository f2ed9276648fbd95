"""`heldard doctor`: looks at everything a box needs, says what is wrong and what to do about it.

Without a running daemon it looks at the files; with one (`--api`) also at what only the daemon knows.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from heldard import client
from heldard.backup import DATABASE
from heldard.clock import Clock, from_ms
from heldard.config import Settings
from heldard.db.file import DatabaseFile
from heldard.errors import ConfigError, HeldardError
from heldard.plugins import Plugin, read_settings
from heldard.retention.disk import MIB, DiskGuard
from heldard.sampler.ffmpeg import find_ffmpeg

Verdict = Literal["ok", "warn", "bad"]

MADE_YEAR = 2025
"""No clock that is right shows an earlier year."""
FFMPEG_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. advice: what to do, empty when nothing is wrong."""

    verdict: Verdict
    about: str
    text: str
    advice: str = ""


def examine(settings: Settings, plugins: Sequence[Plugin], clock: Clock) -> Iterator[Finding]:
    """What can be seen without a daemon. Changes nothing."""
    yield look_at_ffmpeg(settings)
    yield look_at_clock(clock, settings)
    yield from look_at_data(settings)
    for plugin in plugins:
        yield look_at_plugin(plugin, settings)


def look_at_ffmpeg(settings: Settings) -> Finding:
    try:
        path = find_ffmpeg(settings.sampler.ffmpeg_path)
        found = subprocess.run([path, "-hide_banner", "-version"], capture_output=True, timeout=FFMPEG_S, check=True)
    except ConfigError as error:
        return Finding("bad", "ffmpeg", error.message, "install it (apt-get install ffmpeg) or heldard[ffmpeg]")
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("bad", "ffmpeg", f"it cannot be run: {error}", "install another, or set sampler.ffmpeg_path")
    return Finding("ok", "ffmpeg", f"{path}: {found.stdout.decode(errors='replace').partition(chr(10))[0][:80]}")


def look_at_clock(clock: Clock, settings: Settings) -> Finding:
    now_ms = clock.now_ms()
    now = from_ms(now_ms)
    if now.year < MADE_YEAR:
        return Finding("bad", "clock", f"it shows {now:%Y-%m-%d}", "set it, or let systemd-timesyncd or chrony do so")
    newest = _newest_ms(settings.data_dir / DATABASE)
    if newest is not None and newest > now_ms + 60_000:
        ahead = (newest - now_ms) // 1000
        return Finding(
            "bad", "clock", f"the newest stored batch is {ahead} s ahead of it", "see who set it back, and when"
        )
    if not Path("/run/systemd/timesync/synchronized").exists() and Path("/run/systemd/timesync").exists():
        return Finding("warn", "clock", "it is not synchronised", "see timedatectl: times of events may be off")
    return Finding("ok", "clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _newest_ms(database: Path) -> int | None:
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
            row = connection.execute("SELECT received_ms FROM outbox ORDER BY seq DESC LIMIT 1").fetchone()
    except sqlite3.Error:
        return None  # look_at_database says what is wrong with it
    return None if row is None else int(row[0])


def look_at_data(settings: Settings) -> Iterator[Finding]:
    data_dir = settings.data_dir
    if not data_dir.is_dir():
        yield Finding("warn", "data", f"{data_dir} is not there", "it is made at the first start; is the path meant?")
        return
    if not os.access(data_dir, os.W_OK | os.X_OK):
        yield Finding("bad", "data", f"{data_dir} cannot be written by this user", "run as the daemon's user")
    yield look_at_disk(settings)
    yield look_at_key(data_dir)
    yield from look_at_database(data_dir / DATABASE, settings)


def look_at_disk(settings: Settings) -> Finding:
    guard = DiskGuard(settings.data_dir, settings.retention)
    text = f"{guard.free // MIB} MiB free of {guard.total // MIB}, {guard.reserve // MIB} held in reserve"
    if guard.low:
        return Finding("bad", "disk", text, "ingest answers 507: free some room, or lower retention.disk_reserve_mb")
    if guard.free < 2 * guard.reserve:
        return Finding("warn", "disk", text, "ingest stops at the reserve: see what grows, `du -xh / | sort -h | tail`")
    return Finding("ok", "disk", text)


def look_at_key(data_dir: Path) -> Finding:
    path = data_dir / "secret.key"
    if not path.exists():
        return Finding("ok", "secret key", "not in the data directory: given by the service manager, or not made yet")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Finding("warn", "secret key", f"others may read {path}", f"chmod 600 {path}")
    return Finding("ok", "secret key", "readable by its owner only; keep a copy apart from the backups")


def look_at_database(database: Path, settings: Settings) -> Iterator[Finding]:
    try:
        DatabaseFile(database).ensure_kept()
    except ConfigError as error:
        yield Finding("bad", "database", error.message, "stop the daemon, then: heldard restore --replace BACKUP")
        return
    if not database.exists():
        yield Finding("ok", "database", "there is none yet")
        return
    size = database.stat().st_size
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            found = connection.execute("PRAGMA quick_check(5)").fetchall()
            unfinished = connection.execute("SELECT count(*) FROM outbox WHERE fanned_out_ms IS NULL").fetchone()[0]
            held = connection.execute(
                "SELECT name, last_error FROM consumers WHERE quarantined_ms IS NOT NULL"
            ).fetchall()
            parked = connection.execute("SELECT count(*) FROM consumer_fanout WHERE state = 2").fetchone()[0]
    except sqlite3.Error as error:
        advice = "stop the daemon and restore the last backup: heldard restore --replace"
        yield Finding("bad", "database", f"{database} cannot be read: {error}", advice)
        return
    if found != [("ok",)]:
        advice = "back it up as it is, then restore the last whole backup: heldard restore --replace"
        yield Finding("bad", "database", f"it is damaged: {found[0][0]}", advice)
    else:
        yield Finding("ok", "database", f"sound, {size // MIB} MiB of {settings.retention.max_db_mb}")
    if unfinished > 1000:
        yield Finding("warn", "log", f"{unfinished} batches are not finished", "see heldard consumers list")
    for name, reason in held:
        yield Finding(
            "bad", f"consumer {name}", f"quarantined: {reason}", f"mend it, then heldard consumers resume {name}"
        )
    if parked:
        yield Finding("warn", "consumers", f"{parked} batches were failed", "heldard consumers list, then redrive")


def look_at_plugin(plugin: Plugin, settings: Settings) -> Finding:
    about = f"plugin {plugin.name}"
    if plugin.state == "refused":
        return Finding(
            "bad", about, f"refused: {plugin.reason}", "install a matching version, or list it in plugins.disabled"
        )
    if plugin.state == "disabled":
        return Finding("ok", about, "disabled")
    try:
        read_settings(plugin, settings.plugins.sections.get(plugin.name, {}))
    except ConfigError as error:
        return Finding("bad", about, error.message, "correct its section, then heldard config check")
    assert plugin.info is not None
    return Finding("ok", about, plugin.info.version)


def examine_running(api: str, api_key: str | None) -> Iterator[Finding]:
    """What the daemon at `api` says of itself: cameras, services, consumers."""
    try:
        system = client.call("GET", f"{api}/api/v1/system", api_key)
        samplers = client.call("GET", f"{api}/api/v1/ai/samplers", api_key)
        consumers = client.call("GET", f"{api}/api/v1/consumers", api_key)
    except HeldardError as error:
        yield Finding("warn", "daemon", error.message, "is it running? see systemctl status heldard, or give --api")
        return
    yield Finding("ok", "daemon", f"heldard {system['version']}, up for {system['uptime_seconds']} s")
    if system["store_problem"]:
        yield Finding("bad", "database", system["store_problem"], "see the start of this report, and the log")
    for service in system["services"]:
        if service["state"] == "waiting":
            yield Finding("bad", f"service {service['name']}", f"it fails: {service['last_error']}", "see the log")
    yield from map(look_at_stream, samplers)
    for consumer in consumers:
        if consumer["state"] == "quarantined":
            advice = f"mend it, then heldard consumers resume {consumer['name']}"
            yield Finding("bad", f"consumer {consumer['name']}", f"quarantined: {consumer['last_error']}", advice)
        elif consumer["lag"] > 1000:
            yield Finding(
                "warn", f"consumer {consumer['name']}", f"{consumer['lag']} batches behind", "see its plugin's log"
            )


_CAUSES = {
    "auth": "check the camera's name and password",
    "refused": "check the port, and whether the camera's RTSP service is on",
    "unreachable": "check address, cable and route",
    "timeout": "check cable, switch and the camera's load",
    "not_found": "check the path of the stream's URL",
    "codec": "set the camera to H.264 or H.265",
    "config": "give the camera a stream URL, and the box an ffmpeg",
}


def look_at_stream(status: dict[str, Any]) -> Finding:
    about = f"camera {status['camera_id']}/{status['stream_profile']}"
    if status["state"] in ("sampling", "connecting"):
        return Finding("ok", about, f"{status['state']}: {status['reason']}")
    if status["state"] == "budget_exhausted":
        return Finding("warn", about, status["reason"], "raise sampler.max_total_fps, or lower fps or width of tasks")
    advice = _CAUSES.get(status["cause"] or "", "see the log for what the decoder said")
    return Finding("bad", about, f"{status['state']} ({status['cause']}): {status['reason']}", advice)
