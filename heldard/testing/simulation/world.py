"""What outlives the process of a simulated run: the file, the workers, and what was acted or acknowledged."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldard.errors import HeldardError, StoreError
from heldard.ingest.model import BatchPost, DetectionPost, EventPost, Receipt
from heldard.ingest.service import Binding
from heldard.testing.simulation.chaos import Chaos, Profile
from heldard.testing.simulation.life import CAMERAS, Process
from heldard.testing.simulation.loop import SimClock, SimLoop


@dataclass
class Sent:
    """A batch some worker sends. seq: its place, once acknowledged."""

    camera: str
    task_type: str
    frame_id: str | None
    token: str
    detections: int
    event: bool
    seq: int | None = None


class World:
    """What outlives the process: the file, the workers, and everything that was acted or acknowledged."""

    def __init__(self, seed: int, loop: SimLoop, template: Path, folder: Path) -> None:
        self.dice = random.Random(seed)
        self.loop = loop
        self.clock = SimClock(loop)
        self.profile = Profile.of(self.dice)
        self.chaos = Chaos(self.dice, self.profile)
        self.path = folder / f"sim-{seed}.db"
        shutil.copyfile(template, self.path)
        self.trace: list[str] = [f"seed {seed}: {self.profile}"]
        self.evidence = folder / f"sim-{seed}"
        self.acted: list[int] = []
        self.opened: list[int] = []
        self.acknowledged: list[Sent] = []
        self.tokens_sent: list[Sent] = []
        self.pictures_lost = False
        self.crashes = 0
        self.failures: list[str] = []
        self.process: Process | None = None
        self._requests: dict[asyncio.Task[Any], None] = {}  # in order: a set's order is not the seed's
        self._died = asyncio.Event()
        loop.on_death = self._die

    # --- life and death ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the process, again and again while the store does not let it."""
        while True:
            self._died.clear()
            process = Process(self)
            try:
                await process.start(self)
            except HeldardError as error:
                self.note(f"start failed: {error}")
                await self._bury(process)
                continue
            break
        self.process = process
        if self.crashes < self.profile.crashes and self.chaos.on:
            self.loop.die_at = self.loop.steps + self.dice.randint(1, 1500)
        self.note("started")

    async def open(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Do what was asked for, which no rollback reaches."""
        await asyncio.sleep(0)  # noqa: TID251 - a place for the process to die: claimed, and not yet done
        self.opened.append(payload["seq"])
        await self.chaos.consumer("open")
        return {"opened": payload["seq"]}

    def room(self) -> bool:
        """Whether the disk takes another picture."""
        full = self.chaos.chance(self.profile.store * 10)
        self.pictures_lost = self.pictures_lost or full
        return not full

    def maybe_die(self, share: float) -> None:
        if self.crashes < self.profile.crashes and self.process is not None and self.chaos.chance(share):
            self._die()

    def _die(self) -> None:
        """Between two steps of the loop: nothing is written from here on and no answer leaves."""
        if self.process is None or not self.chaos.on:
            return
        self.process.writer.die()
        self._died.set()
        self.note("died")

    async def live(self) -> None:
        """Until the process dies and is started again, or a while passes."""
        try:
            async with asyncio.timeout(0.5):
                await self._died.wait()
        except TimeoutError:
            return
        process, self.process = self.process, None
        assert process is not None
        self.crashes += 1
        await self._bury(process)
        await self.start()

    async def _bury(self, process: Process) -> None:
        process.writer.die()
        self.loop.die_at = None
        for request in list(self._requests):
            request.cancel()
        await process.supervisor.stop()
        process.close()

    async def settle(self, seconds: float) -> None:
        """No more faults: start it once more, resume and re-drive, and let time pass."""
        self.loop.die_at = None
        if self._died.is_set():
            await self.live()
        assert self.process is not None
        await self.process.stop()
        self.process.guard.close()
        await self.start()
        fanout = self.process.fanout
        for member in fanout.members():
            await member.resume()
        await self._at_rest(seconds)
        for member in fanout.members():
            if member.consumer.delivery == "effects":
                answer = await fanout.redrive(member)
                self.note(f"re-driven: {member.consumer.name} {answer.done} {answer.failed}")
        await self._at_rest(seconds)

    async def _at_rest(self, seconds: float) -> None:
        assert self.process is not None
        fanout = self.process.fanout
        until = self.loop.virtual_s + seconds
        while self.loop.virtual_s < until:
            await self.clock.sleep(1.0)
        for member in fanout.members():
            status = await fanout.status(member)
            if status.lag or status.state != "active":
                raise AssertionError(f"{status.name} is not done after {seconds} s: {status}")

    async def stop(self) -> None:
        assert self.process is not None
        await self.process.stop()
        self.process.guard.close()
        self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.process.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(_finish(asyncio.all_tasks(self.loop)))
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        shutil.rmtree(self.evidence, ignore_errors=True)

    def unhandled(self, _loop: Any, context: dict[str, Any]) -> None:
        """A task or callback that nobody looked after."""
        error = context.get("exception")
        if isinstance(error, StoreError) and "died" in error.message:
            return
        self.failures.append(f"{context.get('message')}: {error!r}")

    def note(self, text: str) -> None:
        self.trace.append(f"{self.loop.virtual_s:9.4f} step {self.loop.steps}: {text}")

    # --- workers ----------------------------------------------------------------------------------------------------

    def workers(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Per camera two workers of one task, who share frames, and one of another task."""
        for camera in CAMERAS:
            frames = [f"{camera}{n}" for n in range(self.profile.batches)]
            yield self._worker(camera, "detection", frames)
            yield self._worker(camera, "detection", self.dice.sample(frames, len(frames) // 2))
            yield self._worker(camera, "anpr", frames[: len(frames) // 2])

    async def _worker(self, camera: str, task_type: str, frames: Iterable[str]) -> None:
        for frame in frames:
            await self.clock.sleep(self.dice.choice((0, 0.001, 0.05, 0.4)))
            nameless = self.dice.random() < 0.15
            sent = Sent(camera, task_type, None if nameless else frame, f"{task_type}-{frame}-{self.dice.random()}",
                        self.dice.randint(0, 3), self.dice.random() < 0.3)  # fmt: skip
            await self._deliver(sent)
            if self.dice.random() < 0.2:
                await self._deliver(sent)

    async def _deliver(self, sent: Sent) -> None:
        """Until it is acknowledged; once only when nobody could tell a second one from the first."""
        self.tokens_sent.append(sent)
        while True:
            receipt = await self._request(sent)
            if receipt is not None:
                self._acknowledge(sent, receipt)
                return
            if sent.frame_id is None:
                return
            await self.clock.sleep(self.dice.choice((0.01, 0.1, 0.3)))

    def _acknowledge(self, sent: Sent, receipt: Receipt) -> None:
        if sent.frame_id is not None and sent.seq is not None and sent.seq != receipt.seq:
            raise AssertionError(f"{sent} was at {sent.seq} and is at {receipt.seq} now")
        sent.seq = receipt.seq
        self.acknowledged.append(
            Sent(sent.camera, sent.task_type, sent.frame_id, sent.token, sent.detections, sent.event, receipt.seq)
        )

    async def _request(self, sent: Sent) -> Receipt | None:
        """What the worker hears; None for an error, a lost connection, or when it gave up."""
        process = self.process
        if process is None:
            return None
        post = BatchPost(
            sent.camera, sent.task_type, frame_id=sent.frame_id,
            detections=[DetectionPost(label=f"thing{n % 2}", track_id=sent.token) for n in range(sent.detections)],
            event=EventPost("mine", payload={"token": sent.token}) if sent.event else None,
        )  # fmt: skip
        binding = Binding(sent.camera, sent.task_type, sent.frame_id, "system")
        task = asyncio.ensure_future(process.ingest.take(post, binding))
        self._requests[task] = None
        task.add_done_callback(self._requests.pop)
        patience = self.dice.choice((0.0005, 0.01, 0.1)) if self.chaos.chance(self.profile.give_up) else 30.0
        done, _ = await asyncio.wait((task,), timeout=patience)
        if not done:
            if self.dice.random() < 0.5:
                task.cancel()
            task.add_done_callback(_look)
            return None
        if process.writer.dead or task.cancelled():
            _look(task)
            return None
        if isinstance(task.exception(), HeldardError):
            return None
        return task.result()


def _look(task: asyncio.Task[Any]) -> None:
    """Nobody else will."""
    if not task.cancelled():
        task.exception()


async def _finish(tasks: Iterable[asyncio.Task[Any]]) -> None:
    me = asyncio.current_task()
    await asyncio.gather(*(task for task in tasks if task is not me), return_exceptions=True)
