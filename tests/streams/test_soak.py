"""Sixteen streams for as long as `HELDARD_SOAK_S` says (600 s): nothing leaks."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest

from tests.streams.rig import CLOCK, decoders_of, encode_clip, running_sampler

STREAMS = 16
SOAK_S = float(os.environ.get("HELDARD_SOAK_S", "600"))


@pytest.fixture
def media(tmp_path: Path) -> Path:
    encode_clip(tmp_path / "clip.mp4", size="640x360", gop=30, seconds=8)
    return tmp_path


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


@pytest.mark.long
@pytest.mark.timeout(SOAK_S + 300)
@pytest.mark.parametrize("engine", ["pyav", "ffmpeg"])
async def test_sixteen_streams_with_decoders_killed_and_edits_made_all_the_time_leak_nothing(
    media: Path, engine: str
) -> None:
    async with running_sampler(media, engine=engine, max_total_fps=200) as rig:
        names = [f"cam{number:02d}" for number in range(STREAMS)]
        for name in names:
            rig.want(name, "file:clip.mp4", fps=2, width=640)
        for name in names:
            await rig.sampling(name, within_s=60)
        await CLOCK.sleep(25)  # until the rings are full
        gc.collect()
        before = (descriptors(), rss_mb())
        ends = CLOCK.monotonic() + SOAK_S
        turn = 0
        while CLOCK.monotonic() < ends:
            victim, edited = names[turn % STREAMS], names[(turn * 5 + 3) % STREAMS]
            pid = rig.status(victim).pid
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            rig.want(edited, "file:clip.mp4", fps=2 + turn % 2, width=640)
            turn += 1
            await CLOCK.sleep(3)
        for name in names:
            rig.want(name, "file:clip.mp4", fps=2, width=640)
            await rig.sampling(name, within_s=120)
        await CLOCK.sleep(25)
        gc.collect()
        after = (descriptors(), rss_mb())
        children = len(decoders_of(str(media)))
        print(f"{engine}: {turn} kills; descriptors and MB before {before}, after {after}; children {children}")
        assert abs(after[0] - before[0]) <= 4
        assert after[1] <= before[1] + 15
        assert STREAMS <= children <= STREAMS + 1
        assert all(rig.status(name).state == "sampling" for name in names)
