"""What tests of the plugin in the real daemon are made of."""

from __future__ import annotations

from typing import Any

from heldard.testing import Scene

HALF = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
QUICK = {"enter_frames": 1, "exit_frames": 1}


async def draw(kernel, name="yard", camera="gate", status=201, **fields) -> Any:
    reply = await kernel.request("POST", f"/api/v1/cameras/{camera}/zones", {"name": name, "polygon": HALF, **fields})
    assert reply.status == status, reply.body
    return reply.body


async def told(kernel, **query) -> list[dict[str, Any]]:
    text = "&".join(f"{key}={value}" for key, value in query.items())
    return (await kernel.get(f"/api/v1/cameras/gate/zone-events?{text}"))[::-1]


def visit() -> Scene:
    """In the left half from 0 to 4 s, then out to the right."""
    scene = Scene("gate")
    scene.person("1").enter(0, at=(0.2, 0.9)).stand(4).walk_to((0.9, 0.9), seconds=1).stand(2).leave()
    return scene
