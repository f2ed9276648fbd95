"""What is wrong with a plugin is found at start and shown; the daemon runs on, and nothing of the plugin is left."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import msgspec
import pytest
from aiohttp import web

from heldard import keys
from heldard.errors import ConfigError
from heldard.plugin import Batch, Consumer, Effects, EventDraft, Migrations, Service, route
from heldard.plugins import DECIDE_FAILURES, TELL_QUEUE
from heldard.testing import detection, post

from .conftest import make_plugin


class Plain(Consumer):
    name = "plain"

    def consume(self, batch: Batch, effects: Effects) -> None:
        effects.event("plain_seen", payload={})


def named(name: Any, **fields: Any) -> type[Consumer]:
    return type("Named", (Plain,), {"name": name, **fields})


@route("GET", "/api/v1/plain/{thing}", capability="events:read")
async def plain_route(request: web.Request, thing: str) -> str:
    """A route."""
    return thing


@route("GET", "/api/v1/cameras/{some}", capability="events:read")
async def taken_route(request: web.Request, some: str) -> str:
    """A route that the kernel has already."""
    return some


class Settings(msgspec.Struct):
    size: int = 1


def _raise(*_: Any) -> Any:
    raise RuntimeError("broken on purpose")


async def _nothing() -> None:
    """A service."""


BAD: dict[str, tuple[Any, str]] = {
    "unknown hook": (make_plugin("bad", heldard_register_tables=_raise), "heldard_register_tables"),
    "wrong argument": (make_plugin("bad", heldard_register_routes=lambda context: []), "context"),
    "api too new": (make_plugin("bad", api=">=2.0"), "works with plugin API >=2.0; this kernel has 1.1"),
    "no range": (make_plugin("bad", api="any"), "is not a range"),
    "consumers raise": (make_plugin("bad", heldard_register_consumers=_raise), "broken on purpose"),
    "not a list": (make_plugin("bad", heldard_register_consumers=lambda: Plain()), "not a list of Consumer"),
    "not a consumer": (make_plugin("bad", heldard_register_consumers=lambda: [object()]), "not Consumer"),
    "no name": (make_plugin("bad", named("Not A Name")), "not 1 to 64 of a-z"),
    "name taken": (make_plugin("bad", Plain), "is one of plugin 'a_first' already"),
    "same name twice": (make_plugin("bad", named("b"), named("b")), "is one of plugin 'bad' already"),
    "no such delivery": (make_plugin("bad", named("b", delivery="maybe")), "delivery is 'maybe'"),
    "no such place": (make_plugin("bad", named("b", runs_in="cloud")), "runs_in is 'cloud'"),
    "event type taken": (make_plugin("bad", events=["plain_seen"]), "registered already"),
    "no event type": (make_plugin("bad", events=["Not One"]), "not 1 to 64 of a-z"),
    "route taken": (make_plugin("bad", heldard_register_routes=lambda: [taken_route]), "is taken"),
    "settings are no struct": (make_plugin("bad", heldard_register_settings=lambda: dict), "msgspec.Struct"),
    "no migrations": (make_plugin("bad", heldard_register_migrations=lambda: "here"), "not Migrations"),
    "no such package": (make_plugin("bad", heldard_register_migrations=lambda: Migrations("no_such")), "no_such"),
    "services twice": (
        make_plugin("bad", heldard_register_services=lambda: [Service("s", _nothing), Service("s", _nothing)]),
        "names twice",
    ),
    "no plugin at all": (types.SimpleNamespace(__name__="bad"), "has no heldard_register_plugin"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_plugin_is_refused_with_the_reason_and_leaves_nothing(heldard_kernel: Any, what: str) -> None:
    bad, said = BAD[what]
    first = make_plugin("a_first", Plain, events=["plain_seen"])
    async with heldard_kernel(first, bad) as kernel:
        shown = await kernel.get("/api/v1/plugins/bad")
        assert shown["state"] == "refused"
        assert said in shown["reason"]
        assert shown["problem"] == shown["reason"]
        assert [row["name"] for row in await kernel.get("/api/v1/consumers")] == ["plain"]
        await kernel.add_camera()
        await kernel.post(post("gate", detection(), frame_id="1"))
        await kernel.drain()
        assert len(await kernel.events("plain_seen")) == 1


async def test_a_plugin_that_fails_late_takes_back_what_it_registered(heldard_kernel: Any) -> None:
    bad = make_plugin("bad", named("good_one"), named("Bad One"), events=["bad_seen"])
    async with heldard_kernel(bad) as kernel:
        assert (await kernel.get("/api/v1/plugins/bad"))["state"] == "refused"
        assert await kernel.get("/api/v1/consumers") == []
        assert "bad_seen" not in {row["event_type"] for row in await kernel.get("/api/v1/events/types")}


async def test_wrong_settings_refuse_the_plugin_by_name_of_the_setting(heldard_kernel: Any) -> None:
    plugin = make_plugin("plain", Plain, events=["plain_seen"], heldard_register_settings=lambda: Settings)
    for section, said in (
        ({"sise": 2}, "unknown setting plugins.plain.sise: did you mean plugins.plain.size?"),
        ({"size": "large"}, "plugins.plain.size: Expected `int`, got `str`"),
    ):
        async with heldard_kernel(plugin, settings={"plugins": {"plain": section}}) as kernel:
            shown = await kernel.get("/api/v1/plugins/plain")
            assert (shown["state"], said in shown["reason"]) == ("refused", True), shown["reason"]


async def test_strict_makes_a_refused_plugin_fatal(heldard_kernel: Any) -> None:
    kernel = heldard_kernel(make_plugin("bad", api=">=9.0"), settings={"plugins": {"strict": True}})
    with pytest.raises(ConfigError, match=r"plugins\.strict is set .* bad: ValueError"):
        await kernel.start()


async def test_a_route_is_authorised_and_described_like_the_kernels(heldard_kernel: Any) -> None:
    plugin = make_plugin("plain", heldard_register_routes=lambda: [plain_route])
    async with heldard_kernel(plugin) as kernel:
        assert await kernel.get("/api/v1/plain/x") == "x"
        document = await kernel.request("GET", "/api/v1/openapi.json")
        if document.status == 200:
            assert "/api/v1/plain/{thing}" in document.body["paths"]


# --- hooks that are told and asked ----------------------------------------------------------------------------------


async def test_services_run_between_start_and_stop_and_stop_still_has_the_database(heldard_kernel: Any) -> None:
    said: list[str] = []

    async def serve() -> None:
        said.append("serving")
        await asyncio.Event().wait()

    async def heldard_on_stop(ctx: Any) -> None:
        rows = await ctx.fetch("SELECT 7 AS n")
        said.append(f"stopped {rows[0]['n']}")

    def heldard_on_start(ctx: Any) -> None:
        said.append(f"{ctx.name} started")

    plugin = make_plugin(
        "plain", heldard_on_start=heldard_on_start, heldard_on_stop=heldard_on_stop,
        heldard_register_services=lambda: [Service("serve", serve)],
    )  # fmt: skip
    async with heldard_kernel(plugin) as kernel:
        services = {row["name"]: row["state"] for row in (await kernel.get("/api/v1/system"))["services"]}
        assert services["plugin.plain.serve"] == "running"
        assert (await kernel.get("/api/v1/plugins/plain"))["problem"] is None
    assert said == ["plain started", "serving", "stopped 7"]


async def test_what_is_told_reaches_others_when_one_raises_or_hangs(heldard_kernel: Any) -> None:
    heard: list[str] = []
    bad = make_plugin("a_bad", heldard_on_event=_raise_on_event, heldard_on_camera_changed=_raise_on_camera)
    good = make_plugin("b_good", heldard_on_event=lambda event: heard.append(event.event_type))
    source = make_plugin("plain", Plain, events=["plain_seen"])
    async with heldard_kernel(bad, good, source) as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", frame_id="1"))
        await kernel.settle()
        assert "plain_seen" in heard
        shown = await kernel.get("/api/v1/plugins/a_bad")
        assert shown["hook_failures"] == 1 + len(heard)
        assert "heldard_on_event: RuntimeError: broken on purpose" in shown["problem"]


def _raise_on_event(event: EventDraft) -> None:
    _raise()


def _raise_on_camera(camera: Any) -> None:
    _raise()


async def test_a_plugin_that_hears_slowly_loses_its_own_news_only(heldard_kernel: Any) -> None:
    gate = asyncio.Event()
    heard: list[int] = []

    async def slow(batch: Batch) -> None:
        await gate.wait()

    plugins = [
        make_plugin("slow", heldard_on_batch=slow),
        make_plugin("quick", heldard_on_batch=lambda batch: heard.append(batch.seq)),
    ]
    async with heldard_kernel(*plugins) as kernel:
        everything = kernel.app[keys.PLUGINS]
        for number in range(TELL_QUEUE + 10):
            everything.tell_soon("heldard_on_batch", batch=types.SimpleNamespace(seq=number))
            if number % 10 == 0:
                await kernel.settle()
        await kernel.settle()
        assert heard == list(range(TELL_QUEUE + 10))
        shown = await kernel.get("/api/v1/plugins/slow")
        assert shown["hooks_dropped"] == 9
        assert "were dropped" in shown["problem"]
        gate.set()


async def test_a_decide_hook_answers_first_come_by_the_order_in_the_settings(heldard_kernel: Any) -> None:
    source = make_plugin("plain", Plain, events=["plain_seen"])
    a = make_plugin("a", heldard_decide_severity=lambda event_type: "warning")
    b = make_plugin("b", heldard_decide_severity=lambda severity: "critical")
    c = make_plugin("c", heldard_decide_severity=lambda camera_id: None)
    for order, wanted in ((["c", "b"], "critical"), ([], "warning")):
        async with heldard_kernel(source, a, b, c, settings={"plugins": {"order": order}}) as kernel:
            await kernel.add_camera()
            await kernel.post(post("gate", frame_id=f"{order}"))
            await kernel.settle()
            assert (await kernel.events("plain_seen"))[-1]["severity"] == wanted


async def test_a_decide_hook_that_fails_is_passed_over_and_in_the_end_not_asked(heldard_kernel: Any) -> None:
    asked: list[str] = []

    def wrong(event_type: str) -> Any:
        asked.append(event_type)
        return "terrible"

    plugins = [make_plugin("plain", Plain, events=["plain_seen"]), make_plugin("wrong", heldard_decide_severity=wrong)]
    async with heldard_kernel(*plugins) as kernel:
        await kernel.add_camera()
        for number in range(DECIDE_FAILURES + 5):
            await kernel.post(post("gate", frame_id=str(number)))
        await kernel.settle()
        events = await kernel.events("plain_seen")
        assert [event["severity"] for event in events] == ["info"] * (DECIDE_FAILURES + 5)
        assert len(asked) == DECIDE_FAILURES
        shown = await kernel.get("/api/v1/plugins/wrong")
        assert "not asked any more" in shown["problem"]
        assert "'terrible'" in shown["problem"]


# --- what a batch tells ---------------------------------------------------------------------------------------------


async def test_x58_a_batch_tells_consumers_everything(heldard_kernel: Any) -> None:
    """Camera, site, task, epoch, frame id, the frame's bytes, trusted time, provenance, seq, whether replayed."""
    taken: list[Batch] = []
    pictures: list[bytes] = []

    class Keeps(Consumer):
        name = "keeps"

        def consume(self, batch: Batch, effects: Effects) -> None:
            taken.append(batch)
            frame = batch.frame()
            pictures.append(frame.jpeg if frame is not None else b"")

    async with heldard_kernel(make_plugin("keeps", Keeps), settings={"server": {"site_id": "harbour"}}) as kernel:
        await kernel.add_camera()
        task = await kernel.add_task()
        held = kernel.hold_frame("gate", kernel.clock.now_ms())
        frame_id = f"{task}:{held.captured_ms}"
        await kernel.advance(0.2)
        await kernel.post(post("gate", detection(track="1"), frame_id=frame_id, epoch="run7"))
        await kernel.settle()
        (batch,) = taken
        assert (batch.camera_id, batch.site_id, batch.task_type, batch.task_id) == (
            "gate",
            "harbour",
            "detection",
            task,
        )
        assert (batch.epoch, batch.frame_id, batch.seq, batch.replayed) == ("run7", f"w:{frame_id}", 1, False)
        assert (batch.at_ms, batch.captured_ms, batch.received_ms) == (
            held.captured_ms, held.captured_ms, held.captured_ms + 200,
        )  # fmt: skip
        assert batch.provenance.source == "worker"
        assert batch.provenance.producer.startswith("apikey:")
        assert pictures == [held.jpeg]
