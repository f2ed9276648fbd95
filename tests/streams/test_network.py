"""HTTP cameras, and networks that cut, hold and delay."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from PIL import Image

from tests.streams.rig import CLOCK, RtspServer, running_sampler

Servers = Callable[..., RtspServer]


@pytest.fixture(params=["ffmpeg", "pyav"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both ways of decoding have to show the same."""
    return str(request.param)


def picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (320, 240), (shade % 256, 80, 120)).save(out, "JPEG")
    return out.getvalue()


@contextlib.asynccontextmanager
async def http_camera(fps: float, status: int = 200) -> AsyncIterator[str]:
    """Serves MJPEG, as many cheap cameras do."""

    async def stream(request: web.Request) -> web.StreamResponse:
        if status != 200:
            return web.Response(status=status)
        response = web.StreamResponse(headers={"content-type": "multipart/x-mixed-replace; boundary=cam"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for number in range(100_000):
                jpeg = picture(number)
                head = f"--cam\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                await response.write(head.encode() + jpeg + b"\r\n")
                await CLOCK.sleep(1 / fps)
        return response

    app = web.Application()
    app.router.add_get("/video.mjpg", stream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/video.mjpg"
    finally:
        await runner.cleanup()


async def test_x5_an_http_camera_is_sampled_at_the_rate_asked_for(tmp_path: Path, engine: str) -> None:
    async with http_camera(fps=12) as url, running_sampler(tmp_path, engine=engine) as rig:
        rig.want("cam", url, fps=4, width=160)
        await rig.until(lambda status: status.frames >= 20)
        frames = [frame for _, frame in rig.rings._rings["cam", "sub"].frames][6:]
        rate = (len(frames) - 1) * 1000 / (frames[-1].captured_ms - frames[0].captured_ms)
        assert 3 < rate < 5
        assert (frames[-1].width, frames[-1].height) == (160, 120)


@pytest.mark.parametrize(("status", "cause"), [(401, "auth"), (404, "not_found"), (503, "busy")])
async def test_an_http_camera_s_answer_is_told_as_the_cause(tmp_path: Path, status: int, cause: str) -> None:
    async with http_camera(fps=10, status=status) as url, running_sampler(tmp_path) as rig:
        rig.want("cam", url)
        assert (await rig.until(lambda status: status.cause is not None)).cause == cause


class Proxy:
    """A stretch of network: bytes go through after `delay_s`, wait while `held`, and connections can be cut."""

    def __init__(self, target: int) -> None:
        self.delay_s = 0.0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.port = 0
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Every connection is reset and no new one accepted."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers = []

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, here]
        await asyncio.gather(self._carry(reader, here), self._carry(there, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.flowing.wait()
                await CLOCK.sleep(self.delay_s)
                writer.write(data)
        writer.transport.abort()


@pytest.fixture
async def proxied(rtsp: Servers) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(rtsp().port)
    await proxy.open()
    yield proxy, f"rtsp://127.0.0.1:{proxy.port}/h264"
    proxy.flowing.set()
    await proxy.cut()
    await CLOCK.sleep(0.05)


async def test_a_cut_connection_is_told_and_taken_up_again(proxied: tuple[Proxy, str], tmp_path: Path) -> None:
    proxy, url = proxied
    async with running_sampler(tmp_path, offline_grace_s=2.0) as rig:
        rig.want("cam", url)
        await rig.told("camera_online")
        await proxy.cut()
        status = await rig.until(lambda status: status.cause is not None)
        assert status.cause in {"lost", "ended", "refused"}
        await rig.until(lambda status: status.cause == "refused")
        await proxy.open()
        await rig.sampling()
        assert (await rig.until(lambda status: status.frames > 20)).restarts.get("refused", 0) >= 1


async def test_a_connection_that_holds_its_bytes_back_is_a_timeout(
    proxied: tuple[Proxy, str], tmp_path: Path, engine: str
) -> None:
    proxy, url = proxied
    async with running_sampler(tmp_path, engine=engine, stall_s=2.0, io_timeout_s=1.0) as rig:
        rig.want("cam", url)
        await rig.sampling()
        proxy.flowing.clear()
        assert (await rig.until(lambda status: status.cause is not None)).cause == "timeout"
        proxy.flowing.set()
        await rig.sampling()


async def test_a_slow_network_delays_pictures_and_breaks_nothing(proxied: tuple[Proxy, str], tmp_path: Path) -> None:
    proxy, url = proxied
    proxy.delay_s = 0.15
    async with running_sampler(tmp_path, offline_grace_s=10.0) as rig:
        rig.want("cam", url)
        status = await rig.until(lambda status: status.frames >= 15, within_s=20)
        assert status.restarts.keys() <= {"changed"}
        assert rig.told_types == ["camera_online"]
