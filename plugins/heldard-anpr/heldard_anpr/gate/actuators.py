"""What moves the barrier: an HTTP relay, a command, or nothing but a record. Each with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import aiohttp

from heldard.plugin import Clock
from heldard_anpr.settings import CommandRelay, HttpRelay, HttpRequest, Relay, SimulatedRelay

OFF_RETRY_S = 0.25
"""Pause before switching off is tried a second time."""

OUTPUT_LIMIT = 300
"""Characters of what a relay or a command said that go into the record."""


class ActuatorError(Exception):
    """The device did not do what it was asked; the message is for the operator and holds no secret."""


class Actuator(Protocol):
    async def switch(self, on: bool, words: Mapping[str, str]) -> None:
        """Switch the output. Raises ActuatorError."""

    @property
    def pulses_itself(self) -> bool:
        """Whether it falls back without being switched off."""


def actuator(relay: Relay) -> Actuator:
    match relay:
        case HttpRelay():
            return HttpActuator(relay)
        case CommandRelay():
            return CommandActuator(relay)
        case SimulatedRelay():
            return SimulatedActuator()


async def pulse(device: Actuator, clock: Clock, words: Mapping[str, str], pulse_ms: int) -> None:
    """On, wait, off; off is tried once more after a moment. Raises ActuatorError."""
    await device.switch(True, words)
    if device.pulses_itself:
        return
    await clock.sleep(pulse_ms / 1000)
    try:
        await switch_off(device, clock, words)
    except ActuatorError as error:
        raise ActuatorError(f"it was switched on and could not be switched off again: {error}") from None


async def switch_off(device: Actuator, clock: Clock, words: Mapping[str, str]) -> None:
    """Off, and once more after a moment if that fails. Raises ActuatorError."""
    try:
        await device.switch(False, words)
    except ActuatorError:
        await clock.sleep(OFF_RETRY_S)
        await device.switch(False, words)


def filled(text: str, words: Mapping[str, str]) -> str:
    """`{word}` replaced by its value; other braces stay as they are."""
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text


class HttpActuator:
    def __init__(self, relay: HttpRelay) -> None:
        self.relay = relay
        self.pulses_itself = relay.off is None

    async def switch(self, on: bool, words: Mapping[str, str]) -> None:
        request = self.relay.on if on else self.relay.off
        assert request is not None, "a relay without `off` pulses itself"
        timeout = aiohttp.ClientTimeout(total=self.relay.timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    request.method, filled(request.url, words), headers=self._headers(request, words),
                    data=None if request.body is None else filled(request.body, words).encode(), allow_redirects=False,
                ) as response,
            ):  # fmt: skip
                if response.status >= 300:
                    raise ActuatorError(f"the relay answered HTTP {response.status}")
        except TimeoutError:
            raise ActuatorError(f"the relay did not answer within {self.relay.timeout_s} s") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise ActuatorError(f"the relay could not be reached: {type(error).__name__}") from None

    def _headers(self, request: HttpRequest, words: Mapping[str, str]) -> dict[str, str]:
        headers = {name: filled(value, words) for name, value in request.headers.items()}
        if self.relay.secret_header is not None and self.relay.secret_file is not None:
            try:
                headers[self.relay.secret_header] = Path(self.relay.secret_file).read_text("utf-8").strip()
            except OSError as error:
                raise ActuatorError(f"secret_file cannot be read: {error.strerror}") from None
        return headers


class CommandActuator:
    """Runs a program in a process group of its own, so that what it started ends with it."""

    def __init__(self, relay: CommandRelay) -> None:
        self.relay = relay
        self.pulses_itself = relay.off is None

    async def switch(self, on: bool, words: Mapping[str, str]) -> None:
        command = self.relay.on if on else self.relay.off
        assert command is not None, "a relay without `off` pulses itself"
        arguments = [filled(part, words) for part in command]
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ActuatorError(f"the command could not be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(self.relay.timeout_s):
                _, said = await process.communicate()
        except TimeoutError:
            raise ActuatorError(f"the command took longer than {self.relay.timeout_s} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()
        if process.returncode != 0:
            text = said.decode("utf-8", "replace").strip()[:OUTPUT_LIMIT]
            raise ActuatorError(f"the command ended with status {process.returncode}: {text}")


class SimulatedActuator:
    """Moves nothing. `switched` remembers what it was asked for, newest last."""

    pulses_itself = False

    def __init__(self) -> None:
        self.switched: list[tuple[bool, dict[str, str]]] = []

    async def switch(self, on: bool, words: Mapping[str, str]) -> None:
        self.switched = [*self.switched[-99:], (on, dict(words))]
