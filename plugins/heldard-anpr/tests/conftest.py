"""A site without a daemon: the real consumer, a real SQLite file, and effects carried out as the kernel does."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from heldard_anpr.caller import Caller
from heldard_anpr.consumer import AnprConsumer
from heldard_anpr.decisions.recorder import Recorder
from heldard_anpr.plates.confusion import shipped
from heldard_anpr.registry import service
from heldard_anpr.registry.model import PassCreate, VehicleCreate, WatchCreate
from heldard_anpr.settings import CameraSettings, Settings, SimulatedRelay

from heldard.plugin import Batch, Detection, Effects, EventDraft, Frame, Provenance, rfc3339

from .daemon import RelayStub

T0 = 1_700_000_000_000
DAY = 86_400_000
PLATE = "ABC1234"
MIGRATION = Path(__file__).parent.parent / "heldard_anpr" / "migrations" / "0001_plates.sql"
BY = Caller("usr_1", "Ada")


class LocalTx:
    """heldard.plugin.Tx over one sqlite3 connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.events: list[EventDraft] = []
        self.actions: list[dict[str, Any]] = []
        self.last_row_id = 0

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(sql, parameters)
        self.last_row_id = cursor.lastrowid or self.last_row_id
        return cursor.fetchall()

    def fetch(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        cursor = self.connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self.connection.executemany(sql, rows)

    def event(self, event_type: str, *, payload: dict[str, Any], at_ms: int, severity: Any = "info",
              camera_id: str | None = None, evidence: str | None = None) -> str:  # fmt: skip
        msgspec.json.encode(payload)
        self.events.append(EventDraft(event_type, at_ms, severity, camera_id, payload, evidence))
        return str(len(self.events))

    def act(self, kind: str, *, payload: dict[str, Any], expires_ms: int, key: str) -> None:
        self.actions.append({"kind": kind, "payload": payload, "expires_ms": expires_ms, "key": key})


class HeldFrames:
    """Every frame can still be had."""

    def find(self, camera_id: str, captured_ms: int) -> Frame | None:
        return Frame(f"{camera_id}:main:{captured_ms}", camera_id, "main", captured_ms, 1, 640, 360, b"jpeg")


class Site:
    """A site with one process; `restart` is what a crash and a start leave of it."""

    def __init__(self, path: Path, settings: Settings | None = None) -> None:
        self.path = path
        self.settings = settings or Settings()
        self.connection = sqlite3.connect(path, isolation_level=None)
        if not self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'vehicles'").fetchall():
            self.connection.executescript(MIGRATION.read_text("utf-8"))
        self.state: dict[str, dict[str, bytes]] = {}
        self.events: list[EventDraft] = []
        self.actions: list[dict[str, Any]] = []
        self.seq = 0
        self.keep_commits = True
        self.start()

    def start(self) -> None:
        recorder = Recorder(self.settings, self.settings.rules(shipped()))
        self.consumer = AnprConsumer(recorder)

    def restart(self) -> None:
        """Nothing in memory survives; what was committed does."""
        self.start()
        for camera_id, state in self.state.items():
            self.consumer.restore(camera_id, state)

    # --- time and frames ---

    @staticmethod
    def seen(plate: str | None = PLATE, **more: Any) -> Detection:
        return seen(plate, **more)

    def frame(self, at_s: float, *detections: Detection, camera: str = "gate", native: bool = False, epoch: str = "e1",
              producer: str | None = None) -> None:  # fmt: skip
        self.seq += 1
        at_ms = T0 + round(at_s * 1000)
        source = (
            Provenance("camera_native", producer or "kernel:native_anpr")
            if native
            else Provenance(producer=producer or "apikey:key_1")
        )
        batch = Batch(self.seq, camera, "anpr", at_ms, at_ms, detections, task_id="ai_1", epoch=epoch,
                      captured_ms=at_ms, frame_id=f"ai_1:{at_ms}", provenance=source)  # fmt: skip
        self.play(batch)

    def play(self, batch: Batch) -> None:
        effects = Effects(batch.camera_id, batch.at_ms, HeldFrames())
        self.consumer.consume(batch, effects)
        self.commit(effects)

    def reads(self, plate: str = PLATE, *, at_s: float = 0.0, count: int = 3, camera: str = "gate", track: str = "1",
              **attributes: Any) -> None:  # fmt: skip
        """Clean reads of one vehicle, enough to decide, unless `count` says otherwise."""
        for number in range(count):
            self.frame(at_s + number * 0.2, seen(plate, track=track, **attributes), camera=camera)

    def tick(self, at_s: float, camera: str = "gate") -> None:
        now = T0 + round(at_s * 1000)
        effects = Effects(camera, now, HeldFrames())
        self.consumer.tick(camera, now, effects)
        self.commit(effects)

    def commit(self, effects: Effects) -> None:
        if not self.keep_commits:
            return
        tx = LocalTx(self.connection)
        self.connection.execute("BEGIN")
        try:
            for operation in effects.operations:
                if isinstance(operation, EventDraft):
                    tx.events.append(operation)
                elif isinstance(operation, tuple):
                    tx.execute(*operation)
                else:
                    operation(tx)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        state = self.state.setdefault(effects.camera_id, {})
        for key, value in effects.state.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        self.events += tx.events
        known = {action["key"] for action in self.actions}
        self.actions += [action for action in tx.actions if action["key"] not in known]

    # --- lists ---

    def write(self, work: Callable[[LocalTx], Any]) -> Any:
        tx = LocalTx(self.connection)
        self.connection.execute("BEGIN")
        try:
            result = work(tx)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        self.events += tx.events
        return result

    def vehicle(self, plate: str = PLATE, **values: Any) -> Any:
        return self.write(lambda tx: service.add_vehicle(tx, VehicleCreate(plate=plate, **values), T0))

    def watch(self, plate: str = PLATE, kind: str = "block", **values: Any) -> Any:
        body = msgspec.convert({"plate": plate, "kind": kind} | values, WatchCreate)
        return self.write(lambda tx: service.add_watch(tx, body, BY, T0))

    def visitor(self, plate: str = PLATE, begins: int = T0 - DAY, ends: int = T0 + DAY, **values: Any) -> Any:
        body = PassCreate(
            visitor_name="Grace", plate=plate, valid_from=rfc3339(begins), valid_until=rfc3339(ends), **values
        )
        return self.write(lambda tx: service.add_pass(tx, body, BY, T0))

    def gate(self, camera: str = "gate", **values: Any) -> None:
        row = {"camera_id": camera, "enabled": 1, "output_port": 1, "pulse_ms": 1000, "updated_at": T0} | values
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        self.connection.execute(f"INSERT INTO gate_policies ({columns}) VALUES ({marks})", list(row.values()))

    # --- what came of it ---

    def rows(self, table: str = "entry_events", order: str = "timestamp") -> list[dict[str, Any]]:
        found = LocalTx(self.connection).fetch(f"SELECT * FROM {table} ORDER BY {order}")
        for row in found:
            for name in ("subject", "authorization", "evidence", "workflow", "audit", "record"):
                if isinstance(row.get(name), str):
                    row[name] = msgspec.json.decode(row[name])
        return found

    @property
    def entry(self) -> dict[str, Any]:
        """The only entry event."""
        (row,) = self.rows()
        return row

    def told(self, *types: str) -> list[EventDraft]:
        return [event for event in self.events if not types or event.event_type in types]


def seen(plate: str | None = PLATE, *, track: str | None = "1", confidence: float | None = 0.95, index: int = 0,
         **more: Any) -> Detection:  # fmt: skip
    attributes: dict[str, Any] = {"vehicle_type": "car"} | more
    if plate is not None:
        attributes |= {"plate": plate, "plate_bbox": [0.3, 0.4, 0.1, 0.05]}
        if confidence is not None:
            attributes["plate_confidence"] = confidence
    return Detection(index, "car", 0.8, (0.1, 0.1, 0.4, 0.4), track, msgspec.json.encode(attributes))


GATED = Settings(cameras={"gate": CameraSettings(actuator=SimulatedRelay())})


@pytest.fixture
def make_site(tmp_path: Path) -> Any:
    """Sites in files of their own, closed at the end."""
    made: list[Site] = []

    def make(settings: Settings | None = None, name: str = "") -> Site:
        site = Site(tmp_path / f"{name or len(made)}.db", settings)
        made.append(site)
        return site

    yield make
    for site in made:
        site.connection.close()


@pytest.fixture
def site(make_site: Any) -> Site:
    """Defaults, no gate."""
    return make_site()


@pytest.fixture
def gated(make_site: Any) -> Site:
    """A gate that is on, at camera `gate`."""
    found = make_site(GATED)
    found.gate()
    return found


@pytest.fixture
async def relay() -> AsyncIterator[tuple[RelayStub, str]]:
    stub = RelayStub()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", stub.answer)
    server = TestServer(app)
    await server.start_server()
    yield stub, str(server.make_url("/")).rstrip("/")
    await server.close()
