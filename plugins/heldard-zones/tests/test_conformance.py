"""What every plugin must be able to show."""

from __future__ import annotations

from heldard.testing import Kernel, PluginConformance, Scene


class TestZones(PluginConformance):
    name = "zones"

    def scene(self) -> Scene:
        scene = Scene("gate", fps=4)
        scene.person("1").enter(0, at=(0.1, 0.9)).walk_to((0.5, 0.6), seconds=2).stand(4).leave()
        scene.vehicle("2").enter(2, at=(0.95, 0.5)).walk_to((0.05, 0.5), seconds=4).leave()
        return scene

    async def prepare(self, kernel: Kernel) -> None:
        for body in (
            {"name": "yard", "polygon": [[0.3, 0.3], [0.7, 0.3], [0.7, 0.8], [0.3, 0.8]], "dwell_seconds": 2},
            {"name": "line", "kind": "line", "polygon": [[0.5, 0.1], [0.5, 0.9]]},
        ):
            reply = await kernel.request("POST", "/api/v1/cameras/gate/zones", body)
            assert reply.status == 201, reply.body
