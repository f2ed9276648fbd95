"""`heldard zones` against the real daemon."""

from __future__ import annotations

import asyncio
import json

from click.testing import CliRunner
from heldard_zones.cli import zones

from heldard.testing import Scene

HALF = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
RANGE = ["--from", "2026-01-01T12:00:00Z", "--to", "2026-01-01T12:10:00Z"]


async def run(kernel, *arguments: str, text: str | None = None) -> str:
    """In a thread: the command starts an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, zones, [*arguments, "--url", kernel.url], text)
    assert result.exit_code == 0, result.output
    return result.output


async def test_the_commands_say_what_the_api_says(heldard_kernel, tmp_path):
    async with heldard_kernel("zones") as kernel:
        await kernel.add_camera("gate")
        made = await kernel.request("POST", "/api/v1/cameras/gate/zones", {"name": "yard", "polygon": HALF})
        zone = made.body["id"]
        scene = Scene("gate")
        scene.person("1").enter(0, at=(0.2, 0.9)).stand(2).leave()
        scene.person("2", confidence=0.2).enter(0, at=(0.2, 0.5)).stand(2).leave()
        await kernel.play(scene)
        await kernel.advance(2)
        assert "1 moving   0 standing  yard" in await run(kernel, "list", "gate")
        why = await run(kernel, "why", zone, "--track", "2")
        assert "no event: of 11 looks none came further than confidence" in why
        assert "confidence: 0.2 is below 0.5" in why
        assert json.loads(await run(kernel, "why", zone, "--json"))["zone_id"] == zone

        proposal = json.dumps({"name": "yard", "polygon": HALF, "config": {"min_confidence": 0.1}})
        tried = await run(kernel, "backtest", "gate", "--zone", "-", *RANGE, text=proposal)
        assert "enter 2  exit 2" in tried
        assert "against what was said: 1 the same" in tried
        assert "+ 2026-01-01T12:00:00.400Z  enter  track 2" in tried
        assert json.loads(await run(kernel, "backtest", "gate", "--zone-id", zone, *RANGE, "--json"))["counts"]

        frigate = tmp_path / "frigate.yml"
        frigate.write_text(
            "cameras: {a: {zones: {lawn: {coordinates: '0,0,1,0,1,1'}, yard: {coordinates: '0,0,1,0,1,1'}}}}"
        )
        assert "would draw: lawn (region)" in await run(kernel, "import", "gate", str(frigate), "--dry-run")
        drawn = await run(kernel, "import", "gate", str(frigate))
        assert "drawn: lawn (region)" in drawn
        assert "there already: yard" in drawn
