"""What tests of plugins are made of: an in-process kernel on a clock moved by hand, scenes, fakes, and the conformance
kit. See docs/tutorial/your-first-consumer.md.

    async def test_counts_who_passes(heldard_kernel):
        async with heldard_kernel("counter") as kernel:
            scene = Scene("gate")
            scene.person("1").enter(0, at=(0.1, 0.9)).walk_to((0.8, 0.9), seconds=4).leave()
            await kernel.play(scene)
            assert [event["event_type"] for event in await kernel.events()] == ["counter_passed"]

Importing this package imports nothing heavy; each name is loaded when it is first used, so that the pytest plugin
costs other people's test runs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heldard.testing.bench import Bench
    from heldard.testing.builders import batch, detection, post
    from heldard.testing.clock import START_MS, VirtualClock
    from heldard.testing.conformance import PluginConformance
    from heldard.testing.kernel import Kernel, Reply
    from heldard.testing.scene import Scene, Shot, Track

__all__ = [
    "START_MS",
    "Bench",
    "Kernel",
    "PluginConformance",
    "Reply",
    "Scene",
    "Shot",
    "Track",
    "VirtualClock",
    "batch",
    "detection",
    "post",
]

_WHERE = {
    "START_MS": "clock",
    "Bench": "bench",
    "Kernel": "kernel",
    "PluginConformance": "conformance",
    "Reply": "kernel",
    "Scene": "scene",
    "Shot": "scene",
    "Track": "scene",
    "VirtualClock": "clock",
    "batch": "builders",
    "detection": "builders",
    "post": "builders",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
