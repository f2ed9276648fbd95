"""What the sampler is asked for and what it says of itself."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

State = Literal["connecting", "sampling", "stalled", "offline", "error", "stopped", "budget_exhausted"]
Cause = Literal[
    "auth", "refused", "unreachable", "timeout", "not_found", "codec", "ended", "lost", "busy", "decoder", "config"
]
"""Why a stream gives no frames.

auth: name or password refused. refused: nothing listens there. unreachable: no route, or no such host. timeout: no
answer, or silence on an open connection. not_found: the camera or folder has no such stream. codec: what comes cannot
be decoded. ended: the other side finished. lost: the connection broke. busy: the camera says it cannot serve this now,
often since too many others watch it. decoder: the decoder failed for another reason.
config: there is nothing to start (no address, no ffmpeg).
"""


class StreamKey(NamedTuple):
    """One stream of one camera; sorts by camera, then profile."""

    camera_id: str
    profile: str


class Size(NamedTuple):
    width: int
    height: int


class SampledTask(msgspec.Struct, frozen=True, kw_only=True):
    """An enabled task of an enabled camera, with what is needed to sample for it.

    url: address of the profile's stream with its credentials, None when the camera has none for it.
    priority: of the camera, higher is served first. fps: 0.1..30. width: pixels, 160..3840.
    """

    camera_id: str
    profile: str
    fps: float
    width: int
    priority: int = 100
    url: str | None = None


class SamplerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as `GET /api/v1/ai/samplers` shows it.

    fps, width: granted; 0 when the budget leaves nothing. wanted_*: what the tasks ask for. reason: in words, why the
    grant or the state is what it is. cause: one word of `Cause` while no frames come, else None. frames, restarts,
    stalls, bytes, decode_cpu_s: since the stream was planned; bytes are the compressed video read, decode_cpu_s is
    user and system time of its decoders. observed_fps: over the last 10 s. gop_s, source_fps: what the stream shows.
    """

    camera_id: str
    stream_profile: str
    state: State
    fps: float
    width: int
    wanted_fps: float
    wanted_width: int
    reason: str
    cause: Cause | None = None
    frames: int = 0
    observed_fps: float = 0.0
    last_frame_age_ms: int | None = None
    restarts: dict[str, int] = {}
    stalls: int = 0
    retry_in_s: float | None = None
    pid: int | None = None
    engine: str | None = None
    strategy: str | None = None
    hwaccel: str | None = None
    source_width: int | None = None
    source_height: int | None = None
    source_fps: float | None = None
    gop_s: float | None = None
    bytes: int = 0
    decode_cpu_s: float = 0.0
