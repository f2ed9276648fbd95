"""What every plugin must be able to show, as a test class:

    class TestCounter(PluginConformance):
        name = "counter"

        def scene(self) -> Scene:
            scene = Scene("gate")
            scene.person("1").enter(0, at=(0.1, 0.9)).walk_to((0.8, 0.9), seconds=4).leave()
            return scene

The tests are plain functions, so they run under any pytest set-up. They use the plugin as it is installed, in a real
kernel on virtual time. "The same" below means: the same events at the same times and the same rows in the plugin's own
tables, whatever order they were written in, with generated ids taken for equal. Committed state is not compared byte by
byte: what it is good for shows in the effects that come after it.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from heldard import keys
from heldard.db import migrations as kernel_migrations
from heldard.errors import ConfigError
from heldard.plugin import Endpoint
from heldard.plugins import GROUP, Plugin, discover, plugin_migrations, read_settings
from heldard.testing.builders import post
from heldard.testing.clock import START_MS
from heldard.testing.kernel import Kernel
from heldard.testing.scene import Scene

PUBLIC = ("heldard.plugin", "heldard.testing")
"""What of heldard a plugin may import."""

_GENERATED = re.compile(r"\b[a-z]+_[0-9a-f]{8,}\b|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_PARAMETER = re.compile(r"\{[^}]*\}")
_OUT_OF_COMPARISON = re.compile(r"(created|updated|received|recorded|written)_(ms|at)|rowid")

Footprint = dict[str, list[str]]


class PluginConformance:
    """Subclass it, set `name`, and say with `scene` and `prepare` what makes your plugin do something."""

    name: ClassVar[str]
    """The plugin's name, which is also its entry point's."""

    settings: ClassVar[Mapping[str, Any]] = {}
    """The section `[plugins.<name>]` for these tests."""

    open_routes: ClassVar[frozenset[str]] = frozenset()
    """Routes, as "GET /api/v1/...", that are meant to need no capability."""

    generated: ClassVar[frozenset[str]] = frozenset()
    """Columns left out of the comparison besides `created_ms` and the like: what depends on when it was written."""

    crash_points: ClassVar[int] = 8
    """How many of the places where a crash could happen are tried, spread evenly. With HELDARD_CRASH_POINTS=all in the
    environment every one is, which takes minutes."""

    linger_s: ClassVar[float] = 60.0
    """How long after the scene everything has happened."""

    def scene(self) -> Scene:
        """What the camera sees. It should lead to at least one effect."""
        scene = Scene("gate", fps=2)
        scene.person("1").enter(0, at=(0.1, 0.9)).walk_to((0.6, 0.6), seconds=4).stand(3).leave()
        scene.vehicle("2").enter(2, at=(0.9, 0.9)).walk_to((0.4, 0.7), seconds=3).leave()
        return scene

    async def prepare(self, kernel: Kernel) -> None:
        """Set up what the scene needs, such as zones. Camera and task are there. Ids that are made here may differ."""

    # --- what it is -------------------------------------------------------------------------------------------------

    def test_importing_it_has_no_side_effects(self, tmp_path: Path) -> None:
        run = subprocess.run(
            [sys.executable, "-c", _IMPORT_PROBE, self.name], cwd=tmp_path, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout.splitlines()[-1]) == {"output": "", "threads": 0, "files": [], "environment": []}

    def test_it_imports_only_the_public_kernel(self) -> None:
        private = [
            f"{path.name}:{line} imports {module}"
            for path in self._sources()
            for module, line in _imports(path)
            if module.split(".")[0] == "heldard" and ".".join(module.split(".")[:2]) not in PUBLIC
        ]
        assert private == []

    def test_it_is_accepted(self) -> None:
        plugin = self._plugin()
        assert (plugin.state, plugin.reason) == ("active", None)
        assert plugin.info is not None
        assert plugin.info.version

    def test_its_distribution_says_what_it_is(self) -> None:
        found = self._distribution().metadata
        assert found["Summary"], "pyproject.toml has no description"
        assert len(found.json.get("description", "")) > 0, "pyproject.toml has no readme"

    def test_each_setting_has_a_default_and_a_description(self) -> None:
        plugin = self._plugin()
        kind = plugin.ask("heldard_register_settings")
        if kind is None:
            return
        assert read_settings(plugin, {}) == kind()
        described = msgspec.json.schema(kind)["$defs"][kind.__name__].get("properties", {})
        assert [name for name, field in described.items() if not field.get("description")] == []

    def test_wrong_settings_are_refused_by_name(self) -> None:
        plugin = self._plugin()
        with pytest.raises(ConfigError, match=rf"plugins\.{self.name}"):
            read_settings(plugin, {"no_such_setting": 1})
        kind = plugin.ask("heldard_register_settings")
        for field in () if kind is None else msgspec.structs.fields(kind):
            with pytest.raises(ConfigError, match=rf"plugins\.{self.name}"):
                read_settings(plugin, {field.encode_name: _OfNoType()})

    # --- its tables -------------------------------------------------------------------------------------------------

    def test_its_migrations_make_only_its_own_tables(self) -> None:
        plugin = self._plugin()
        with _memory() as connection:
            kernel_migrations.apply(connection, self.name, plugin_migrations(plugin), START_MS)
            owned = _Owner(plugin)
            assert [table for table in _tables(connection) if not owned.owns(table)] == []

    def test_its_migrations_run_once_and_from_each_older_state_with_rows(self) -> None:
        steps = plugin_migrations(self._plugin())
        with _memory() as fresh:
            kernel_migrations.apply(fresh, self.name, steps, START_MS)
            wanted = _schema(fresh)
            assert kernel_migrations.apply(fresh, self.name, steps, START_MS) == []
        for done in range(1, len(steps)):
            with _memory() as old:
                kernel_migrations.apply(old, self.name, steps[:done], START_MS)
                for table in _tables(old):
                    _insert_some_row(old, table)
                kernel_migrations.apply(old, self.name, steps, START_MS)
                assert _schema(old) == wanted, f"coming from migration {done} gives other tables"
                assert old.execute("PRAGMA integrity_check").fetchone()[0] == "ok"

    # --- its effects ------------------------------------------------------------------------------------------------

    def test_the_scene_leads_to_effects(self, tmp_path: Path) -> None:
        if self._has_consumers(tmp_path):
            assert any(self._reference(tmp_path).values()), "override `scene` with one that your plugin reacts to"

    def test_batches_sent_twice_have_their_effects_once(self, tmp_path: Path) -> None:
        assert self._run(tmp_path / "twice", self._play_twice) == self._reference(tmp_path)

    def test_a_crash_between_any_two_writes_changes_nothing(self, tmp_path: Path) -> None:
        reference, steps = self._reference(tmp_path), self._steps
        count = steps if os.environ.get("HELDARD_CRASH_POINTS") == "all" else self.crash_points
        points = sorted({1 + place * steps // count for place in range(count)})
        for point in points:
            found = self._run(tmp_path / f"crash-{point}", partial(self._play_crashing, at=point))
            assert found == reference, f"a crash at write {point} of {steps} changed the effects"

    def test_replay_gives_what_live_gave(self, tmp_path: Path) -> None:
        assert self._run(tmp_path / "replay", self._play_held) == self._reference(tmp_path)

    def test_a_store_that_refuses_writes_for_a_while_changes_nothing(self, tmp_path: Path) -> None:
        assert self._run(tmp_path / "busy", self._play_busy) == self._reference(tmp_path)

    def test_odd_batches_are_no_failures(self, tmp_path: Path) -> None:
        async def feed(kernel: Kernel) -> None:
            for body in _odd_posts(self.scene().camera_id, self.scene().task_type):
                reply = await kernel.post(body)
                assert reply.status == 200, reply.body
            await kernel.drain()
            for name in self._consumers(kernel):
                found = await kernel.consumer(name)
                shown = (found["state"], found["failed"], found["retried"], found["last_error"])
                assert shown == ("active", 0, 0, None)

        self._in_kernel(tmp_path / "odd", feed)

    def test_a_deleted_camera_leaves_no_failure_behind(self, tmp_path: Path) -> None:
        async def delete(kernel: Kernel) -> None:
            scene = self.scene()
            await kernel.play(scene, seconds=2)
            reply = await kernel.request("DELETE", f"/api/v1/cameras/{scene.camera_id}")
            assert reply.status == 204, reply.body
            await kernel.advance(5)
            assert kernel.plugin(self.name).told_failures == 0
            await kernel.restart()
            assert kernel.plugin(self.name).state == "active"

        self._in_kernel(tmp_path / "deleted", delete)

    # --- its life ---------------------------------------------------------------------------------------------------

    def test_it_starts_stops_and_starts_again_cleanly(self, tmp_path: Path) -> None:
        async def restart(kernel: Kernel) -> None:
            await kernel.play(self.scene(), seconds=2)
            for _ in range(2):
                await kernel.restart()
                plugin = kernel.plugin(self.name)
                assert (plugin.state, plugin.reason, plugin.told_failures) == ("active", None, 0)

        before = set(threading.enumerate())
        self._in_kernel(tmp_path / "restart", restart)
        left = [thread.name for thread in threading.enumerate() if thread not in before and not thread.daemon]
        assert left == []

    # --- its routes -------------------------------------------------------------------------------------------------

    def test_every_route_needs_a_capability_and_says_what_it_does(self, tmp_path: Path) -> None:
        for endpoint in self._routes(tmp_path):
            name = f"{endpoint.method} {endpoint.path}"
            assert endpoint.capability is not None or name in self.open_routes, f"{name} is open to everybody"
            assert endpoint.summary, f"{name}: its handler has no docstring"
            if "camera_id" in endpoint.path_names:
                assert endpoint.camera == "camera_id", f"{name} does not check the camera scope: camera='camera_id'"

    def test_every_route_refuses_who_does_not_say_who_they_are(self, tmp_path: Path) -> None:
        async def ask() -> None:
            settings = {"auth": {"enabled": True}, "plugins": {self.name: dict(self.settings)}}
            async with Kernel(tmp_path / "auth", self.name, settings=settings) as kernel:
                for endpoint in self._endpoints(kernel):
                    path = _PARAMETER.sub("gate", endpoint.path)
                    if f"{endpoint.method} {endpoint.path}" not in self.open_routes:
                        reply = await kernel.request(endpoint.method, path, {})
                        assert reply.status == 401, f"{endpoint.method} {path}: {reply.status} {reply.body}"

        asyncio.run(ask())

    def test_no_route_answers_nonsense_with_a_server_error(self, tmp_path: Path) -> None:
        async def ask(kernel: Kernel) -> None:
            for endpoint in self._endpoints(kernel):
                for word in ("gate", "no-such-thing", "%00", "-1", "x" * 300):
                    path = _PARAMETER.sub(word, endpoint.path)
                    bodies: tuple[Any, ...] = (None, {}, [], {"name": None, "x": [1e308]}, "text")
                    for body in bodies:
                        if body is not None and endpoint.method in ("GET", "HEAD"):
                            continue
                        reply = await kernel.request(endpoint.method, path + "?limit=-1&cursor=%25&from=never", body)
                        assert reply.status < 500, f"{endpoint.method} {path} {body}: {reply.status} {reply.body}"

        self._in_kernel(tmp_path / "nonsense", ask)

    # --- running ----------------------------------------------------------------------------------------------------

    _kept: ClassVar[dict[type, tuple[Footprint, int]]] = {}

    def _reference(self, tmp_path: Path) -> Footprint:
        """What the scene leads to when nothing goes wrong."""
        kind = type(self)
        if kind not in PluginConformance._kept:
            PluginConformance._kept[kind] = (self._run(tmp_path / "reference", self._play_counting), self._counted)
        return PluginConformance._kept[kind][0]

    @property
    def _steps(self) -> int:
        return PluginConformance._kept[type(self)][1]

    _counted = 0

    async def _play_counting(self, kernel: Kernel) -> None:
        before = kernel.crash_plan.steps
        await kernel.play(self.scene())
        self._counted = kernel.crash_plan.steps - before

    async def _play_twice(self, kernel: Kernel) -> None:
        await _play(kernel, self.scene(), lambda body: _post_twice(kernel, body))

    async def _play_crashing(self, kernel: Kernel, at: int) -> None:
        kernel.crash_plan.crash_at(at)
        await _play(kernel, self.scene(), lambda body: _post_through_crash(kernel, body))
        if kernel.crash_plan.dead:
            await kernel.crash()
            await kernel.start()

    async def _play_held(self, kernel: Kernel) -> None:
        """The consumers see nothing live: they are held, then another daemon reads everything from the log."""
        for name in self._consumers(kernel):
            await kernel.app[keys.FANOUT].member(name).hold("held by the conformance kit")
        await kernel.play(self.scene())
        await kernel.restart()
        for name in self._consumers(kernel):
            await kernel.app[keys.FANOUT].member(name).resume()

    async def _play_busy(self, kernel: Kernel) -> None:
        await _play(kernel, self.scene(), lambda body: _post_while_busy(kernel, body))

    def _run(self, data_dir: Path, play: Callable[[Kernel], Awaitable[None]]) -> Footprint:
        found: list[Footprint] = []

        async def run(kernel: Kernel) -> None:
            await play(kernel)
            await kernel.drain()
            await kernel.advance(self.linger_s)
            await kernel.drain()
            found.append(await self._footprint(kernel))

        self._in_kernel(data_dir, run)
        return found[0]

    def _in_kernel(self, data_dir: Path, work: Callable[[Kernel], Awaitable[None]]) -> None:
        async def run() -> None:
            settings = {"ingest": {"fanout_wait_ms": 50}, "plugins": {self.name: dict(self.settings)}}
            async with Kernel(data_dir, self.name, settings=settings) as kernel:
                await kernel.task_for(self.scene())
                await self.prepare(kernel)
                await kernel.settle()
                await work(kernel)

        asyncio.run(run())

    async def _footprint(self, kernel: Kernel) -> Footprint:
        """The plugin's events and rows, comparable."""
        plugin = kernel.plugin(self.name)
        own = {kind.event_type for kind in plugin.ask("heldard_register_event_types") or ()}
        prints: Footprint = {"events": []}
        for event in await kernel.events(*own) if own else []:
            kept = {key: event[key] for key in ("event_type", "camera_id", "severity", "timestamp", "payload")}
            prints["events"].append(_comparable(kept, self.generated))
        owned = _Owner(plugin)
        for row in await kernel.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
            if owned.owns(row["name"]):
                rows = await kernel.rows(f"SELECT * FROM {row['name']}")
                prints[row["name"]] = sorted(_comparable(found, self.generated) for found in rows)
        return {name: sorted(found) for name, found in prints.items()}

    # --- parts ------------------------------------------------------------------------------------------------------

    def _plugin(self) -> Plugin:
        points = list(metadata.entry_points(group=GROUP, name=self.name))
        assert points, f"no plugin {self.name!r} is installed (entry point group {GROUP!r})"
        return discover((), points)[0]

    def _distribution(self) -> metadata.Distribution:
        point = next(iter(metadata.entry_points(group=GROUP, name=self.name)))
        assert point.dist is not None
        return point.dist

    def _sources(self) -> Sequence[Path]:
        point = next(iter(metadata.entry_points(group=GROUP, name=self.name)))
        spec = importlib.util.find_spec(point.module.split(".")[0])
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        return sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]

    def _consumers(self, kernel: Kernel) -> list[str]:
        members = kernel.app[keys.FANOUT].members()
        return [member.consumer.name for member in members if member.plugin == self.name]

    def _endpoints(self, kernel: Kernel) -> list[Endpoint]:
        return list(kernel.plugin(self.name).ask("heldard_register_routes", ctx=kernel.context(self.name)) or ())

    def _has_consumers(self, tmp_path: Path) -> bool:
        found: list[str] = []

        async def look(kernel: Kernel) -> None:
            found.extend(self._consumers(kernel))

        self._in_kernel(tmp_path / "look", look)
        return bool(found)

    def _routes(self, tmp_path: Path) -> list[Endpoint]:
        found: list[Endpoint] = []

        async def look(kernel: Kernel) -> None:
            found.extend(self._endpoints(kernel))

        self._in_kernel(tmp_path / "routes", look)
        return found


