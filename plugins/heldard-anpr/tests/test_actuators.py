"""What moves the barrier, tried on real programs and a real server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from heldard_anpr.gate.actuators import ActuatorError, SimulatedActuator, actuator, filled, pulse
from heldard_anpr.settings import CommandRelay, HttpRelay, HttpRequest, SimulatedRelay

WORDS = {"camera_id": "gate", "event_id": "evt_1", "port": "3", "pulse_ms": "500"}


class Clock:
    def __init__(self) -> None:
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_words_are_replaced_and_other_braces_stay() -> None:
    assert filled('{"port": {port}, "x": {other}}', WORDS) == '{"port": 3, "x": {other}}'


async def test_p39_a_pulse_is_on_wait_off() -> None:
    device, clock = SimulatedActuator(), Clock()
    await pulse(device, clock, WORDS, 500)
    assert [on for on, _ in device.switched] == [True, False]
    assert clock.slept == [0.5]


async def test_a_command_gets_its_words_and_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "out"
    relay = CommandRelay(on=["python3", "-c", f"import sys; open({str(out)!r}, 'w').write(repr(sys.argv[1:]))",
                             "{port}", "$(id) {event_id}"])  # fmt: skip
    device = actuator(relay)
    assert device.pulses_itself
    await pulse(device, Clock(), WORDS, 500)
    assert out.read_text() == "['3', '$(id) evt_1']"


async def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(ActuatorError, match="status 7: no relay"):
        await actuator(CommandRelay(on=["sh", "-c", "echo no relay >&2; exit 7"])).switch(True, WORDS)
    with pytest.raises(ActuatorError, match="could not be started"):
        await actuator(CommandRelay(on=["/no/such/program"])).switch(True, WORDS)


async def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    relay = CommandRelay(on=["sh", "-c", f"sleep 60 & echo $! > {pid}; wait"], timeout_s=0.5)
    with pytest.raises(ActuatorError, match=r"longer than 0\.5 s"):
        await actuator(relay).switch(True, WORDS)
    for _ in range(100):
        if _gone(pid):
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("what the command started is still there")


def _gone(pid: Path) -> bool:
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    return not stat.exists() or ") Z " in stat.read_text()


def _written(pid: Path) -> bool:
    return pid.exists() and bool(pid.read_text().strip())


async def test_a_cancelled_command_is_ended_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    device = actuator(CommandRelay(on=["sh", "-c", f"echo $$ > {pid}; exec sleep 60"], timeout_s=30))
    task = asyncio.ensure_future(device.switch(True, WORDS))
    for _ in range(500):
        if _written(pid):
            break
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_relay_that_does_not_listen_or_answer_is_told() -> None:
    async def never(reader: Any, writer: Any) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        slow = HttpRelay(on=HttpRequest(f"http://127.0.0.1:{port}/"), timeout_s=0.2)
        with pytest.raises(ActuatorError, match=r"within 0\.2 s"):
            await actuator(slow).switch(True, WORDS)
    finally:
        server.close()
        await server.wait_closed()
    with pytest.raises(ActuatorError, match="could not be reached"):
        await actuator(HttpRelay(on=HttpRequest(f"http://127.0.0.1:{port}/"))).switch(True, WORDS)


async def test_a_secret_that_cannot_be_read_is_told_without_it(tmp_path: Path) -> None:
    relay = HttpRelay(on=HttpRequest("http://127.0.0.1:1/"), secret_header="X-Key", secret_file=str(tmp_path / "no"))
    with pytest.raises(ActuatorError, match="secret_file cannot be read"):
        await actuator(relay).switch(True, WORDS)


def test_the_simulated_relay_remembers_a_bounded_number() -> None:
    async def run() -> int:
        device = actuator(SimulatedRelay())
        for _ in range(150):
            await device.switch(True, WORDS)
        assert isinstance(device, SimulatedActuator)
        return len(device.switched)

    assert asyncio.run(run()) == 100
