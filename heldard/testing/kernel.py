"""The real application in the test's own event loop, on virtual time, with a database file that can be crashed.

What it serves is reached through a real HTTP client on loopback, so a test sees what a worker or an operator sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from heldard import app as heldard_app
from heldard import config, keys
from heldard.fanout.commit import SQL as FANOUT_SQL
from heldard.plugin import Frame, PluginContext
from heldard.plugins import GROUP, Plugin, discover
from heldard.testing.builders import frame as make_frame
from heldard.testing.clock import VirtualClock
from heldard.testing.faults import CrashPlan, FaultyWriter
from heldard.testing.rest import CountingPool, settle
from heldard.testing.scene import Scene, Shot


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, its JSON decoded where it is JSON."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class _Given:
    """A module or object used as a plugin, as `metadata.EntryPoint` would give it."""

    name: str
    plugin: Any
    dist: Any = None

    def load(self) -> Any:
        return self.plugin


class Kernel:
    """`async with Kernel(data_dir, "zones", my_module) as kernel:` runs the daemon without a process of its own.

    plugins: names of installed entry points, or modules or objects with `@hookimpl` functions. Only these are loaded.
    settings: a tree as in the TOML file. Durability is `normal` unless it says otherwise.
    """

    def __init__(
        self,
        data_dir: Path,
        *plugins: Any,
        settings: Mapping[str, Any] | None = None,
        clock: VirtualClock | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.clock = clock or VirtualClock()
        self._given = plugins
        self._tree = dict(settings or {})
        self._client: TestClient[web.Request, web.Application] | None = None
        self._app: web.Application | None = None
        self._pool: CountingPool | None = None
        self._tasks: dict[tuple[str, str], str] = {}
        self.crash_plan = CrashPlan()

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Build and start on what is in the data directory."""
        self._pool = CountingPool(max_workers=4, thread_name_prefix="heldard-test")
        asyncio.get_running_loop().set_default_executor(self._pool)
        self.crash_plan = CrashPlan()
        tree: dict[str, Any] = {"store": {"data_dir": str(self.data_dir), "durability": "normal"}}
        config.merge(tree, self._tree)
        application = await heldard_app.build(config.settle(tree), self.clock, self._discover())
        FaultyWriter.put_before(application[keys.DB].writer, self.crash_plan)
        client = TestClient(TestServer(application))
        await client.start_server()
        self._client, self._app = client, application
        await self.settle()

    def use(self, *plugins: Any) -> None:
        """Load these plugins from the next start on."""
        self._given = plugins

    async def stop(self) -> None:
        """Stop as on SIGTERM: drain, then close. Nothing happens when it is stopped already."""
        if self._client is None:
            return
        client, self._client, self._app = self._client, None, None
        done = asyncio.ensure_future(client.close())
        while not done.done():  # what waits for time on the way down gets it
            await asyncio.wait((done,), timeout=0.01)
            if (wake := self.clock.next_wake_ms) is not None:
                self.clock.jump_to(wake)
        await done

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def crash(self) -> None:
        """End as `kill -9` does: nothing that waits is finished, nothing more is written, no plugin is told."""
        self.crash_plan.die()
        app = self.app
        await app[keys.SUPERVISOR].stop()
        app[keys.PLUGINS].active.clear()
        for member in app[keys.FANOUT].members():
            member.lanes.clear()
        await self.stop()

    # --- parts ------------------------------------------------------------------------------------------------------

    @property
    def app(self) -> web.Application:
        assert self._app is not None, "the kernel is not running"
        return self._app

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        assert self._client is not None, "the kernel is not running"
        return str(self._client.make_url("/")).rstrip("/")

    def plugin(self, name: str) -> Plugin:
        found = self.app[keys.PLUGINS].get(name)
        assert found is not None, f"no plugin {name!r}"
        return found

    def context(self, name: str) -> PluginContext:
        """What that plugin's hooks were given."""
        return self.app[heldard_app.CONTEXTS][name]

    # --- doing things -----------------------------------------------------------------------------------------------

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Any request; `body` is sent as JSON."""
        assert self._client is not None, "the kernel is not running"
        data = None if body is None else msgspec.json.encode(body)
        kind = {} if body is None else {"content-type": "application/json"}
        async with self._client.request(method, path, data=data, headers={**kind, **headers}) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json" and raw
            return Reply(response.status, msgspec.json.decode(raw) if is_json else raw, response.headers)

    async def get(self, path: str) -> Any:
        """The JSON of a path that must answer 200."""
        reply = await self.request("GET", path)
        assert reply.status == 200, f"GET {path}: {reply.status} {reply.body}"
        return reply.body

    async def add_camera(self, camera_id: str = "gate", **fields: Any) -> str:
        """A camera, unless it is there already; its id."""
        reply = await self.request("POST", "/api/v1/cameras", {"id": camera_id, "name": camera_id, **fields})
        assert reply.status in (201, 409), f"camera {camera_id}: {reply.status} {reply.body}"
        return camera_id if reply.status == 409 else str(reply.body["id"])

    async def add_task(self, camera_id: str = "gate", task_type: str = "detection", **fields: Any) -> str:
        """A task of a camera, unless the camera has it already; its id."""
        path = f"/api/v1/cameras/{camera_id}/ai-tasks"
        reply = await self.request("POST", path, {"task_type": task_type, **fields})
        assert reply.status in (200, 201), f"task of {camera_id}: {reply.status} {reply.body}"
        return str(reply.body["id"])

    async def post(self, body: Mapping[str, Any]) -> Reply:
        """Post one batch as a worker does."""
        return await self.request("POST", "/api/v1/ai/events", body)

    async def play(self, scene: Scene, seconds: float | None = None) -> list[Reply]:
        """Post every shot of a scene, beginning now, as time comes to it; the camera and its task are made if missing.

        Each shot's frame id carries its capture time, so it is the time that consumers see.
        """
        task_id = await self.task_for(scene)
        began_ms = self.clock.now_ms()
        replies: list[Reply] = []
        for shot in scene.shots(seconds):
            at_ms = began_ms + round(shot.second * 1000)
            await self.advance_to(at_ms)
            replies.append(await self.post(self.shot_body(scene, shot, task_id, at_ms)))
        await self.settle()
        return replies

    def shot_body(self, scene: Scene, shot: Shot, task_id: str, at_ms: int) -> dict[str, Any]:
        """A shot as its worker posts it."""
        return {
            "camera_id": scene.camera_id, "task_type": scene.task_type, "frame_id": f"{task_id}:{at_ms}",
            "epoch": scene.epoch, "detections": list(shot.detections),
        }  # fmt: skip

    async def task_for(self, scene: Scene) -> str:
        """The task whose frames a scene's shots are; camera and task are made if missing."""
        place = (scene.camera_id, scene.task_type)
        if place not in self._tasks:
            await self.add_camera(scene.camera_id)
            self._tasks[place] = await self.add_task(*place)
        return self._tasks[place]

    def hold_frame(self, camera_id: str, captured_ms: int, **fields: Any) -> Frame:
        """Put a picture into memory as the sampler does, so that `Batch.frame` finds it."""
        return self.app[keys.FRAMES].put(make_frame(camera_id, captured_ms, **fields))

    # --- time -------------------------------------------------------------------------------------------------------

    async def advance(self, seconds: float) -> None:
        """Let that much time pass; whatever was due in between has happened, in order."""
        await self.advance_to(self.clock.now_ms() + round(seconds * 1000))

    async def advance_to(self, now_ms: int) -> None:
        while (wake := self.clock.next_wake_ms) is not None and wake <= now_ms:
            self.clock.jump_to(wake)
            await self.settle()
        self.clock.jump_to(now_ms)

    async def settle(self) -> None:
        """Return when everything that can happen now has happened: what is left waits for time or for somebody."""
        assert self._pool is not None
        await settle(self.app, self._pool, lambda: self.crash_plan.dead)

    async def drain(self) -> None:
        """Let time pass until every consumer has finished every batch; AssertionError after an hour of it."""
        fanout = self.app[keys.FANOUT]
        for _ in range(3600):
            await self.settle()
            if all(lane.idle for member in fanout.members() if not member.held for lane in member.lanes.values()):
                return
            await self.advance(1)
        raise AssertionError("consumers were not done after an hour")

    # --- looking ----------------------------------------------------------------------------------------------------

    async def events(self, *event_types: str, camera_id: str | None = None) -> list[dict[str, Any]]:
        """Every event in log order, of those types, as the API shows them."""
        rows = await self.app[keys.EVENTS].after(0, 1_000_000)
        found = [msgspec.to_builtins(row) for row in rows]
        return [
            event
            for event in found
            if (not event_types or event["event_type"] in event_types)
            and (camera_id is None or event["camera_id"] == camera_id)
        ]

    async def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[dict[str, Any]]:
        """Rows of any table."""
        return [dict(row) for row in await self.app[keys.DB].fetch(sql, tuple(parameters))]

    async def state(self, consumer: str, camera_id: str = "gate") -> dict[str, bytes]:
        """What that consumer last committed with `put_state`."""
        member = self.app[keys.FANOUT].member(consumer)
        place = {"consumer": member.id, "camera": member.fanout.names.id(camera_id)}
        return {row["key"]: row["value"] for row in await self.app[keys.DB].fetch(FANOUT_SQL["state_of_lane"], place)}

    async def consumer(self, name: str) -> dict[str, Any]:
        """How a consumer does, as `GET /api/v1/consumers` shows it."""
        found = next((row for row in await self.get("/api/v1/consumers") if row["name"] == name), None)
        assert found is not None, f"no consumer {name!r}"
        return dict(found)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _discover(self) -> list[Plugin]:
        points: list[Any] = []
        for given in self._given:
            if isinstance(given, str):
                found = list(metadata.entry_points(group=GROUP, name=given))
                assert found, f"no plugin {given!r} is installed (entry point group {GROUP!r})"
                points += found
            else:
                points.append(_Given(_name_of(given), given))
        return discover((), points)


def _name_of(plugin: Any) -> str:
    """What a module used as a plugin calls itself; its own name when it cannot say."""
    ask: Callable[[], Any] | None = getattr(plugin, "heldard_register_plugin", None)
    try:
        return str(ask().name) if ask is not None else str(plugin.__name__)
    except Exception:  # noqa: BLE001 - the kernel refuses it with the reason
        return str(getattr(plugin, "__name__", plugin))
