"""One life of the daemon in a simulated run: the kernel's own parts on a store that fails."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldard.clock import SystemClock
from heldard.config import FanoutSettings, IngestSettings
from heldard.db import migrations
from heldard.db.database import Database
from heldard.db.guard import SqlGuard
from heldard.db.names import Names
from heldard.errors import NotFoundError
from heldard.events.service import Events
from heldard.fanout.actions import Actions
from heldard.fanout.drive import LoopDriver
from heldard.fanout.service import Fanout
from heldard.fanout.watchdog import Watchdog
from heldard.frames.evidence import EvidenceStore
from heldard.ingest.log import DetectionLog
from heldard.ingest.service import Ingest, RecentFrames
from heldard.ingest.sources import Sources
from heldard.plugin import ActionHandler, EventType, Frame
from heldard.supervisor import Supervisor
from heldard.testing.simulation.consumers import OPEN, TABLES, Actor, Alarm, Ledger, Opener, Remote, Tally
from heldard.testing.simulation.loop import START_MS
from heldard.testing.simulation.process import SimProcessDriver
from heldard.testing.simulation.store import SimConnection, SimReaders, SimWriter

if TYPE_CHECKING:
    from heldard.testing.simulation.world import World

CAMERAS = ("gate", "yard")


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
