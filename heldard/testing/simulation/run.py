"""Runs seeds, one or many; the command."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from heldard.testing.simulation.life import make_template
from heldard.testing.simulation.loop import SimLoop
from heldard.testing.simulation.oracle import Findings, check
from heldard.testing.simulation.world import World

_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files of a run lie: no power is lost in it, so nothing has to reach a disk."""

END_S = 40.0
"""Virtual seconds that the kernel has, once the faults have stopped, to come to rest."""


@dataclass(frozen=True)
class Run:
    """How a run ended. steps: turns of the event loop; crashes: how often the process died; error: what was wrong."""

    seed: int
    steps: int
    crashes: int
    batches: int
    error: str | None
    trace: Sequence[str]


def run(seed: int, template: Path, folder: Path) -> Run:
    """One run. `template` is an empty migrated database, `folder` is where this run's own lies."""
    loop = SimLoop()
    world = World(seed, loop, template, folder)
    error: str | None = None
    findings = Findings(0, 0, 0)
    quiet = _silence()
    try:
        loop.run_until_complete(_play(world))
        findings = check(world)
    except Exception as failure:  # noqa: BLE001 - a failed run is what is looked for
        error = f"{type(failure).__name__}: {failure}"
    finally:
        structlog.configure(**quiet)
        world.close()
        loop.close()
    return Run(seed, loop.steps, world.crashes, findings.batches, error, world.trace)


async def _play(world: World) -> None:
    asyncio.get_running_loop().set_exception_handler(world.unhandled)
    await world.start()
    working = [asyncio.ensure_future(worker) for worker in world.workers()]
    while not all(task.done() for task in working):
        await world.live()
    for task in working:
        task.result()
    world.chaos.stop()
    await world.settle(END_S)
    await world.stop()


def _silence() -> dict[str, Any]:
    """Drop the kernel's log lines, thousands of which are about faults that were asked for."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return dict(before)


def run_many(seeds: Sequence[int], *, say: bool = False) -> list[Run]:
    """Runs of these seeds, those that failed."""
    failed: list[Run] = []
    began = time.perf_counter()
    steps = crashes = batches = 0
    with tempfile.TemporaryDirectory(prefix="heldard-sim-", dir=_MEMORY) as place:
        template = make_template(Path(place))
        for number, seed in enumerate(seeds, 1):
            done = run(seed, template, Path(place))
            steps, crashes, batches = steps + done.steps, crashes + done.crashes, batches + done.batches
            if done.error is not None:
                failed.append(done)
            if say and (number % 500 == 0 or number == len(seeds)):
                took = time.perf_counter() - began
                print(  # noqa: T201 - this is its command
                    f"{number} seeds in {took:.0f} s: {batches} batches, {crashes} crashes, {steps} steps of the loop, "
                    f"{len(failed)} failed", flush=True,
                )  # fmt: skip
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m heldard.testing.simulation",
        description="Runs of the kernel on virtual time, with faults everywhere.",
    )
    parser.add_argument("--seed", type=int, help="run this one and show what happened")
    parser.add_argument("--seeds", type=int, default=1000, help="run so many, from --first on")
    parser.add_argument("--first", type=int, default=None, help="the first seed; random when not given")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return _show(given.seed)
    first = random.randrange(2**31) if given.first is None else given.first
    failed = run_many(range(first, first + given.seeds), say=True)
    for done in failed[:10]:
        print(f"seed {done.seed}: {done.error}")  # noqa: T201
    return 1 if failed else 0


def _show(seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="heldard-sim-", dir=_MEMORY) as place:
        done = run(seed, make_template(Path(place)), Path(place))
    print("\n".join(done.trace))  # noqa: T201
    print(f"seed {seed}: {done.batches} batches, {done.crashes} crashes, {done.steps} steps: {done.error or 'ok'}")  # noqa: T201
    return 1 if done.error else 0
