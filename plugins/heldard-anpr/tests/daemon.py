"""What tests of the plugin in the real kernel are made of: a relay that counts, cars, and HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from heldard.testing import Kernel, Scene

PLATE = "AB12CDE"


class RelayStub:
    """An HTTP relay that counts, and fails when told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str | None]] = []
        self.fails: list[int] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append((request.path, await request.text(), request.headers.get("X-Secret")))
        return web.Response(status=self.fails.pop(0) if self.fails else 204)

    @property
    def opened(self) -> int:
        return sum(path.startswith("/on") for path, _, _ in self.calls)


def gated(url: str, **more: Any) -> dict[str, Any]:
    """Settings with an HTTP relay at the camera `gate`."""
    actuator = {
        "type": "http", "on": {"url": url + "/on/{port}", "body": '{"event": "{event_id}"}'},
        "off": {"url": url + "/off/{port}"}, "timeout_s": 2,
    }  # fmt: skip
    return {"plugins": {"anpr": {"cameras": {"gate": {"actuator": actuator | more.pop("actuator", {})}}} | more}}


def car(plate: str = PLATE, *, seconds: float = 1.0, track: str = "1", confidence: float = 0.96, enter: float = 0.0,
        **more: Any) -> Scene:  # fmt: skip
    scene = Scene("gate", task_type="anpr", fps=5)
    return add_car(scene, plate, seconds=seconds, track=track, confidence=confidence, enter=enter, **more)


def add_car(scene: Scene, plate: str, *, seconds: float = 1.0, track: str = "1", confidence: float = 0.96,
            enter: float = 0.0, **more: Any) -> Scene:  # fmt: skip
    vehicle = scene.vehicle(track, plate=plate, plate_confidence=confidence, **more)
    vehicle.enter(enter, at=(0.5, 0.8)).stand(seconds).leave()
    return scene


async def call(kernel: Kernel, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    reply = await kernel.request(method, f"/api/v1{path}", body)
    assert reply.status == status, f"{method} {path}: {reply.status} {reply.body}"
    return reply.body


async def the_event(kernel: Kernel) -> dict[str, Any]:
    (event,) = await call(kernel, "GET", "/entry-events")
    return dict(event)


Make = Callable[..., Kernel]


async def set_up_gate(kernel: Kernel, **policy: Any) -> None:
    await kernel.add_camera("gate")
    await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
    await call(kernel, "PUT", "/entry/gate/policies/gate", {"enabled": True, "output_port": 3} | policy)
