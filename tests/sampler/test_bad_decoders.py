"""Programs in ffmpeg's place that behave badly: bounded, named, killed, and no other stream feels it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from heldard.sampler.ffmpeg import find_ffmpeg
from tests.streams.rig import CLOCK, decoders_of, encode_clip, running_sampler

HALF = r"--ffmpeg\r\nContent-type: image/jpeg\r\n\r\n\377\330"
BEHAVIOUR = {
    "ends at once": "exit 3",
    "floods its output": "exec cat /dev/zero",
    "floods its complaints": "exec cat /dev/zero >&2",
    "writes half a picture for ever": f"printf -- '{HALF}'; exec cat /dev/zero",
    "hangs and ignores SIGTERM": "trap '' TERM; while :; do sleep 1; done",
}
CAUSES = {
    "ends at once": ("decoder", "the decoder failed"),
    "floods its output": ("decoder", "no part begins within 1024 bytes"),
    "floods its complaints": ("timeout", "the camera sends nothing"),
    "writes half a picture for ever": ("decoder", "a part has no Content-Length"),
}
GROWTH_KIB = 96 * 1024


def program(folder: Path, behaviour: str) -> Path:
    """ffmpeg for every stream but the one named bad."""
    path = folder / "ffmpeg"
    path.write_text(f'#!/bin/sh\ncase "$*" in *bad.mp4*) {behaviour};; esac\nexec {find_ffmpeg("")} "$@"\n')
    path.chmod(0o755)
    return path


def held_kib() -> int:
    """Memory held now; the highest ever, which other tests raise, would show no growth."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize() // 1024


@pytest.mark.timeout(300)
@pytest.mark.parametrize("behaviour", BEHAVIOUR)
async def test_a_bad_decoder_costs_itself_only(tmp_path: Path, behaviour: str) -> None:
    for name in ("good.mp4", "bad.mp4"):
        encode_clip(tmp_path / name, seconds=2)
    fake = program(tmp_path, BEHAVIOUR[behaviour])
    async with running_sampler(tmp_path, engine="ffmpeg", ffmpeg_path=str(fake)) as rig:
        rig.want("good", "file:good.mp4")
        good = (await rig.sampling("good", 30)).pid
        before = held_kib()
        rig.want("bad", "file:bad.mp4")
        if behaviour.startswith("hangs"):
            await rig.until(lambda status: status.pid is not None, "bad", 30)
        else:
            await rig.until(lambda status: sum(status.restarts.values()) >= 2 and bool(status.reason), "bad", 60)
            cause, said = CAUSES[behaviour]
            assert set(rig.status("bad").restarts) == {cause}
            assert said in rig.status("bad").reason
        assert rig.status("bad").state not in ("sampling", "stopped")
        await CLOCK.sleep(1)
        assert held_kib() - before < GROWTH_KIB
        assert (await rig.sampling("good", 30)).pid == good
        assert rig.status("good").restarts == {}
        rig.drop("bad")
        deadline = CLOCK.monotonic() + 30
        while len(decoders_of(str(tmp_path))) > 1:
            assert CLOCK.monotonic() < deadline, "the whole group is killed, what ignores SIGTERM too"
            await CLOCK.sleep(0.1)
        assert good is not None
        os.kill(good, 0)
