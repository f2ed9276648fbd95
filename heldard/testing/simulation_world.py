"""The world of a simulated run: an event loop on virtual time, a store that fails, a process that dies."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldard.clock import SystemClock
from heldard.config import FanoutSettings, IngestSettings
from heldard.db import migrations
from heldard.db.database import Database
from heldard.db.group import explain
from heldard.db.guard import SqlGuard
from heldard.db.names import Names
from heldard.db.writer import Writer
from heldard.errors import HeldardError, NotFoundError, StoreError
from heldard.events.service import Events
from heldard.fanout.actions import Actions
from heldard.fanout.drive import LoopDriver
from heldard.fanout.service import Fanout
from heldard.fanout.watchdog import Watchdog
from heldard.frames.evidence import EvidenceStore
from heldard.ingest.log import DetectionLog
from heldard.ingest.model import BatchPost, DetectionPost, EventPost, Receipt
from heldard.ingest.service import Binding, Ingest, RecentFrames
from heldard.ingest.sources import Sources
from heldard.plugin import ActionHandler, EventType, Frame
from heldard.supervisor import Supervisor
from heldard.testing.simulation_consumers import OPEN, TABLES, Actor, Alarm, Ledger, Opener, Remote, Tally
from heldard.testing.simulation_process import SimProcessDriver

START_MS = 1_767_268_800_000
CAMERAS = ("gate", "yard")


class DeadlockError(Exception):
    """Nothing will ever happen again."""


class SimLoop(asyncio.SelectorEventLoop):
    """Time passes only when nothing can be done now, and then at once. Every step is counted, and one may be the last:
    what is scheduled as that step runs after the process has died."""

    def __init__(self) -> None:
        super().__init__(_NoSelector(self))
        self.virtual_s = 0.0
        self.steps = 0
        self.die_at: int | None = None
        self.on_death: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.virtual_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """What would run in a thread is done in a moment, whether or not anybody still waits for it."""
        future = self.create_future()
        self.call_later(0.001, _carry_out, future, func, args)
        return future

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        self.steps += 1
        if self.die_at is not None and self.steps >= self.die_at:
            self.die_at = None
            self.on_death()
        return super().call_soon(callback, *args, context=context)


def _carry_out(future: asyncio.Future[Any], func: Any, args: Any) -> None:
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001 - whoever waits hears of it
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


class _NoSelector(selectors.SelectSelector):
    """Waits for nobody: moves the loop's time instead."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("every task waits for another")
        self._loop.virtual_s += max(0.0, timeout)
        return []


class SimClock:
    """The kernel's clock on the loop's time."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + int(self._loop.virtual_s * 1000)

    def monotonic(self) -> float:
        return self._loop.virtual_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is a clock


@dataclass(frozen=True)
class Profile:
    """How bad a run is. Shares are per statement, per consume, per request."""

    crashes: int
    store: float
    reads: float
    consumer: float
    hang: float
    give_up: float
    batches: int
    lane_limit: int

    @classmethod
    def of(cls, dice: random.Random) -> Profile:
        return cls(
            crashes=dice.choice([0, 1, 1, 2, 3]),
            store=dice.choice([0, 0, 0.005, 0.03]),
            reads=dice.choice([0, 0, 0.02]),
            consumer=dice.choice([0, 0, 0.1, 0.4]),
            hang=dice.choice([0, 0, 0.02]),
            give_up=dice.choice([0, 0.1, 0.3]),
            batches=dice.randint(4, 16),
            lane_limit=dice.choice([1, 2, 8, 256]),
        )


class Chaos:
    """The faults of a run, each drawn when its moment comes."""

    def __init__(self, dice: random.Random, profile: Profile) -> None:
        self._dice = dice
        self._profile = profile
        self.on = True

    def stop(self) -> None:
        self.on = False

    def chance(self, share: float) -> bool:
        return self.on and self._dice.random() < share

    def latency(self) -> float:
        return self._dice.choice((0, 0, 0.0001, 0.001, 0.003, 0.02)) if self.on else 0.0005

    async def consumer(self, where: str) -> None:
        """Slow, hanging, raising, or fine."""
        if self.chance(0.3):
            await asyncio.sleep(self.latency())  # noqa: TID251 - on virtual time
        if self.chance(self._profile.hang):
            await asyncio.sleep(3600)  # noqa: TID251
        self.plain_consumer(where)

    def plain_consumer(self, where: str) -> None:
        """Raising or fine."""
        if self.chance(self._profile.consumer):
            raise self._dice.choice((ValueError, KeyError, asyncio.CancelledError, SystemExit))(where)

    def statement(self, sql: str) -> None:
        """Before a statement of the writer: SQLite's own errors."""
        if self.chance(self._profile.store):
            code = self._dice.choice((sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY))
            error = sqlite3.OperationalError(f"injected at {sql[:20]}")
            error.sqlite_errorcode = code
            raise error

    def read(self) -> None:
        if self.chance(self._profile.reads):
            raise StoreError("injected: a read failed")


