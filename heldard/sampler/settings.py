"""Settings of the section `[sampler]`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

HwAccel = Literal["none", "auto", "vaapi", "cuda", "qsv", "vdpau", "drm", "v4l2m2m"]
Engine = Literal["auto", "ffmpeg", "pyav"]
Seconds = Annotated[float, Meta(ge=0)]


class SamplerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is decoded, how often, and how much of it is remembered."""

    enabled: Annotated[bool, Meta(description="Whether any stream is sampled at all.")] = True
    max_total_fps: Annotated[
        float,
        Meta(
            ge=1,
            description="The budget: frames per second of 1280x720 that all streams may cost together.",
            extra={"live": True},
        ),
    ] = 40.0
    default_fps: Annotated[float, Meta(ge=0.1, le=30, description="Frames per second of a task that names none.")] = 5.0
    default_width: Annotated[int, Meta(ge=160, le=3840, description="Picture width of a task that names none.")] = 1280
    media_dir: Annotated[
        str, Meta(description="The one folder `file:` sources may come from. Empty: no file sources.")
    ] = ""
    ffmpeg_path: Annotated[
        str, Meta(description="The ffmpeg to run. Empty: the system's, else the one of the imageio-ffmpeg package.")
    ] = ""
    engine: Annotated[
        Engine,
        Meta(description="Who decodes: ffmpeg, pyav (needs the extra `pyav`), or auto: pyav where it is cheaper."),
    ] = "auto"
    hwaccel: Annotated[
        HwAccel, Meta(description="Hardware decoding. A stream it fails for is decoded in software, with one warning.")
    ] = "none"
    rtsp_transport: Annotated[Literal["tcp", "udp"], Meta(description="How RTSP carries the pictures.")] = "tcp"
    jpeg_quality: Annotated[
        int, Meta(ge=2, le=31, description="The encoder's quantiser: 2 is best and largest, 31 worst and smallest.")
    ] = 5
    skip_loop_filter: Annotated[
        bool, Meta(description="Decode without the loop filter: less CPU, visibly worse pictures (38-45 dB).")
    ] = False
    io_timeout_s: Annotated[
        float, Meta(ge=1, le=120, description="How long a camera may stay silent on an open connection.")
    ] = 15.0
    stall_s: Annotated[
        float, Meta(ge=1, le=600, description="Without a frame for this long, or 5 intervals, a stream is restarted.")
    ] = 20.0
    offline_grace_s: Annotated[
        float, Meta(ge=0, le=600, description="How long a stream may be gone before an event says so.")
    ] = 10.0
    ring_seconds: Annotated[
        float, Meta(ge=1, le=600, description="How long a frame is kept in memory, for evidence and late readers.")
    ] = 20.0
    ring_mb: Annotated[int, Meta(ge=1, le=1024, description="How much memory one stream's frames may take.")] = 16
    ring_total_mb: Annotated[int, Meta(ge=1, le=65536, description="How much all frames together may take.")] = 256
    max_frame_mb: Annotated[int, Meta(ge=1, le=64, description="A larger JPEG ends its decoder.")] = 8
    max_stream_clients: Annotated[
        int, Meta(ge=0, le=1000, description="How many people may watch MJPEG streams at the same time.")
    ] = 16
