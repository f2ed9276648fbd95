"""The bench and the kernel agree: the same consumer, the same batches, the same effects and refusals on both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from heldard.plugin import Batch, Consumer, Effects, EventType, Migrations, PluginInfo, Tx, hookimpl
from heldard.testing import Bench, Kernel, batch, detection, post


class Both(Consumer):
    """Does with a batch what its one detection's label says."""

    name = "both"

    def __init__(self) -> None:
        self.count = 0

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        self.count = int(state.get("count", b"0"))

    def consume(self, given: Batch, effects: Effects) -> None:
        self.count += 1
        effects.put_state("count", str(self.count).encode())
        effects.execute("INSERT INTO both_rows (n) VALUES (?)", (self.count,))
        effects.event("both_seen", payload={"n": self.count})
        effects.transact(self._read_and_tell)
        for found in given.detections:
            if found.label == "foreign":
                effects.execute("DELETE FROM events")
            if found.label == "schema":
                effects.execute("DROP TABLE both_rows")
            if found.label == "unknown":
                effects.event("never_registered", payload={})
            if found.label == "raise":
                raise RuntimeError("on purpose")

    def _read_and_tell(self, tx: Tx) -> None:
        rows = tx.fetch("SELECT count(*) AS n FROM both_rows")
        tx.event("both_rows_now", payload={"rows": rows[0]["n"]}, at_ms=1, camera_id="gate")


class BothPlugin:
    __name__ = "both"

    @hookimpl
    def heldard_register_plugin(self) -> PluginInfo:
        return PluginInfo("both", "1", ">=1.0,<2")

    @hookimpl
    def heldard_register_migrations(self) -> Migrations:
        return Migrations("both_tables")

    @hookimpl
    def heldard_register_event_types(self) -> list[EventType]:
        return [EventType("both_seen", "Seen."), EventType("both_rows_now", "Rows.")]

    @hookimpl
    def heldard_register_consumers(self) -> list[Consumer]:
        return [Both()]


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test's own package of migrations."""
    (tmp_path / "both_tables" / "migrations").mkdir(parents=True)
    (tmp_path / "both_tables" / "__init__.py").touch()
    (tmp_path / "both_tables" / "migrations" / "0001_start.sql").write_text("CREATE TABLE both_rows (n INTEGER);")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "both_tables", raising=False)


Facts = dict[str, Any]


async def on_the_bench(labels: list[str], _make: Callable[..., Kernel]) -> Facts:
    errors: list[str] = []
    types = ("both_seen", "both_rows_now")
    with Bench(Both(), migrations=Migrations("both_tables"), event_types=types) as bench:
        for seq, label in enumerate(labels, 1):
            try:
                bench.consume(batch(detection(label), seq=seq))
            except Exception as error:  # noqa: BLE001 - compared with what the kernel says
                errors.append(f"{type(error).__name__}: {error}")
        rows = [row["n"] for row in bench.rows("SELECT n FROM both_rows ORDER BY rowid")]
        events = [(event.event_type, event.payload) for event in bench.events]
        return {"rows": rows, "events": events, "state": bench.state.get("gate", {}), "errors": errors}


async def in_the_kernel(labels: list[str], make: Callable[..., Kernel]) -> Facts:
    async with make(BothPlugin(), settings={"fanout": {"attempts": 1, "quarantine_failures": 100}}) as kernel:
        await kernel.add_camera()
        for number, label in enumerate(labels):
            await kernel.post(post("gate", detection(label), frame_id=str(number)))
            await kernel.drain()
        rows = [row["n"] for row in await kernel.rows("SELECT n FROM both_rows ORDER BY rowid")]
        told = await kernel.events("both_seen", "both_rows_now")
        parked = await kernel.get("/api/v1/consumers/both/parked")
        return {
            "rows": rows,
            "events": [(event["event_type"], event["payload"]) for event in told],
            "state": await kernel.state("both"),
            "errors": [row["error"] for row in reversed(parked)],
        }


@pytest.mark.parametrize("where", [on_the_bench, in_the_kernel])
async def test_effects_happen_whole_or_not_at_all(where: Any, heldard_kernel: Callable[..., Kernel]) -> None:
    found = await where(["ok", "foreign", "schema", "unknown", "raise", "ok"], heldard_kernel)
    assert found["rows"] == [1, 2]
    assert found["state"] == {"count": b"2"}
    assert found["events"] == [
        ("both_seen", {"n": 1}), ("both_rows_now", {"rows": 1}),
        ("both_seen", {"n": 2}), ("both_rows_now", {"rows": 2}),
    ]  # fmt: skip
    assert [error.partition(":")[0] for error in found["errors"]] == [
        "ForbiddenError", "ForbiddenError", "ValueError", "RuntimeError",
    ]  # fmt: skip
