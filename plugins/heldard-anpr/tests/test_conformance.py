"""What every plugin must be able to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from heldard.testing import Kernel, Scene
from heldard.testing.conformance import PluginConformance


class TestAnpr(PluginConformance):
    name = "anpr"
    settings: ClassVar[Mapping[str, Any]] = {"regions": ["GB"], "max_stay_h": 0.005}
    generated = frozenset({"hash_key"})

    def scene(self) -> Scene:
        """A listed car that is misread now and then and changes its track, then an unlisted one, then a lone read."""
        scene = Scene("gate", task_type="anpr", fps=5)
        first = {"plate": "AB12CDE", "plate_confidence": 0.96, "direction": "inbound"}
        scene.vehicle("1", **first).enter(0, at=(0.2, 0.8)).stand(0.3).becomes(plate="A812CDE").stand(0.2).leave()
        scene.vehicle("2", **first).enter(0.8, at=(0.3, 0.8)).stand(1).leave()
        other = {"plate": "XY34ZZZ", "plate_confidence": 0.9, "direction": "outbound"}
        scene.vehicle("3", **other).enter(4, at=(0.7, 0.8)).stand(1).leave()
        scene.vehicle("4", plate="QQ55QQQ", plate_confidence=0.6).enter(6, at=(0.5, 0.8)).stand(0.1).leave()
        return scene

    async def prepare(self, kernel: Kernel) -> None:
        for body in ({"plate": "AB12 CDE", "owner_name": "Ada"}, {"plate": "AB12CDF"}):
            reply = await kernel.request("POST", "/api/v1/vehicles", body)
            assert reply.status == 201, reply.body
