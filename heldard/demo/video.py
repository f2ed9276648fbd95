"""Makes the demo's video file out of the painted scene, once, and keeps it with its truth beside it."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec

from heldard.demo import paint, scene
from heldard.errors import ConfigError
from heldard.sampler.ffmpeg import find_ffmpeg

Progress = Callable[[int, int], None]
"""Called with (frames done, frames in all)."""


def video_for(folder: Path, progress: Progress) -> Path:
    """The scene as an H.264 file in `folder`, rendered if this version of it is not there yet.

    Beside it lies `<name>.truth.json`, a `scene.Truth`. Raises ConfigError where there is no ffmpeg or it fails.
    """
    video = folder / f"gate-{_fingerprint()}.mp4"
    truth = truth_beside(video)
    if not (video.exists() and truth.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        _render(video, progress)
        truth.write_bytes(msgspec.json.format(msgspec.json.encode(scene.truth())))
    return video


def truth_beside(video: Path) -> Path:
    return video.with_suffix(".truth.json")


def _fingerprint() -> str:
    """Changes whenever the picture may: with the sources of the scene and with OpenCV's fonts."""
    digest = hashlib.sha256(cv2.__version__.encode())
    for module in (scene, paint):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:12]


def _render(video: Path, progress: Progress) -> None:
    """Frames go raw through a pipe into ffmpeg; the file gets its name only once it is whole."""
    unfinished = video.with_suffix(".part.mp4")
    painter, total = paint.Painter(), round(scene.DURATION_S * scene.FPS)
    errors = video.with_suffix(".ffmpeg.log")
    with errors.open("wb") as log:
        encoder = subprocess.Popen(_encode_command(unfinished), stdin=subprocess.PIPE, stderr=log)
        try:
            _feed(encoder, painter, total, progress)
        finally:
            encoder.kill()
            encoder.wait()
    if encoder.returncode != 0:
        unfinished.unlink(missing_ok=True)
        raise ConfigError(
            f"ffmpeg could not make the demo's video: {errors.read_text(errors='replace').strip()[-400:]}"
        )
    errors.unlink()
    unfinished.replace(video)


def _feed(encoder: subprocess.Popen[bytes], painter: paint.Painter, total: int, progress: Progress) -> None:
    pipe = encoder.stdin
    if pipe is None:
        raise AssertionError("started with a pipe")
    # An encoder that gave up closes the pipe: its own words, read by the caller, say more than the broken pipe.
    with contextlib.suppress(BrokenPipeError), contextlib.closing(pipe):
        for index in range(total):
            pipe.write(painter.frame(index).tobytes())
            if index % scene.FPS == 0:
                progress(index, total)
    encoder.wait()
    if encoder.returncode == 0:
        progress(total, total)


def _encode_command(target: Path) -> list[str]:
    width, height = scene.SIZE
    return [
        find_ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", str(scene.FPS), "-i", "pipe:0",
        "-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p",
        "-g", str(scene.FPS), "-keyint_min", str(scene.FPS), "-bf", "0", "-movflags", "+faststart", str(target),
    ]  # fmt: skip
