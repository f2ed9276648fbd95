"""The sampler's decoders beside upstream's exact ffmpeg arguments: CPU time and memory, on the same clips in one run.

CPU is user and system seconds per minute of video, decoded as fast as it goes. Memory is the proportional set size per
stream of 16 paced ones, whatever they share counted once. `python -m tests.bench.sampler [--quick]`
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from heldard.clock import SystemClock
from heldard.sampler.decoder import Decoder, Decoding, Job, Strategy
from heldard.sampler.ffmpeg import FfmpegDecoder, find_ffmpeg
from heldard.sampler.process import owner_mark
from heldard.sampler.pyav import Forked, PyavDecoder, Zygote, instructions
from heldard.sampler.source import Source
from heldard.sampler.strategy import ENOUGH

CLIPS = Path(".bench/clips")
OUT = Path(".bench/sampler.json")
CLOCK = SystemClock()
STREAMS = 16
MB = 1024 * 1024


class Clip(NamedTuple):
    name: str
    size: str
    fps: int
    gop: int
    bitrate: str
    seconds: int

    @property
    def path(self) -> Path:
        return CLIPS / f"{self.name}-gop{self.gop}-{self.seconds}s.mp4"

    @property
    def width(self) -> int:
        """What a task gets that names no width, but never more than there is."""
        return min(1280, int(self.size.partition("x")[0]))


def clips(seconds: int) -> list[Clip]:
    return [
        Clip(name, size, fps, gop, bitrate, seconds)
        for name, size, fps, bitrate in (("1080p25", "1920x1080", 25, "4M"), ("360p15", "640x360", 15, "600k"))
        for gop in (25, 50)
    ]


def render(clip: Clip) -> Path:
    """A noisy moving picture as H.264 without B-frames, as cameras send; made once."""
    if not clip.path.exists():
        CLIPS.mkdir(parents=True, exist_ok=True)
        picture = f"testsrc2=size={clip.size}:rate={clip.fps},noise=alls=6:allf=t"
        gop = str(clip.gop)
        subprocess.run(
            [
                find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", picture, "-t", str(clip.seconds), "-c:v", "libx264",
                "-preset", "veryfast", "-tune", "zerolatency", "-b:v", clip.bitrate, "-g", gop, "-keyint_min", gop,
                "-sc_threshold", "0", "-bf", "0", "-pix_fmt", "yuv420p", "-y", str(clip.path),
            ],
            check=True,
        )  # fmt: skip
    return clip.path


def upstream_command(path: Path, fps: float, width: int, out: str, *, paced: bool) -> list[str]:
    """Statement S-12, but for the options that only RTSP knows."""
    return [
        find_ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "warning",
        *(["-re", "-stream_loop", "-1"] if paced else []), "-i", str(path), "-an",
        "-vf", f"fps={fps:g},scale={width}:-2", "-q:v", "5", "-f", "image2", "-update", "1",
        "-atomic_writing", "1", "-y", f"{out}/latest_sub.jpg",
    ]  # fmt: skip


def job(clip: Clip, fps: float, *, loop: bool) -> Job:
    strategy: Strategy = "keyframes" if clip.gop / clip.fps * fps <= ENOUGH else "full"
    return Job(Source(str(clip.path.resolve()), "file", loop), fps, clip.width, strategy)


class UnpacedFfmpeg(FfmpegDecoder):
    """Ours, as fast as it goes."""

    def command(self, job: Job, seen_fd: int) -> list[str]:
        return [argument for argument in super().command(job, seen_fd) if argument != "-re"]


class UnpacedPyav(PyavDecoder):
    async def start(self, job: Job, **pipes: Any) -> Forked:
        child = Forked()
        order = {**instructions(job), "paced": False}
        await child.start(self._zygote, order, pipes["stdout"], pipes["stderr"], pipes["seen_fd"])
        return child


def upstream_cpu_s(clip: Clip, fps: float) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as out:
        process = subprocess.Popen(
            upstream_command(clip.path, fps, clip.width, out, paced=False), stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime, int(fps * clip.seconds)


async def our_cpu_s(decoder: Decoder, clip: Clip, fps: float) -> tuple[float, int]:
    frames = 0

    def count(*_: object) -> None:
        nonlocal frames
        frames += 1

    decoding = Decoding(decoder, job(clip, fps, loop=False), count, 8 * MB)
    await decoding.start(owner_mark("bench"))
    while not decoding.child.exited.done():
        decoding.look()  # the reports go through a pipe that has to be emptied
        await CLOCK.sleep(0.02)
    ended = await decoding.finished()
    await decoding.stop()
    assert ended.code == 0, decoding.complaint
    return ended.cpu_s, frames


def pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel tells no Pss")


async def upstream_memory_mb(clip: Clip, fps: float) -> float:
    with tempfile.TemporaryDirectory() as out:
        processes = []
        for number in range(STREAMS):
            folder = os.path.join(out, str(number))
            os.mkdir(folder)
            command = upstream_command(clip.path, fps, clip.width, folder, paced=True)
            processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))  # noqa: ASYNC220
        await CLOCK.sleep(6)
        total = sum(pss_mb(process.pid) for process in processes)
        for process in processes:
            process.kill()
            process.wait()
        return total / STREAMS


async def our_memory_mb(make: Callable[[], Decoder], clip: Clip, fps: float, shared: Zygote | None) -> float:
    decodings = [Decoding(make(), job(clip, fps, loop=True), lambda *_: None, 8 * MB) for _ in range(STREAMS)]
    for decoding in decodings:
        await decoding.start(owner_mark("bench"))
    await CLOCK.sleep(6)
    total = sum(pss_mb(decoding.child.pid) for decoding in decodings)
    total += pss_mb(shared._process.pid) if shared is not None and shared._process is not None else 0
    await asyncio.gather(*(decoding.stop() for decoding in decodings))
    return total / STREAMS


async def measure(seconds: int) -> dict[str, Any]:
    zygote = Zygote(owner_mark("bench"))
    ffmpeg = find_ffmpeg()
    rows = []
    memory = await memories(clips(seconds)[-1], ffmpeg, zygote)
    print(f"\nCPU seconds per minute of video\n\n{'clip':<14}{'fps':>5}{'upstream':>10}{'ffmpeg':>16}{'pyav':>16}")
    for clip in clips(seconds):
        render(clip)
        for fps in (0.5, 1, 2, 5):
            row: dict[str, Any] = {"clip": clip.name, "gop": clip.gop, "fps": fps}
            for name, (cpu_s, frames) in (
                ("upstream", upstream_cpu_s(clip, fps)),
                ("ffmpeg", await our_cpu_s(UnpacedFfmpeg(ffmpeg), clip, fps)),
                ("pyav", await our_cpu_s(UnpacedPyav(zygote), clip, fps)),
            ):
                assert abs(frames - fps * clip.seconds) <= 0.2 * fps * clip.seconds + 2, f"{name} gave {frames} frames"
                row[name] = cpu_s * 60 / clip.seconds
            rows.append(row)
            base = row["upstream"]
            ours = "".join(f"{row[name]:>8.2f} ({row[name] / base:4.2f}x)" for name in ("ffmpeg", "pyav"))
            print(f"{clip.name + ' ' + str(clip.gop):<14}{fps:>5g}{base:>10.2f}{ours}", flush=True)
    await zygote.stop()
    return {"cpu_s_per_minute": rows, "pss_mb_per_stream": memory}


async def memories(clip: Clip, ffmpeg: str, zygote: Zygote) -> dict[str, float]:
    render(clip)
    found = {
        "upstream": await upstream_memory_mb(clip, 2),
        "ffmpeg": await our_memory_mb(lambda: FfmpegDecoder(ffmpeg), clip, 2, None),
        "pyav": await our_memory_mb(lambda: PyavDecoder(zygote), clip, 2, zygote),
    }
    print(f"\nMemory (PSS) per stream, {STREAMS} streams of {clip.name} at 2 fps")
    for name, size in found.items():
        print(f"  {name:<10}{size:6.1f} MB  {size / found['upstream']:.2f}x")
    return found


def main() -> None:
    found = asyncio.run(measure(10 if "--quick" in sys.argv else 30))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
