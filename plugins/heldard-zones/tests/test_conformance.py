"""What every plugin must be able to show."""

from __future__ import annotations

from heldard.testing import Kernel, Scene
from heldard.testing.conformance import PluginConformance


class TestZones(PluginConformance):
    name = "zones"

    def scene(self) -> Scene:
        scene = Scene("gate", fps=2)
        scene.person("1").enter(0, at=(0.1, 0.9)).walk_to((0.9, 0.9), seconds=6).leave()
        scene.vehicle("2").enter(1, at=(0.3, 0.8)).stand(12).leave()
        return scene

    async def prepare(self, kernel: Kernel) -> None:
        half = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
        zones = [
            {"name": "yard", "polygon": half, "dwell_seconds": 3, "config": {"occupancy": {"over": 1, "seconds": 1}}},
            {"name": "still", "polygon": half, "config": {"static_after_seconds": 5}},
            {"name": "line", "kind": "line", "polygon": [[0.6, 0.0], [0.6, 1.0]]},
        ]
        for zone in zones:
            reply = await kernel.request("POST", "/api/v1/cameras/gate/zones", zone)
            assert reply.status in (200, 201)
