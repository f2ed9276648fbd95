"""The doctor sees what is wrong, says what to do about it, and changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from heldard import doctor
from heldard.cli import main
from heldard.clock import SystemClock
from heldard.config import Settings, settle
from heldard.db import migrations
from heldard.db.database import Database
from heldard.doctor import Finding
from heldard.plugins import Plugin

CLOCK = SystemClock()
HELD = "INSERT INTO consumers (name, since_seq, quarantined_ms, last_error) VALUES ('{}', 0, 1, 'boom')"


class StoppedClock(SystemClock):
    """A clock that shows one time."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with closing(Database(tmp_path / "heldard.db", CLOCK).connect()) as connection:
        migrations.apply(connection, "heldard", migrations.find("heldard.db"), 0)
    return settle({"store": {"data_dir": str(tmp_path)}, "retention": {"disk_reserve_mb": 1}})


def _execute(settings: Settings, sql: str) -> None:
    with closing(sqlite3.connect(settings.data_dir / "heldard.db", isolation_level=None)) as connection:
        connection.execute(sql)


def _about(settings: Settings, about: str, *plugins: Plugin, clock: SystemClock = CLOCK) -> Finding:
    return next(found for found in doctor.examine(settings, plugins, clock) if found.about == about)


def test_a_sound_box_has_nothing_to_complain_of(settings: Settings) -> None:
    found = list(doctor.examine(settings, (), CLOCK))
    assert [finding for finding in found if finding.verdict == "bad"] == []
    assert {finding.about for finding in found} >= {"ffmpeg", "clock", "disk", "secret key", "database"}


def test_no_ffmpeg_is_bad_and_says_how_to_get_it(settings: Settings) -> None:
    broken = settle({"sampler": {"ffmpeg_path": "/nowhere/ffmpeg"}})
    finding = doctor.look_at_ffmpeg(broken)
    assert finding.verdict == "bad"
    assert "install" in finding.advice


def test_a_clock_before_this_program_was_made_is_wrong(settings: Settings) -> None:
    finding = _about(settings, "clock", clock=StoppedClock(1000))
    assert (finding.verdict, finding.text) == ("bad", "it shows 1970-01-01")


def test_a_clock_behind_the_newest_batch_was_set_back(settings: Settings) -> None:
    columns = "camera, source, channel, at_ms, timestamp_ms, received_ms, detection_count, labels"
    _execute(settings, f"INSERT INTO outbox ({columns}) VALUES (1, 1, 1, 0, 0, {CLOCK.now_ms() + 600_000}, 0, 0)")
    finding = _about(settings, "clock")
    assert finding.verdict == "bad"
    assert "ahead of it" in finding.text


def test_a_reached_reserve_is_bad(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "heldard.doctor.DiskGuard.refresh", lambda guard: guard.__dict__.update(total=10**9, free=0, low=True)
    )
    finding = _about(settings, "disk")
    assert finding.verdict == "bad"
    assert "507" in finding.advice


def test_a_damaged_database_is_found_and_restore_is_named(settings: Settings) -> None:
    database = settings.data_dir / "heldard.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    content = bytearray(database.read_bytes())
    content[4096 * 3 : 4096 * 3 + 500] = b"\xff" * 500
    database.write_bytes(content)
    finding = _about(settings, "database")
    assert finding.verdict == "bad"
    assert "heldard restore" in finding.advice
    database.write_bytes(b"no database at all" * 500)
    assert _about(settings, "database").verdict == "bad"


def test_a_key_others_can_read_is_told_of(settings: Settings) -> None:
    key = settings.data_dir / "secret.key"
    key.write_text("x")
    key.chmod(0o644)
    assert _about(settings, "secret key").advice == f"chmod 600 {key}"


def test_a_quarantined_consumer_and_a_refused_plugin_are_bad(settings: Settings) -> None:
    _execute(settings, HELD.format("anpr"))
    assert "boom" in _about(settings, "consumer anpr").text
    assert _about(settings, "plugin x", Plugin("x", "refused", reason="too new")).text == "refused: too new"
    assert _about(settings, "plugin x", Plugin("x", "disabled")).verdict == "ok"


@pytest.mark.parametrize(
    ("state", "cause", "verdict", "advice"),
    [
        ("sampling", None, "ok", ""),
        ("offline", "auth", "bad", "password"),
        ("error", "codec", "bad", "H.264"),
        ("budget_exhausted", None, "warn", "sampler.max_total_fps"),
        ("stalled", "lost", "bad", "see the log"),
    ],
)
def test_a_stream_without_pictures_is_told_with_what_to_check(
    state: str, cause: str | None, verdict: str, advice: str
) -> None:
    finding = doctor.look_at_stream(
        {"camera_id": "gate", "stream_profile": "sub", "state": state, "cause": cause, "reason": "said"}
    )
    assert finding.verdict == verdict
    assert advice in finding.advice


def test_no_daemon_is_a_warning(settings: Settings) -> None:
    [finding] = doctor.examine_running("http://127.0.0.1:1", None)
    assert (finding.verdict, finding.about) == ("warn", "daemon")


def test_the_command_fails_when_something_is_bad(settings: Settings) -> None:
    arguments = ["doctor", "--offline", "--data-dir", str(settings.data_dir)]
    assert CliRunner(env={"HELDARD_RETENTION__DISK_RESERVE_MB": "1"}).invoke(main, arguments).exit_code == 0
    _execute(settings, HELD.format("a"))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "-> mend it, then heldard consumers resume a" in result.output