class _OfNoType:
    """A value that no setting takes."""


class _Owner:
    """Which tables are a plugin's."""

    def __init__(self, plugin: Plugin) -> None:
        self._patterns = plugin.tables

    def owns(self, table: str) -> bool:
        return any(fnmatchcase(table, pattern) for pattern in self._patterns)


# --- playing a scene with trouble -----------------------------------------------------------------------------------


async def _play(kernel: Kernel, scene: Scene, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """As Kernel.play, with another way to post."""
    task_id = await kernel.task_for(scene)
    began_ms = kernel.clock.now_ms()
    for shot in scene.shots():
        at_ms = began_ms + round(shot.second * 1000)
        await kernel.advance_to(at_ms)
        await send(kernel.shot_body(scene, shot, task_id, at_ms))


async def _post_twice(kernel: Kernel, body: dict[str, Any]) -> None:
    first, second = await kernel.post(body), await kernel.post(body)
    assert first.status == 200, first.body
    assert second.body["duplicate"], second.body


async def _post_through_crash(kernel: Kernel, body: dict[str, Any]) -> None:
    """A worker that keeps a batch until it is acknowledged, and the daemon comes back in between."""
    reply = await kernel.post(body)
    await kernel.settle()
    if kernel.crash_plan.dead:
        await kernel.crash()
        await kernel.start()
        reply = await kernel.post(body)
    assert reply.status == 200, reply.body


async def _post_while_busy(kernel: Kernel, body: dict[str, Any]) -> None:
    """The batch is stored, then the store refuses the next write; a worker that is told 503 sends the batch again."""
    kernel.crash_plan.refuse_after(1)
    reply = await kernel.post(body)
    kernel.crash_plan.accept()
    if reply.status == 503:
        reply = await kernel.post(body)
    assert reply.status == 200, reply.body


def _odd_posts(camera_id: str, task_type: str) -> list[dict[str, Any]]:
    corner = {"label": "person", "bbox": [0, 0, 0, 0], "track_id": "9"}
    boxes = [{**corner, "bbox": box} for box in ([1, 1, 1, 1], [-5, -5, 20, 20], [0.5, 0.5, -0.1, 0.1])]
    nested = {"a": [{"b": None}] * 50, "plate": 7, "source": {}}
    return [
        post(camera_id, task_type=task_type),
        post(camera_id, {}, task_type=task_type),
        post(camera_id, {"label": ""}, {"track_id": "-1"}, {"attributes": None}, task_type=task_type),
        post(camera_id, corner, *boxes, task_type=task_type),
        post(camera_id, {**corner, "confidence": 0}, {**corner, "confidence": 1}, task_type=task_type),
        post(camera_id, *[{**corner, "track_id": str(n)} for n in range(1000)], task_type=task_type),
        post(camera_id, {**corner, "label": "☃" * 60, "track_id": "☃" * 512}, task_type=task_type),
        post(camera_id, {**corner, "attributes": nested}, task_type=task_type),
        post(camera_id, corner, task_type="never-heard-of"),
        post(camera_id, {"label": "person", "bbox": [0.1, 0.1, 0.2, 0.2]}, task_type=task_type.upper()),
    ]  # fmt: skip


# --- comparing ------------------------------------------------------------------------------------------------------


def _comparable(found: Mapping[str, Any], generated: frozenset[str]) -> str:
    kept = {
        key: _readable(value) if isinstance(value, bytes) else value
        for key, value in found.items()
        if not _OUT_OF_COMPARISON.fullmatch(key) and key not in generated
    }
    return _GENERATED.sub("<id>", json.dumps(kept, sort_keys=True))


def _readable(value: bytes) -> str:
    try:
        return _GENERATED.sub("<id>", value.decode())
    except UnicodeDecodeError:
        return value.hex()


# --- databases ------------------------------------------------------------------------------------------------------


class _memory:  # noqa: N801 - used like the function it could be
    """A connection in memory that is closed at the end."""

    def __enter__(self) -> sqlite3.Connection:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _tables(connection: sqlite3.Connection) -> list[str]:
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'migrations'"
    return [row[0] for row in connection.execute(sql)]


def _schema(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Every table's columns, and every index's."""
    found: list[tuple[Any, ...]] = []
    for table in sorted(_tables(connection)):
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        found += [(table, *column[1:]) for column in sorted(columns, key=lambda column: str(column[1]))]
    indexes = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1, 2"
    return found + connection.execute(indexes).fetchall()


def _insert_some_row(connection: sqlite3.Connection, table: str) -> None:
    """A row with something in each column; none when the table's own checks want something special."""
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    values = [0 if kind.upper() in ("INTEGER", "REAL") else "{}" for _, _, kind, _, _, _ in columns]
    marks = ", ".join("?" * len(values))
    try:
        connection.execute(f"INSERT INTO {table} VALUES ({marks})", values)
    except sqlite3.IntegrityError:
        return


# --- reading sources ------------------------------------------------------------------------------------------------


def _imports(path: Path) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(name.name, node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module == "heldard":
                found += [(f"heldard.{name.name}", node.lineno) for name in node.names]
            else:
                found.append((node.module, node.lineno))
    return found


_IMPORT_PROBE = """
import contextlib, io, json, os, sys, threading
from importlib import metadata
import heldard.plugin, heldard.hookspecs
point = next(iter(metadata.entry_points(group="heldard", name=sys.argv[1])))
threads, environment = threading.active_count(), dict(os.environ)
said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    point.load()
print(json.dumps({
    "output": said.getvalue(), "threads": threading.active_count() - threads, "files": os.listdir("."),
    "environment": sorted(set(os.environ.items()) ^ set(environment.items())),
}))
"""
