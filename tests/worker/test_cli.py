"""`heldard worker`: what it refuses, what it lists, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from click.testing import CliRunner

from heldard.cli import main
from heldard.clock import SystemClock
from heldard.errors import ConfigError
from heldard.worker.detector import available, load

from .stub import StubKernel


def run(*arguments: str, env: dict[str, str] | None = None) -> Any:
    return CliRunner().invoke(main, ["worker", *arguments], env=env)


def test_installed_detectors_are_listed_by_task_type():
    listed = run("--detectors")
    assert listed.exit_code == 0
    assert {line.split()[0] for line in listed.output.splitlines()} >= {"detection", "anpr"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--task-types", "helmets"], "no detector for 'helmets'"), (["--api", "box:8000"], "http://"),
     (["--poll-interval", "30"], "three times"), (["--lease-ttl", "5"], "15<=x<=300")],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_reason(arguments: list[str], words: str):
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert words in refused.output


def test_options_are_read_from_the_environment():
    refused = run(env={"HELDARD_WORKER_API": "box:8000"})
    assert refused.exit_code == 2
    assert "--api" in refused.output


def test_every_listed_detector_loads():
    assert {name: callable(load(name)) for name in available()} == dict.fromkeys(available(), True)


def test_an_unknown_task_type_says_what_there_is():
    with pytest.raises(ConfigError, match=r"'helmets'.*anpr, detection"):
        load("helmets")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_gives_the_lease_back_and_ends_with_status_0(number: int):
    stub = StubKernel(tasks=[])
    async with TestServer(stub.app()) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "heldard", "worker", "--api", str(server.make_url("")), "--poll-interval", "1",
            "--worker-id", "w7", stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(20):
            while len(stub.lease_calls) < 2:
                await SystemClock().sleep(0.05)
            process.send_signal(number)
            _, errors = await process.communicate()
    assert process.returncode == 0
    assert stub.released == ["lse_1"]
    assert stub.lease_calls[0]["worker_id"] == "w7"
    assert sorted(stub.lease_calls[0]["task_types"]) == sorted(available())
    assert json.loads(errors.decode().splitlines()[-1])["event"] == "worker_stopped"
