"""Pictures kept with events: there when an event names them, and never in an event's way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heldard import keys
from heldard.plugin import Batch, Consumer, Effects, EventType, PluginInfo, Tx, hookimpl
from heldard.testing import START_MS, detection, post
from heldard.testing.kernel import Kernel

MakeKernel = Callable[..., Kernel]


class Keeper(Consumer):
    """One event with the analysed frame, plain or from inside the unit."""

    name = "keeper"

    def consume(self, batch: Batch, effects: Effects) -> None:
        kept = effects.keep_frame(batch.captured_ms)
        effects.event("kept", payload={}, evidence=kept)

        def within(tx: Tx) -> None:
            tx.event("kept", payload={}, at_ms=batch.at_ms, camera_id=batch.camera_id, evidence=kept)

        effects.transact(within)


class Plugin:
    __name__ = "keeping"

    @hookimpl
    def heldard_register_plugin(self) -> PluginInfo:
        return PluginInfo("keeping", "1.0", ">=1.0,<2")

    @hookimpl
    def heldard_register_event_types(self) -> Sequence[EventType]:
        return [EventType("kept", "With its picture.")]

    @hookimpl
    def heldard_register_consumers(self) -> Sequence[Consumer]:
        return [Keeper()]


async def _send_frame(kernel: Kernel, task_type: str = "detection") -> None:
    await kernel.add_camera("gate")
    task = await kernel.add_task("gate", task_type)
    kernel.hold_frame("gate", START_MS)
    body = {**post("gate", detection(), task_type=task_type), "frame_id": f"{task}:{START_MS}"}
    assert (await kernel.post(body)).status == 200
    await kernel.drain()


async def test_an_event_names_a_picture_that_is_there(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel(Plugin()) as kernel:
        await _send_frame(kernel)
        events = await kernel.events("kept")
        assert len(events) == 2
        (path,) = {event["evidence"] for event in events}
        reply = await kernel.request("GET", path)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/jpeg")


async def test_without_room_on_the_disk_an_event_goes_without_its_picture(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel(Plugin()) as kernel:
        fanout = kernel.app[keys.FANOUT]
        fanout.evidence.has_room = lambda: False
        await _send_frame(kernel)
        assert [event["evidence"] for event in await kernel.events("kept")] == [None, None]
        assert await kernel.rows("SELECT path FROM media_artifacts") == []
        assert fanout.evidence_lost == 1


async def test_a_picture_kept_before_is_named_although_there_is_no_room_now(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel(Plugin()) as kernel:
        await _send_frame(kernel)
        kernel.app[keys.FANOUT].evidence.has_room = lambda: False
        await _send_frame(kernel, "anpr")
        events = await kernel.events("kept")
        assert len(events) == 4
        assert len({event["evidence"] for event in events}) == 1
        assert events[0]["evidence"] is not None
