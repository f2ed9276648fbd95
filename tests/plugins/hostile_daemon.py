"""One daemon with zones and anpr, with and without five plugins that do their worst: effects and delivery lag.

    python -m tests.plugins.hostile_daemon [SECONDS]

prints the figures of both runs. The same run, shorter, is a test of what happened, not of how fast.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from heldard.clock import SystemClock
from heldard.testing import Scene

MODULES = Path(__file__).parent / "modules"
HOSTILE = ("raises", "sometimes", "sleeps", "blocks", "writes")
OURS = ("zones", "anpr")
FPS = 10.0

SETTINGS = """
[fanout]
consume_timeout_s = 2.0
attempts = 2
quarantine_failures = 3
[plugins.anpr]
regions = ["GB"]
"""


@dataclass(frozen=True)
class Outcome:
    """effects: events of zones and anpr without times and ids. lags_ms: received to committed, by consumer."""

    effects: list[str]
    lags_ms: dict[str, list[int]]
    problems: dict[str, str]
    states: dict[str, str]

    def percentile(self, consumer: str, share: float) -> int:
        lags = sorted(self.lags_ms[consumer])
        return lags[min(len(lags) - 1, int(len(lags) * share))]


def scenes(seconds: float) -> list[Scene]:
    """People through a yard, again and again, and cars with plates at a gate."""
    yard, gate = Scene("yard", fps=FPS), Scene("gate", task_type="anpr", fps=FPS)
    for number in range(int(seconds // 5)):
        yard.person(f"p{number}").enter(number * 5, at=(0.1, 0.6)).walk_to((0.9, 0.6), seconds=4).leave()
        plate = f"AB{10 + number}CDE"
        car = gate.vehicle(f"c{number}", plate=plate, plate_confidence=0.95, direction="inbound")
        car.enter(number * 5, at=(0.4, 0.8)).stand(1).leave()
    return [yard, gate]


def install_hostile(place: Path) -> None:
    """As an installed distribution looks."""
    info = place / "hostile-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    points = "\n".join(f"{name} = hostile_plugins:{name}" for name in HOSTILE)
    (info / "entry_points.txt").write_text(f"[heldard]\n{points}\n")


def _settle_in(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "heldard.toml").write_text(SETTINGS)


async def run(place: Path, seconds: float, *, hostile: bool) -> Outcome:
    await asyncio.to_thread(_settle_in, place)
    path = [str(MODULES)]
    if hostile:
        install_hostile(place / "installed")
        path.append(str(place / "installed"))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HELDARD_")}
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "heldard", "serve", "--port", "0", "--data-dir", str(place / "data"),
        "--config", str(place / "heldard.toml"), stderr=asyncio.subprocess.PIPE, limit=2**20,
        env={**clean, "PYTHONPATH": os.pathsep.join(path), "HELDARD_LOGS__FORMAT": "json"},
    )  # fmt: skip
    try:
        url, drained = await _listening(daemon)
        async with aiohttp.ClientSession(url) as client:
            problems, states = await _use(client, seconds)
        daemon.terminate()
        await asyncio.wait_for(daemon.wait(), 30)
        await drained
    finally:
        if daemon.returncode is None:
            daemon.kill()
            await daemon.wait()
    with closing(sqlite3.connect(place / "data" / "heldard.db")) as connection:
        return Outcome(_effects(connection), _lags(connection), problems, states)


async def _listening(daemon: asyncio.subprocess.Process) -> tuple[str, asyncio.Task[bytes]]:
    assert daemon.stderr is not None
    while line := await daemon.stderr.readline():
        said = json.loads(line)
        if said["event"] == "listening":
            return said["url"], asyncio.ensure_future(daemon.stderr.read())
    raise AssertionError("the daemon did not come up")


async def _use(client: aiohttp.ClientSession, seconds: float) -> tuple[dict[str, str], dict[str, str]]:
    yard, gate = scenes(seconds)
    await _call(client, "POST", "/api/v1/cameras", {"id": "yard", "name": "yard"})
    await _call(client, "POST", "/api/v1/cameras", {"id": "gate", "name": "gate"})
    zone = {"name": "middle", "polygon": [[0.3, 0.3], [0.7, 0.3], [0.7, 0.9], [0.3, 0.9]]}
    await _call(client, "POST", "/api/v1/cameras/yard/zones", zone)
    await asyncio.gather(_play(client, yard, seconds), _play(client, gate, seconds))
    for _ in range(100):
        consumers = await _call(client, "GET", "/api/v1/consumers")
        if not any(row["lag"] for row in consumers if row["name"] in OURS):
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(12)  # zones give a track that is lost 5 s, and time itself comes with a grace
    plugins = await _call(client, "GET", "/api/v1/plugins")
    consumers = await _call(client, "GET", "/api/v1/consumers")
    problems = {plugin["name"]: plugin["problem"] for plugin in plugins if plugin["problem"] is not None}
    assert set((await _call(client, "GET", "/api/v1/system"))["plugin_problems"]) == set(problems)
    return problems, {row["name"]: row["state"] for row in consumers}


async def _play(client: aiohttp.ClientSession, scene: Scene, seconds: float) -> None:
    path = f"/api/v1/cameras/{scene.camera_id}/ai-tasks"
    task = (await _call(client, "POST", path, {"task_type": scene.task_type}))["id"]
    loop = asyncio.get_running_loop()
    began, began_ms = loop.time(), SystemClock().now_ms()
    for shot in scene.shots(seconds):
        await asyncio.sleep(max(0.0, began + shot.second - loop.time()))
        body = {
            "camera_id": scene.camera_id, "task_type": scene.task_type, "epoch": scene.epoch,
            "frame_id": f"{task}:{began_ms + round(shot.second * 1000)}", "detections": list(shot.detections),
        }  # fmt: skip
        await _call(client, "POST", "/api/v1/ai/events", body)


async def _call(client: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    async with client.request(method, path, json=body) as answer:
        assert answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
        return await answer.json()


def _effects(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT t.text, e.payload FROM events e JOIN names t ON t.id = e.event_type ORDER BY e.seq"
    ).fetchall()
    kept = ("zone", "label", "track_id", "plate", "decision", "direction")
    return sorted(
        f"{kind} {json.dumps({key: value for key, value in json.loads(payload).items() if key in kept})}"
        for kind, payload in rows
        if kind.startswith(("zone_", "entry_", "gate_", "vehicle_", "plate_"))
    )


def _lags(connection: sqlite3.Connection) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name in OURS:
        rows = connection.execute(
            "SELECT f.ended_ms - o.received_ms FROM consumer_fanout f JOIN outbox o ON o.seq = f.seq "
            "JOIN consumers c ON c.id = f.consumer WHERE c.name = ? AND f.state = 1",
            (name,),
        )
        found[name] = [row[0] for row in rows]
    return found


async def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        alone = await run(Path(folder) / "alone", seconds, hostile=False)
        among = await run(Path(folder) / "among", seconds, hostile=True)
    for name in OURS:
        for title, outcome in (("alone", alone), ("among hostile", among)):
            figures = {share: outcome.percentile(name, share) for share in (0.5, 0.9, 0.99, 1.0)}
            print(f"{name:<6} {title:<14} {len(outcome.lags_ms[name])} batches, lag in ms by share: {figures}")
    for title, one, other in (("alone", alone, among), ("among hostile", among, alone)):
        for effect in sorted((Counter(one.effects) - Counter(other.effects)).elements()):
            print(f"only {title}: {effect}")
    print(f"effects the same: {alone.effects == among.effects} ({len(alone.effects)} events)")
    print(json.dumps({"problems": among.problems, "states": among.states}, indent=1))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0))
