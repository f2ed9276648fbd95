"""The API description against the daemon itself: whatever the description allows is asked, and so is what it does not.

All phases run in both auth states, with every check. What is let through, and no more, is in `schemathesis.toml` beside
this file, with the reasons. The answer may take a minute: no test fails because a machine is busy; benchmarks measure.

Streams are left out: their answers do not end. So are single keys where auth is on: to change or revoke the key that is
used would turn every later question into a 401, which proves nothing. With auth off they are asked like all others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heldard.auth.cli import api_keys

pytestmark = pytest.mark.e2e

LISTENING = re.compile(r"http://127\.0\.0\.1:\d+")


@contextmanager
def daemon(folder: Path, *, auth: bool) -> Iterator[str]:
    """A daemon in a process of its own; its address."""
    environment = {**os.environ, "HELDARD_AUTH__ENABLED": str(auth).lower()}
    command = [sys.executable, "-m", "heldard", "serve", "--data-dir", str(folder / "data"), "--port", "0"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, text=True)
    try:
        yield _address(process, folder / "log")
    finally:
        process.terminate()
        process.wait(20)


def _address(process: subprocess.Popen[str], log: Path) -> str:
    for _ in range(300):
        if (found := LISTENING.search(log.read_text())) is not None:
            return found[0]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"it does not listen: {log.read_text()}")


def key_for(folder: Path) -> str:
    from click.testing import CliRunner

    given = ["add", "tests", "--role", "admin", "--confirm-privileged", "--data-dir", str(folder / "data")]
    result = CliRunner().invoke(api_keys, given)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


PHASES = "examples,coverage,fuzzing,stateful"
STREAMS = "/stream$"
KEYS = "/api/v1/api-keys/"


def check(folder: Path, *, auth: bool, examples: int, limit_s: int) -> None:
    tool = shutil.which("schemathesis") or str(Path(sys.executable).with_name("schemathesis"))
    headers = ["--header", f"Authorization: Bearer {key_for(folder)}"] if auth else []
    with daemon(folder, auth=auth) as url:
        done = subprocess.run(
            [
                tool, "--config-file", str(Path(__file__).with_name("schemathesis.toml")),
                "run", f"{url}/api/v1/openapi.json", "--checks", "all", "--phases", PHASES,
                "--exclude-path-regex", f"{STREAMS}|{KEYS}" if auth else STREAMS,
                "--max-examples", str(examples), "--seed", "1",
                "--request-timeout", "60", "--max-response-time", "60", "--no-color", *headers,
            ],
            capture_output=True, text=True, timeout=limit_s, cwd=folder,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Traceback" not in (folder / "log").read_text()


@pytest.mark.timeout(620)
@pytest.mark.parametrize("auth", [False, True], ids=["auth off", "auth on"])
def test_the_daemon_does_what_its_description_says(tmp_path: Path, auth: bool) -> None:
    check(tmp_path, auth=auth, examples=1, limit_s=600)


@pytest.mark.long
@pytest.mark.timeout(7300)
@pytest.mark.parametrize("auth", [False, True], ids=["auth off", "auth on"])
def test_the_daemon_does_what_its_description_says_whatever_is_asked(tmp_path: Path, auth: bool) -> None:
    check(tmp_path, auth=auth, examples=60, limit_s=7200)
