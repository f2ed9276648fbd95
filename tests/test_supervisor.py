"""Services are kept running, whatever they end by; only `stop` stops them."""

from __future__ import annotations

import asyncio

import pytest

from heldard.supervisor import FIRST_BACKOFF_S, Supervisor
from heldard.testing import VirtualClock


@pytest.mark.parametrize("error", [RuntimeError("no"), asyncio.CancelledError(), TimeoutError(), SystemExit(1)])
async def test_a_service_that_ends_by_an_error_runs_again_even_when_something_it_awaited_was_cancelled(
    error: BaseException,
) -> None:
    clock, runs = VirtualClock(), 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        raise error

    supervisor = Supervisor(clock)
    supervisor.start("one", run)
    await clock.advance(FIRST_BACKOFF_S * 1.5)
    (status,) = supervisor.status()
    assert (runs, status.state, status.restarts) == (2, "waiting", 2)
    assert status.last_error is not None
    assert status.last_error.startswith(type(error).__name__)
    await supervisor.stop()
    assert supervisor.status()[0].state == "stopped"
    await clock.advance(60)
    assert runs == 2