class SimConnection:
    """A writing connection whose statements fail now and then. A rollback never does: the file cannot refuse that."""

    def __init__(self, connection: sqlite3.Connection, chaos: Chaos) -> None:
        self._connection = connection
        self._chaos = chaos

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if not sql.startswith("ROLLBACK"):
            self._chaos.statement(sql)
        return self._connection.execute(sql, *parameters)

    def executemany(self, sql: str, *rows: Any) -> sqlite3.Cursor:
        self._chaos.statement(sql)
        return self._connection.executemany(sql, *rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class SimWriter(Writer):
    """The writer without its thread: groups form by chance, and the process may die before or after each commit."""

    def __init__(self, connect: Callable[[], Any], world: World) -> None:
        super().__init__(connect, queue_limit=world.dice.choice([16, 4096]))
        self._world = world
        self._pumping = False
        self.dead = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def _check_open(self, size: int) -> None:
        if self.dead or self._closing:
            raise StoreError("the process died", code="store_closed")
        if len(self._queue) >= self._queue_limit:
            raise StoreError("the queue is full", code="writer_full")

    def _rouse(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_later(self._world.chaos.latency(), self._pump)

    def _pump(self) -> None:
        if self.dead:
            return
        size = self._world.dice.randint(1, len(self._queue))
        group = [self._queue.popleft() for _ in range(size)]
        outcomes = self._commit(group)
        self._world.maybe_die(0.002)
        self._loop.call_later(self._world.chaos.latency(), self._answer, group, outcomes)

    def _answer(self, group: Any, outcomes: Any) -> None:
        if self.dead:
            return
        self._resolve(group, outcomes)
        self._pumping = bool(self._queue)
        if self._pumping:
            self._loop.call_later(self._world.chaos.latency(), self._pump)

    async def close(self) -> None:
        self._let_ride()
        while self._pumping and not self.dead:  # noqa: ASYNC110 - time passes only by sleeping
            await asyncio.sleep(0.001)  # noqa: TID251 - on virtual time
        self._closing = True
        self._disconnect()

    def die(self) -> None:
        """Nothing more is committed and nobody is told; what a transaction had begun is gone."""
        self.dead = True
        self._queue.clear()


class SimReaders:
    """Reads that take a while and fail now and then."""

    def __init__(self, connection: sqlite3.Connection, world: World) -> None:
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._world = world

    async def fetch(self, sql: str, parameters: Any = ()) -> list[sqlite3.Row]:
        await asyncio.sleep(self._world.chaos.latency())  # noqa: TID251 - on virtual time
        self._world.chaos.read()
        try:
            rows = self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise explain(error) from error
        await asyncio.sleep(self._world.chaos.latency())  # noqa: TID251
        return rows

    async def close(self) -> None:
        self._connection.close()


class _Camera:
    def __init__(self, camera_id: str) -> None:
        self.id = camera_id
        self.site_id = None


class _Cameras:
    def get(self, camera_id: str) -> _Camera:
        if camera_id not in CAMERAS:
            raise NotFoundError(f"no camera {camera_id!r}")
        return _Camera(camera_id)


class _NoTasks:
    def find(self, _task_id: str) -> None:
        return None


class _Frames:
    """A picture of every moment."""

    def find(self, camera_id: str, captured_ms: int) -> Frame:
        return Frame(f"{camera_id}:main:{captured_ms}", camera_id, "main", captured_ms, 0, 8, 8, picture(captured_ms))


def picture(captured_ms: int) -> bytes:
    """What lies in the file of that moment's picture."""
    return f"picture of {captured_ms}".encode()


def make_template(folder: Path) -> Path:
    """An empty database with the kernel's tables and the simulation's."""
    path = folder / "template.db"
    connection = Database(path, SystemClock(), "normal").connect()
    migrations.apply(connection, "heldard", migrations.find("heldard.db"), START_MS)
    for table in TABLES:
        connection.execute(table)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return path


class _Forgetful(RecentFrames):
    """Knows no duplicate, so that consumers are given some before the log says so."""

    def is_new(self, _key: tuple[Any, ...]) -> bool:
        return True


class _NoWatchdog(Watchdog):
    """Watches nothing: the real one lives in a thread of its own, on real time."""

    def start(self) -> None:
        """No thread."""

    def stop(self) -> None:
        """None to end."""


class Process:
    """One life of the daemon on the file: from its start to its end or death."""

    def __init__(self, world: World) -> None:
        clock = world.clock
        self.db = Database(world.path, clock, "normal")
        self.writer = SimWriter(lambda: SimConnection(_quick(self.db.connect()), world.chaos), world)
        self.db.writer = self.writer
        self.db.readers = SimReaders(self.db.connect_reader(), world)  # type: ignore[assignment]
        self.names = Names(self.db)
        self.supervisor = Supervisor(clock)
        self.guard = SqlGuard("sim", ("sim_*",), self.db.connect_reader)
        self.events = Events(self.db, self.names, clock, lambda _camera: None)
        self.sources = Sources(self.db, self.names)
        frames: Any = _Frames()
        self.log = DetectionLog(self.db, self.names, self.sources, frames)
        settings = FanoutSettings(
            lane_limit=world.profile.lane_limit, consume_timeout_s=1.0, attempts=3, retry_first_s=0.05,
            retry_longest_s=0.5, quarantine_failures=3,
        )  # fmt: skip
        evidence = EvidenceStore(world.evidence)
        evidence.has_room = world.room
        self.fanout = Fanout(
            self.db, self.names, self.sources, self.events, self.log, frames, evidence, self.supervisor, clock, settings
        )
        self.fanout.watchdog = _NoWatchdog(1.0, 1.0)
        self.actions = Actions(self.db, clock, self.supervisor)
        self.fanout.on_actions = self.actions.poke
        cameras: Any = _Cameras()
        tasks: Any = _NoTasks()
        self.ingest = Ingest(
            self.db, self.names, self.sources, cameras, tasks, self.events, self.fanout, self.log, frames, clock,
            IngestSettings(fanout_wait_ms=world.dice.choice([0, 50, 250])),
        )  # fmt: skip
        if world.dice.random() < 0.5:
            self.ingest.recent = _Forgetful()

    async def start(self, world: World) -> None:
        """As the application starts. Raises StoreError when the store has its faults already."""
        self.writer.start()
        await self.names.load()
        await self.names.intern(CAMERAS)
        await self.events.load()
        await self.events.register([EventType("sim_alarm", "Rung."), EventType("sim_seen", "Seen.")])
        fault = world.chaos.consumer
        consumers = (
            Ledger(fault), Tally(world.chaos.plain_consumer), Alarm(fault), Actor(fault, world.acted), Remote(),
            Opener(fault),
        )  # fmt: skip
        for consumer in consumers:
            await self.fanout.register("sim", consumer, self.guard)
        for member in self.fanout.members():
            if isinstance(member.driver, LoopDriver):
                member.driver.slice_s = math.inf  # in real time, which would make each run another
        member = self.fanout.member(Remote.name)
        member.driver = SimProcessDriver(
            member.consumer, 1.0, self.fanout.frames, member._fetch, member._note_restarted, world.chaos.chance,
            world.profile.consumer / 4,
        )  # fmt: skip
        self.actions.register(ActionHandler(OPEN, world.open, timeout_s=5.0))
        await self.fanout.start()
        await self.actions.start()

    async def stop(self) -> None:
        await self.fanout.drain()
        await self.supervisor.stop()
        await self.fanout.stop()
        await self.db.close()

    def close(self) -> None:
        """Let go of the file, as the operating system does for a dead process."""
        self.writer._disconnect()
        for connection in (self.db.readers._connection,):  # type: ignore[attr-defined]
            connection.close()
        self.guard.close()


def _quick(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Power is not lost in a simulation: only what SQLite was told is."""
    connection.execute("PRAGMA synchronous = OFF")
    return connection


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
