"""The sampler on a real RTSP server: what it says of each kind of trouble, and that it recovers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heldard.demo.runner import free_port
from tests.streams.rig import CLOCK, PASSWORD, USER, RtspServer, running_sampler

Servers = Callable[..., RtspServer]


@pytest.fixture(params=["ffmpeg", "pyav"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both ways of decoding have to show the same."""
    return str(request.param)


@pytest.mark.parametrize(("engine", "codec"), [("ffmpeg", "h264"), ("pyav", "h264"), ("pyav", "h265")])
async def test_frames_of_a_real_stream_arrive_at_the_rate_and_size_asked_for(
    rtsp: Servers, tmp_path: Path, engine: str, codec: str
) -> None:
    server = rtsp()
    async with running_sampler(tmp_path, engine=engine) as rig:
        rig.want("cam", server.url(f"{codec}?w=320&h=240&fps=15&gop=15"), fps=5, width=160)
        status = await rig.until(lambda status: status.frames >= 20)
        frame = rig.rings.latest("cam", "sub")
        assert frame is not None
        assert (frame.width, frame.height) == (160, 120)
        assert frame.jpeg.startswith(b"\xff\xd8")
        assert (status.source_width, status.source_height) == (320, 240)
        times = [held.captured_ms for _, held in rig.rings._rings["cam", "sub"].frames]
        steady = times[5:]
        rate = (len(steady) - 1) * 1000 / (steady[-1] - steady[0])
        assert 4 < rate < 6
        assert rig.told_types == ["camera_online"]


async def test_a_picture_is_never_enlarged(rtsp: Servers, tmp_path: Path, engine: str) -> None:
    server = rtsp()
    async with running_sampler(tmp_path, engine=engine) as rig:
        rig.want("cam", server.url("h264?w=320&h=240"), width=1280)
        status = await rig.until(lambda status: "sends 320 px" in status.reason)
        assert status.width == 320
        frame = rig.rings.latest("cam", "sub")
        assert frame is not None
        assert frame.width == 320
        assert status.restarts == {}, "learning the source's size restarts nothing"


async def test_keyframes_alone_are_decoded_where_they_suffice_and_no_longer_when_they_do_not(
    rtsp: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heldard.sampler.strategy.LOOK_S", 1.0)
    server = rtsp()
    async with running_sampler(tmp_path, engine="ffmpeg") as rig:
        rig.want("cam", server.url("h264?fps=15&gop=15"), fps=1)
        status = await rig.until(
            lambda status: status.strategy == "keyframes" and status.state == "sampling", within_s=25
        )
        assert status.restarts == {"strategy": 1}
        rig.want("cam", server.url("h264?fps=15&gop=15"), fps=5)
        status = await rig.until(lambda status: status.strategy == "full" and status.state == "sampling", within_s=25)
        assert status.gop_s is None or status.gop_s == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("engine", "method"), [("ffmpeg", "digest"), ("pyav", "basic"), ("pyav", "digest")])
async def test_a_wrong_password_is_called_that_and_the_right_one_works_at_once(
    rtsp: Servers, tmp_path: Path, engine: str, method: str
) -> None:
    server = rtsp(auth=method)
    async with running_sampler(tmp_path, engine=engine) as rig:
        rig.want("cam", server.url("h264", USER, "wrong-secret"))
        status = await rig.until(lambda status: status.cause == "auth")
        assert status.state == "offline"
        assert status.retry_in_s is not None
        assert status.retry_in_s > 40, "a camera locks out who keeps sending a wrong password"
        await rig.told("sampler_offline", "camera_offline")
        assert "wrong-secret" not in repr(status) + repr(rig.events)
        rig.want("cam", server.url("h264", USER, PASSWORD))
        assert (await rig.sampling()).cause is None
        await rig.told("sampler_offline", "camera_offline", "camera_online")


async def test_a_path_the_camera_does_not_have_is_not_found(rtsp: Servers, tmp_path: Path, engine: str) -> None:
    server = rtsp()
    async with running_sampler(tmp_path, engine=engine) as rig:
        rig.want("cam", server.url("nothing"))
        assert (await rig.until(lambda status: status.cause is not None)).cause == "not_found"


async def test_a_killed_server_is_refused_and_taken_up_again_when_it_is_back(
    rtsp: Servers, tmp_path: Path, engine: str
) -> None:
    port = free_port(0)
    server = rtsp(port=port)
    async with running_sampler(tmp_path, engine=engine, offline_grace_s=2.0) as rig:
        rig.want("cam", server.url("h264"))
        await rig.told("camera_online")
        server.kill()
        status = await rig.until(lambda status: status.cause == "refused")
        assert status.state == "offline"
        await rig.told("camera_online", "sampler_offline", "camera_offline")
        rtsp(port=port)
        await rig.sampling()
        await rig.told("camera_online", "sampler_offline", "camera_offline", "camera_online")


async def test_a_frozen_server_is_a_stall_and_its_last_picture_is_not_current(
    rtsp: Servers, tmp_path: Path, engine: str
) -> None:
    server = rtsp()
    async with running_sampler(tmp_path, engine=engine, stall_s=2.0) as rig:
        rig.want("cam", server.url("h264"))
        await rig.sampling()
        server.freeze()
        status = await rig.until(lambda status: status.state == "stalled")
        assert (status.cause, status.stalls) == ("timeout", 1)
        assert (status.last_frame_age_ms or 0) >= 2000
        server.thaw()
        assert (await rig.sampling()).stalls == 1


async def test_a_stream_that_ends_is_started_again(rtsp: Servers, tmp_path: Path, engine: str) -> None:
    server = rtsp()
    async with running_sampler(tmp_path, engine=engine) as rig:
        rig.want("cam", server.url("h264?n=30"))
        status = await rig.until(lambda status: status.cause is not None)
        assert (status.state, status.cause) == ("offline", "ended")
        assert (await rig.sampling()).restarts == {"ended": 1}


async def test_a_change_of_resolution_within_a_stream_is_followed(rtsp: Servers, tmp_path: Path, engine: str) -> None:
    server = rtsp()
    async with running_sampler(tmp_path, engine=engine) as rig:
        rig.want("cam", server.url("h264?w=320&h=240"), width=640)
        await rig.until(lambda status: status.frames >= 5)
        server.command("resize 480 270")
        deadline = CLOCK.monotonic() + 10
        while (frame := rig.rings.latest("cam", "sub")) is None or (frame.width, frame.height) != (480, 270):
            assert CLOCK.monotonic() < deadline, f"still {frame}: {rig.status()}"
            await CLOCK.sleep(0.05)
        assert rig.status().restarts == ({"resized": 1} if engine == "ffmpeg" else {})
        assert rig.told_types == ["camera_online"]
