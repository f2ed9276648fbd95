"""ffmpeg as a decoder: which one, and with which arguments.

Why these arguments (measured in docs/explanation/sampler.md): one thread costs least; `-skip_frame nokey` skips the
decoding and not merely the output; selecting before scaling saves the scaling of what is thrown away; a `select` filter
gives its first picture sooner than `fps` and never repeats one; a second output that copies packets into
`framecrc` lines tells the times and sizes of all packets, keyframes marked, at no decoding cost.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

from heldard.errors import ConfigError
from heldard.sampler.decoder import Job, Seen
from heldard.sampler.model import Size
from heldard.sampler.process import Child, Running, Sink

OLDEST = (5, 1)

# What may be opened, by scheme. An address cannot talk ffmpeg into anything else, nor can a playlist behind it.
PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,udp,tcp,tls,crypto",
    "http": "http,tcp,httpproxy",
    "https": "https,http,tls,tcp,crypto,httpproxy",
    "file": "file",
}
# Containers of recordings; none of them names other files.
FILE_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,h264,hevc,mjpeg,ogg,asf"

_TIME_BASE = re.compile(r"#tb 0: (\d+)/(\d+)")
_DIMENSIONS = re.compile(r"#dimensions 0: (\d+)x(\d+)")

_COMPLAINT = re.compile(r"\[(?:warning|error|fatal|panic)\] *(.+)")
# Of the many lines at level verbose, this one tells the size of the pictures, again whenever it changes.
_GRAPH_INPUT = re.compile(r"\[graph \d+ input .*\[verbose\] w:(\d+) h:(\d+) ")
# Said of every stream that begins between two keyframes, and of every JPEG of full range.
_NOISE = re.compile(
    r"deprecated pixel format|imestamps are unset|Non-monoton|non-existing PPS|no frame!|Application provided"
    r"|message repeated"
)


def find_ffmpeg(configured: str = "") -> str:
    """The ffmpeg to run: the configured one, else the system's, else that of the `imageio-ffmpeg` package.

    Raises ConfigError when there is none of version 5.1 or newer.
    """
    if configured:
        path = shutil.which(configured)
        if path is None:
            raise ConfigError(f"sampler.ffmpeg_path: {configured} cannot be run")
        return _checked(path)
    system = shutil.which("ffmpeg")
    if system is not None and _version(system) >= OLDEST:
        return system
    try:
        import imageio_ffmpeg
    except ImportError:
        found = "too old" if system else "not there"
        raise ConfigError(
            f"ffmpeg {OLDEST[0]}.{OLDEST[1]} or newer is needed and the system's is {found}: install it, or the extra"
            " `heldard[ffmpeg]`, or set sampler.ffmpeg_path"
        ) from None
    return _checked(str(imageio_ffmpeg.get_ffmpeg_exe()))


class FfmpegDecoder:
    """Decodes with the ffmpeg program. See `heldard.sampler.decoder.Decoder`."""

    name = "ffmpeg"
    adapts = False

    def __init__(self, path: str) -> None:
        self.path = path

    async def start(self, job: Job, *, owner: str, stdout: Sink, stderr: Sink, seen_fd: int) -> Running:
        return await Child.start(
            self.command(job, seen_fd), owner=owner, stdout=stdout, stderr=stderr, pass_fds=(seen_fd,)
        )

    def retune(self, running: Running, fps: float, width: int) -> bool:
        return False

    def command(self, job: Job, seen_fd: int) -> list[str]:
        """Program and arguments."""
        return [
            self.path, "-nostdin", "-hide_banner", "-loglevel", "level+verbose", "-nostats",
            *input_options(job), "-i", job.source.url,
            "-map", "0:v:0", "-filter_threads", "1", "-vf", picture_filter(job),
            "-c:v", "mjpeg", "-threads", "1", "-q:v", str(job.jpeg_quality), "-pix_fmt", "yuvj420p",
            "-fps_mode", "passthrough", "-f", "mpjpeg", "-flush_packets", "1", "pipe:1",
            "-map", "0:v:0", "-c:v", "copy", "-f", "framecrc", "-flush_packets", "1", f"pipe:{seen_fd}",
        ]  # fmt: skip

    def read(self, line: str, seen: Seen) -> None:
        """`0, dts, pts, duration, size, 0xcrc[, F=0xflags]`: ffmpeg writes F only for packets that are no keyframes."""
        if line.startswith("#"):
            _read_header(line, seen)
            return
        fields = line.split(",")
        if len(fields) >= 6 and seen.tick_s:
            seen.packet(int(fields[2]) * seen.tick_s, int(fields[4]), key=not any("F=" in end for end in fields[6:]))

    def hear(self, line: str, seen: Seen) -> str | None:
        if match := _GRAPH_INPUT.search(line):
            seen.picture(Size(int(match[1]), int(match[2])))
        match = _COMPLAINT.search(line)
        return None if match is None or _NOISE.search(line) else match[1]


def input_options(job: Job) -> list[str]:
    """What goes before `-i`, by scheme."""
    timeout_us = str(int(job.io_timeout_s * 1_000_000))
    scheme = job.source.scheme
    options = ["-protocol_whitelist", PROTOCOLS[scheme]]
    if scheme in {"rtsp", "rtsps"}:
        options += ["-rtsp_transport", job.rtsp_transport, "-allowed_media_types", "video", "-timeout", timeout_us]
    elif scheme in {"http", "https"}:
        options += ["-rw_timeout", timeout_us]
        # MJPEG carries no times, and ffmpeg would make some up. Playlists do, and their pictures come in heaps.
        options += [] if ".m3u8" in job.source.url else ["-use_wallclock_as_timestamps", "1"]
    else:
        options += ["-format_whitelist", FILE_FORMATS, "-re"]
        options += ["-stream_loop", "-1"] if job.source.loop else []
    if not job.source.is_file:
        options += ["-fpsprobesize", "0", "-analyzeduration", "0"]
    if job.hwaccel != "none":
        options += ["-hwaccel", job.hwaccel]
    options += ["-threads", "1", "-an", "-sn", "-dn"]
    options += ["-skip_frame", "nokey"] if job.strategy == "keyframes" else []
    options += ["-skip_loop_filter", "all"] if job.skip_loop_filter else []
    return options


def picture_filter(job: Job) -> str:
    """Choose pictures by a schedule, then scale down (never up) to an even height.

    Variable 0 holds when the next picture is due. One is taken from a tenth of a period before that, a keyframe from a
    quarter before; the next is
    then due one period after this one was (so the rate holds on average), or half a period after it came when it came
    very late. When the source's clock was set back the schedule starts over, and a picture without a time is taken.
    """
    period = f"{1 / job.fps:.6f}"
    early = f"{(0.25 if job.strategy == 'keyframes' else 0.1) / job.fps:.6f}"
    due = f"gte(t,ld(0)-{early})+lt(t,ld(0)-3*{period})+isnan(t)"
    following = f"if(lt(t,ld(0)-3*{period}),t+{period},max(ld(0)+{period},t+{period}/2))"
    return f"select='if({due},st(0,{following})*0+1,0)',scale=w='min({job.width},iw)':h=-2:flags=bicubic"


def _read_header(line: str, seen: Seen) -> None:
    if match := _TIME_BASE.match(line):
        seen.tick_s = int(match[1]) / int(match[2])
    elif match := _DIMENSIONS.match(line):
        seen.size = seen.size or Size(int(match[1]), int(match[2]))


def _checked(path: str) -> str:
    version = _version(path)
    if version < OLDEST:
        raise ConfigError(
            f"{path} is version {version[0]}.{version[1]}: ffmpeg {OLDEST[0]}.{OLDEST[1]} or newer is needed"
        )
    return path


@cache
def _version(path: str) -> tuple[int, int]:
    """(major, minor); builds from a branch without a release number count as new."""
    said = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=10, check=False).stdout
    match = re.match(r"ffmpeg version n?(\d+)\.(\d+)", said)
    if match is None:
        return (99, 0) if said.startswith("ffmpeg version") else (0, 0)
    return int(match[1]), int(match[2])
