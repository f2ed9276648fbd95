"""The worker: leases tasks, runs a detector on each one's frames, posts what is seen, and stops cleanly."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog

from heldard.clock import Clock, rfc3339
from heldard.errors import ConfigError
from heldard.supervisor import Handle, Supervisor
from heldard.worker.client import (
    MAX_DETECTIONS,
    Kernel,
    KernelError,
    PulledFrame,
    RefusedError,
    Results,
    TaskSpec,
    UnreachableError,
)
from heldard.worker.detector import Detection, Detector, DetectorFactory, Picture, load
from heldard.worker.retry import Backoff

EARLIEST_RENEWAL_S = 2.0
"""Leases are not asked for more often than this, however often they are doubted."""


@dataclass(frozen=True)
class WorkerSettings:
    """poll_interval_s: how often tasks are asked for. grace_s: how long a batch under way may take at the stop.
    report_every_s: how often progress is logged. empty_interval_s: an empty scene is told at most this often (the
    first time it is empty, always)."""

    poll_interval_s: float = 10.0
    grace_s: float = 5.0
    report_every_s: float = 60.0
    empty_interval_s: float = 1.0


@dataclass
class Progress:
    """Counts since the start. stale: frames too old to look at. lost: batches that could not be handed in."""

    frames: int = 0
    batches: int = 0
    detections: int = 0
    duplicates: int = 0
    stale: int = 0
    failed: int = 0
    lost: int = 0


class Worker:
    """Runs until cancelled or stopped. find: how detectors are found, by task type."""

    def __init__(
        self,
        kernel: Kernel,
        clock: Clock,
        settings: WorkerSettings | None = None,
        find: Callable[[str], DetectorFactory] = load,
    ) -> None:
        self.progress = Progress()
        self._settings = settings or WorkerSettings()
        self._kernel = kernel
        self._clock = clock
        self._find = find
        self._supervisor = Supervisor(clock)
        self._runners: dict[str, tuple[TaskRunner, Handle]] = {}
        self._doubt = asyncio.Event()
        self._stop = asyncio.Event()
        self._lease_id: str | None = None
        self._run_id = secrets.token_hex(6)
        self._starts = 0
        self._log: Any = structlog.get_logger("heldard.worker")

    async def run(self) -> None:
        """Work until `stop` is called; then finish what is under way, give the lease back and return."""
        services = [
            self._supervisor.start("leases", self._keep_leases),
            self._supervisor.start("report", self._report),
        ]
        try:
            await self._stop.wait()
        finally:
            for service in services:
                await service.stop()
            await self._wind_down()

    def stop(self) -> None:
        """Ask `run` to end. Safe from a signal handler of the loop; safe to call twice."""
        self._stop.set()

    async def _keep_leases(self) -> None:
        """Renew every `poll_interval_s`, and early, but not in haste, when a runner doubts the lease."""
        failing = False
        while True:
            failing = await self._renew(failing)
            self._doubt.clear()
            await self._clock.sleep(min(EARLIEST_RENEWAL_S, self._settings.poll_interval_s))
            await _until(self._doubt, self._settings.poll_interval_s - EARLIEST_RENEWAL_S)

    async def _renew(self, failing: bool) -> bool:
        """Ask for the tasks and do as told; whether it failed, so that a lasting fault is logged once."""
        try:
            granted = await self._kernel.lease()
        except KernelError as error:
            if not failing:
                self._log.warning("tasks_not_had", cause=str(error), running=len(self._runners))
            return True
        if failing:
            self._log.info("tasks_had_again")
        self._lease_id = granted.lease_id
        await self._reconcile(granted.tasks)
        return False

    async def _reconcile(self, tasks: Sequence[TaskSpec]) -> None:
        """Stop what is gone or changed, start what is new. A task is compared with everything it says."""
        wanted = {task.id: task for task in tasks}
        gone = [i for i, (runner, _) in self._runners.items() if wanted.get(i) != runner.task]
        for task_id in gone:
            await self._end(task_id)
        for task in wanted.values():
            if task.id not in self._runners:
                self._begin(task)

    def _begin(self, task: TaskSpec) -> None:
        self._starts += 1
        runner = TaskRunner(
            task, self._kernel, self._clock, self._settings, self.progress,
            find=self._find, epoch=f"{self._run_id}-{self._starts}", doubt=self._doubt.set,
        )  # fmt: skip
        handle = self._supervisor.start(f"task {task.id} {self._starts}", runner.run)
        self._runners[task.id] = runner, handle
        self._log.info("task_started", task=task.id, camera=task.camera_id, task_type=task.task_type, fps=task.fps)

    async def _end(self, task_id: str) -> None:
        runner, handle = self._runners.pop(task_id)
        await runner.finish(self._settings.grace_s)
        await handle.stop()
        self._log.info("task_stopped", task=task_id)

    async def _wind_down(self) -> None:
        await asyncio.gather(*(self._end(task_id) for task_id in list(self._runners)))
        await self._supervisor.stop()
        if self._lease_id is not None:
            try:
                await self._kernel.release(self._lease_id)
            except KernelError as error:
                self._log.info("lease_not_released", cause=str(error), effect="it lapses by itself")
        self._log.info("worker_stopped", **vars(self.progress))

    async def _report(self) -> None:
        while True:
            await self._clock.sleep(self._settings.report_every_s)
            self._log.info("worker_progress", tasks=len(self._runners), **vars(self.progress))


class TaskRunner:
    """One task: pull, look, post, again. Made anew whenever the task changes.

    epoch: names this run of the detector to the kernel. doubt: called when the lease seems to be lost.
    """

    def __init__(
        self,
        task: TaskSpec,
        kernel: Kernel,
        clock: Clock,
        settings: WorkerSettings,
        progress: Progress,
        *,
        find: Callable[[str], DetectorFactory],
        epoch: str,
        doubt: Callable[[], None],
    ) -> None:
        self.task = task
        self._kernel = kernel
        self._clock = clock
        self._settings = settings
        self._progress = progress
        self._find = find
        self._epoch = epoch
        self._last_identity = ""
        self._after: str | None = None
        self._told_empty_ms: int | None = None
        self._stopping, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._log: Any = structlog.get_logger("heldard.worker").bind(task=task.id, camera=task.camera_id)
        backoff = kernel.settings.backoff
        self._pulling = Faults("frames", self._log, clock, backoff, doubt)
        self._posting = Faults("posts", self._log, clock, backoff, doubt)
        self._looking = Faults("detector", self._log, clock, backoff, doubt)

    async def run(self) -> None:
        """Until cancelled, or until `finish` lets it end after the frame under way."""
        detector = await self._detector()
        while not self._stopping.is_set():
            started = self._clock.monotonic()
            frame = await self._pull()
            if frame is not None:
                self._idle.clear()
                await self._work(detector, frame)
                self._idle.set()
            # A little less than a period: a long-polling kernel then sets the pace itself.
            share = 0.75 if frame is not None and frame.frame_id else 1.0
            await self._clock.sleep(max(0.0, self.task.period_s * share - (self._clock.monotonic() - started)))
        await _never()

    async def finish(self, grace_s: float) -> None:
        """Let the frame under way be posted, for at most `grace_s`; nothing further is pulled."""
        self._stopping.set()
        await _until(self._idle, grace_s)

    async def _detector(self) -> Detector:
        """The task's detector; waits for ever where there is none or its config is refused: only a change helps."""
        try:
            return await asyncio.to_thread(lambda: self._find(self.task.task_type)(self.task.settings))
        except (ConfigError, ValueError) as error:
            self._log.error("detector_refused", task_type=self.task.task_type, cause=str(error))
            return await _never()

    async def _pull(self) -> PulledFrame | None:
        """The next frame worth looking at."""
        try:
            frame = await self._kernel.frame(self.task, self._after)
        except KernelError as error:
            await self._pulling.again(error)
            return None
        self._pulling.over()
        if frame is None or (frame.identity and frame.identity == self._last_identity):
            return None
        self._last_identity, self._after = frame.identity, frame.frame_id
        if frame.age_ms is not None and frame.age_ms > max(2000.0, 3000 * self.task.period_s):
            self._progress.stale += 1
            return None
        return frame

    async def _work(self, detector: Detector, frame: PulledFrame) -> None:
        """Look at a frame and hand in what is seen. A fault costs this frame only."""
        self._progress.frames += 1
        captured_ms = frame.captured_ms(self._clock.now_ms())
        picture = Picture(self.task.camera_id, captured_ms, frame.jpeg)
        try:
            seen = list(await asyncio.to_thread(detector.detect, picture))
        except Exception as error:  # noqa: BLE001 - a detector is anybody's code; its failure is said and counted
            self._progress.failed += 1
            await self._looking.again(error)
            return
        self._looking.over()
        if self._worth_posting(seen, captured_ms):
            await self._post(frame, seen, captured_ms)

    def _worth_posting(self, seen: Sequence[Detection], captured_ms: int) -> bool:
        """An empty scene is told when it becomes empty, and now and then: consumers learn that nothing was seen."""
        if seen:
            self._told_empty_ms = None
            return True
        if not self.task.settings.get("post_empty", True):
            return False
        told = self._told_empty_ms
        if told is not None and captured_ms - told < self._settings.empty_interval_s * 1000:
            return False
        self._told_empty_ms = captured_ms
        return True

    async def _post(self, frame: PulledFrame, seen: list[Detection], captured_ms: int) -> None:
        kept = sorted(seen, key=lambda d: -d.confidence)[:MAX_DETECTIONS] if len(seen) > MAX_DETECTIONS else seen
        results = Results(
            self.task.camera_id, self.task.task_type, rfc3339(captured_ms), kept,
            frame_id=frame.posted_id(self.task), frame_ticket=frame.ticket, epoch=self._epoch,
        )  # fmt: skip
        try:
            ack = await self._kernel.post(results)
        except KernelError as error:
            self._progress.lost += 1
            await self._posting.again(error)
            return
        self._posting.over()
        self._progress.batches += 1
        self._progress.detections += ack.detections_ingested
        self._progress.duplicates += ack.duplicate


class Faults:
    """A row of faults of one kind: says the first and the end of it, waits longer with each in between."""

    def __init__(self, of: str, log: Any, clock: Clock, backoff: Backoff, doubt: Callable[[], None]) -> None:
        self._of = of
        self._log = log
        self._clock = clock
        self._backoff = backoff
        self._doubt = doubt
        self._count = 0

    async def again(self, error: Exception) -> None:
        """One more; returns when it is time to try again."""
        self._count += 1
        if self._count == 1:
            self._log.warning(f"{self._of}_failing", cause=f"{type(error).__name__}: {error}")
        if isinstance(error, RefusedError) and error.lease_lost:
            self._doubt()
        wanted_s = error.retry_after_s if isinstance(error, UnreachableError) else None
        await self._clock.sleep(self._backoff.delay_s(self._count, random.random(), wanted_s))  # noqa: S311

    def over(self) -> None:
        """It went well again."""
        if self._count:
            self._log.info(f"{self._of}_recovered", faults=self._count)
        self._count = 0


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    """Return when the event is set, at the latest after `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


async def _never() -> NoReturn:
    while True:
        await asyncio.Event().wait()
