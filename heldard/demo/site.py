"""What the demo sets up on a fresh daemon, over HTTP like any other client: cameras, tasks, zones, known vehicles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from heldard.demo import scene

GATE, YARD = "gate", "yard"

Ask = Callable[[str, str, Any], Awaitable[Any]]
"""(method, path below /api/v1, body) to the decoded answer."""

KNOWN = ("KBD4081", "RVA2946", "HJN5162", "NPG1825", "CYL9034", "PLC7350")
BLOCKED = "XHM4579"


def config_text(data_dir: str, media_dir: str, port: int) -> str:
    """The daemon's configuration for the demo. `repeat_s`: the scene is a loop, so the same cars do come back."""
    return f"""\
[server]
port = {port}

[store]
data_dir = {_quoted(data_dir)}

[sampler]
media_dir = {_quoted(media_dir)}

[plugins.anpr]
patterns = ["LLL NNNN"]
repeat_s = {scene.DURATION_S / 2:g}
"""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def set_up(ask: Ask, video: str) -> None:
    """Two cameras on the same video: at the gate plates are read, in the yard people and cars are followed.

    video: the file's name in `media_dir`, and what may follow it, such as `?loop=0`.
    """
    await cameras(ask, video)
    await zones(ask)
    await vehicles(ask)
    await tasks(ask)


async def cameras(ask: Ask, video: str) -> None:
    for camera, name in ((GATE, "Gate"), (YARD, "Yard")):
        source = f"file:{video}"
        await ask("POST", "/cameras", {"id": camera, "name": name, "main_stream_url": source, "sub_stream_url": source})


async def tasks(ask: Ask) -> None:
    """The cameras play from here on."""
    await ask(
        "POST",
        f"/cameras/{GATE}/ai-tasks",
        {"task_type": "anpr", "stream_profile": "main", "fps": 8, "width": scene.SIZE[0],
         "config": {"inbound": "down", "plate_pattern": "[A-Z]{3}[0-9]{4}"}},
    )  # fmt: skip
    await ask(
        "POST",
        f"/cameras/{YARD}/ai-tasks",
        {"task_type": "detection", "stream_profile": "sub", "fps": 8, "width": 640, "config": {}},
    )


async def zones(ask: Ask) -> None:
    drawn: list[dict[str, Any]] = [
        {"name": "forecourt", "kind": "region", "polygon": scene.FORECOURT, "labels": ["person"]},
        {"name": "lay-by", "kind": "region", "polygon": scene.LAY_BY, "labels": ["car"], "dwell_seconds": 8,
         "severity": "warning"},
        {"name": "gate line", "kind": "line", "polygon": scene.GATE_LINE, "labels": ["car"]},
    ]  # fmt: skip
    for zone in drawn:
        await ask("POST", f"/cameras/{YARD}/zones", zone)


async def vehicles(ask: Ask) -> None:
    for plate in KNOWN:
        await ask("POST", "/vehicles", {"plate": plate, "owner_name": f"Owner of {plate}", "owner_type": "resident"})
    await ask("POST", "/watchlist", {"plate": BLOCKED, "kind": "block", "reason": "demo", "severity": "critical"})
