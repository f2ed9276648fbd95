"""The API description against the daemon itself: whatever the description allows is asked, and so is what it does not.

Every check of schemathesis runs, except:

- positive_data_acceptance, which wants everything the schema allows to be accepted. Times, cursors, addresses, shapes
  of zones and slugs of capabilities have rules that JSON Schema cannot say; what breaks them is a 400 that says so.

- max_response_time, which is given a minute: no test fails because a machine is busy; benchmarks measure.

Streams are left out: their answers do not end.
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


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("auth", "phase"), [(False, "fuzzing"), (True, "coverage")], ids=["auth off", "auth on"])
def test_the_daemon_does_what_its_description_says(tmp_path: Path, auth: bool, phase: str) -> None:
    tool = shutil.which("schemathesis") or str(Path(sys.executable).with_name("schemathesis"))
    headers = ["--header", f"Authorization: Bearer {key_for(tmp_path)}"] if auth else []
    with daemon(tmp_path, auth=auth) as url:
        done = subprocess.run(
            [
                tool, "run", f"{url}/api/v1/openapi.json", "--checks", "all",
                "--exclude-checks", "positive_data_acceptance", "--exclude-path-regex", "/stream$",
                "--phases", phase, "--max-examples", "5", "--seed", "1",
                "--request-timeout", "60", "--max-response-time", "60", "--no-color", *headers,
            ],
            capture_output=True, text=True, timeout=170, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Traceback" not in (tmp_path / "log").read_text()
