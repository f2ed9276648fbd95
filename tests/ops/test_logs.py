"""Log lines are for people on a terminal and for journald otherwise, and never carry secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from heldard import logs
from heldard.config import LogSettings


class Err:
    """Standard error so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def err(capsys: pytest.CaptureFixture[str]) -> Iterator[Err]:
    """Standard error, with logging put back as it was afterwards."""
    root = logging.getLogger()
    handlers, level, configuration = root.handlers[:], root.level, structlog.get_config()
    yield Err(capsys)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configuration)


def test_secrets_are_removed_however_deep_they_lie(err: Err) -> None:
    logs.configure(LogSettings(format="json"))
    structlog.get_logger("x").info(
        "seen", password="hunter2", url="rtsp://admin:hunter2@cam/1", key="vok_0123456789abcdef",
        nested={"api_key": "hunter2", "list": [{"url": "http://u:hunter2@h"}]}, count=3,
    )  # fmt: skip
    line = json.loads(err.getvalue())
    assert "hunter2" not in err.getvalue()
    assert (line["password"], line["url"], line["key"], line["count"]) == ("***", "rtsp://***@cam/1", "***", 3)


@pytest.mark.parametrize("form", ["json", "text"])
def test_tracebacks_lose_their_secrets_too(err: Err, form: str) -> None:
    logs.configure(LogSettings(format=form))  # type: ignore[arg-type]
    try:
        raise OSError("cannot open rtsp://admin:hunter2@cam/1")
    except OSError:
        structlog.get_logger("x").exception("failed")
    assert "OSError" in err.getvalue()
    assert "hunter2" not in err.getvalue()


def test_what_libraries_log_comes_the_same_way(err: Err) -> None:
    logs.configure(LogSettings(format="json"))
    logging.getLogger("aiohttp.server").warning("odd: %s", "rtsp://a:hunter2@b")
    logging.getLogger("aiohttp.server").info("quiet")
    line = json.loads(err.getvalue())
    assert (line["event"], line["level"], line["library"]) == ("odd: rtsp://***@b", "warning", "aiohttp.server")


def test_the_level_can_change_while_running(err: Err) -> None:
    log = structlog.get_logger("x")
    logs.configure(LogSettings(format="json", level="warning"))
    log.info("first")
    logs.configure(LogSettings(format="json", level="info"))
    log.info("second")
    assert [json.loads(line)["event"] for line in err.getvalue().splitlines()] == ["second"]


def test_lines_for_journald_begin_with_their_priority(err: Err, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "goes_to_journal", lambda _: True)
    logs.configure(LogSettings())
    log = structlog.get_logger("x")
    log.info("a")
    log.warning("b")
    log.error("c")
    logging.getLogger("library").warning("d")
    lines = err.getvalue().splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<4>"]
    assert json.loads(lines[0][3:])["event"] == "a"
