"""The sampler on real files: surgical changes, states, events, and nothing left behind."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from heldard.sampler.ffmpeg import find_ffmpeg
from tests.streams.rig import CLOCK, Rig, encode_clip, running_sampler


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s of 320x240 at 15 fps, a keyframe each second."""
    return encode_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=2)


@pytest.fixture
def media(tmp_path: Path, clip: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    return tmp_path


@pytest.fixture(params=["ffmpeg", "pyav"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both ways of decoding have to show the same."""
    return str(request.param)


def exists(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


async def pids(rig: Rig, *cameras: str) -> dict[str, int | None]:
    return {camera: (await rig.sampling(camera)).pid for camera in cameras}


async def test_x1_adding_editing_and_removing_one_stream_restarts_no_other(media: Path, engine: str) -> None:
    async with running_sampler(media, engine=engine) as rig:
        for camera in ("a", "b", "c"):
            rig.want(camera, "file:clip.mp4")
        before = await pids(rig, "a", "b", "c")
        rig.want("d", "file:clip.mp4")
        await rig.sampling("d")
        rig.want("b", "file:clip.mp4", fps=7)
        await rig.until(lambda status: status.fps == 7, "b")
        if engine == "ffmpeg":
            await rig.until(lambda status: status.pid not in {None, before["b"]}, "b")
        await rig.sampling("b")
        assert await rig.rate("b", frames=12) > 5.5
        rig.drop("c")
        while rig.service.status_of("c", "sub") is not None:
            await CLOCK.sleep(0.05)
        after = await pids(rig, "a", "b", "d")
        assert after["a"] == before["a"]
        assert rig.status("a").restarts == {}
        if engine == "ffmpeg":
            assert (after["b"] != before["b"], rig.status("b").restarts) == (True, {"changed": 1})
        else:
            assert (after["b"] == before["b"], rig.status("b").restarts) == (True, {}), "it goes on at the new rate"
        while exists(before["c"]):
            await CLOCK.sleep(0.02)


async def test_a_change_that_asks_for_nothing_else_restarts_nothing(media: Path) -> None:
    async with running_sampler(media) as rig:
        rig.want("a", "file:clip.mp4", width=640)
        before = (await rig.until(lambda status: status.source_width == 320, "a")).pid
        rig.want("a", "file:clip.mp4", width=1280)
        await rig.until(lambda status: status.wanted_width == 1280, "a")
        rig.service.poke()
        await CLOCK.sleep(0.5)
        assert rig.status("a").pid == before, "both are above the source's width"


async def test_edits_within_a_moment_are_one_change(media: Path) -> None:
    async with running_sampler(media) as rig:
        for fps in range(1, 9):
            rig.want("a", "file:clip.mp4", fps=fps)
        status = await rig.sampling("a")
        assert (status.fps, status.restarts) == (8, {})


async def test_a_removed_stream_s_last_picture_is_no_longer_current_and_its_process_is_gone(
    media: Path, engine: str
) -> None:
    async with running_sampler(media, engine=engine) as rig:
        rig.want("a", "file:clip.mp4")
        pid = (await rig.sampling("a")).pid
        rig.drop("a")
        while rig.service.status():
            await CLOCK.sleep(0.02)
        assert rig.rings.latest("a", "sub") is None
        while exists(pid):
            await CLOCK.sleep(0.02)


async def test_what_the_budget_leaves_nothing_for_is_shown_with_the_reason(media: Path) -> None:
    async with running_sampler(media, max_total_fps=1.0) as rig:
        for number in range(40):
            rig.want(f"c{number:02d}", None)
        status = await rig.until(lambda status: status.state == "budget_exhausted", "c39")
        assert (status.fps, status.width, status.wanted_fps) == (0, 0, 5)
        assert "sampler.max_total_fps" in status.reason


async def test_a_camera_without_an_address_is_an_error_that_says_so(media: Path) -> None:
    async with running_sampler(media) as rig:
        rig.want("a", None)
        status = await rig.until(lambda status: status.state == "error", "a")
        assert (status.cause, "no address" in status.reason) == ("config", True)
        rig.want("a", "file:clip.mp4")
        await rig.sampling("a")


async def test_a_file_that_is_missing_or_no_video_is_offline_while_the_other_camera_goes_on(
    media: Path, engine: str
) -> None:
    (media / "noise.mp4").write_bytes(os.urandom(50_000))
    async with running_sampler(media, engine=engine) as rig:
        rig.want("good", "file:clip.mp4")
        rig.want("missing", "file:nothing.mp4")
        rig.want("noise", "file:noise.mp4")
        missing = await rig.until(lambda status: status.cause is not None, "missing")
        noise = await rig.until(lambda status: status.cause is not None, "noise")
        assert (missing.state, missing.cause) == ("offline", "not_found")
        assert (noise.state, noise.cause) == ("offline", "codec")
        good = await rig.sampling("good")
        again = await rig.until(lambda status: status.restarts.get("not_found", 0) >= 2, "missing")
        assert again.retry_in_s is None or again.retry_in_s <= 1.2
        assert rig.status("good").pid == good.pid


async def test_a_file_that_is_made_later_is_taken_up_by_itself(media: Path) -> None:
    async with running_sampler(media) as rig:
        rig.want("a", "file:later.mp4")
        await rig.until(lambda status: status.cause == "not_found", "a")
        (media / "later.mp4").write_bytes((media / "clip.mp4").read_bytes())
        await rig.sampling("a")


async def test_a_playlist_cannot_name_other_files(media: Path, engine: str) -> None:
    (media / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    )
    (media / "concat.mp4").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    async with running_sampler(media, engine=engine) as rig:
        for name in ("list", "concat"):
            rig.want(name, f"file:{name}.mp4")
            assert (await rig.until(lambda status: status.cause is not None, name)).cause in {"codec", "decoder"}
            assert rig.status(name).frames == 0


async def test_a_looped_file_goes_on_with_rising_capture_times_and_one_played_once_ends(
    media: Path, engine: str
) -> None:
    async with running_sampler(media, engine=engine) as rig:
        rig.want("loop", "file:clip.mp4", fps=10)
        rig.want("once", "file:clip.mp4?loop=0", fps=10)
        once = await rig.until(lambda status: status.cause is not None, "once")
        assert (once.state, once.cause, once.restarts, once.retry_in_s) == ("offline", "ended", {}, None)
        loop = await rig.until(lambda status: status.frames >= 32, "loop")
        assert loop.restarts == {}
        times = [frame.captured_ms for _, frame in rig.rings._rings["loop", "sub"].frames]
        assert times == sorted(set(times))
        assert max(later - earlier for earlier, later in pairwise(times)) < 1000


async def test_hardware_decoding_that_does_not_work_is_replaced_with_one_warning(
    media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_sampler(media, hwaccel="cuda") as rig:
        rig.want("a", "file:clip.mp4")
        status = await rig.sampling("a")
        assert status.hwaccel in {"none", "cuda"}
        if status.restarts:
            assert (status.hwaccel, status.restarts) == ("none", {"hwaccel": 1})
            assert capsys.readouterr().out.count("hwaccel_unavailable") == 1


async def test_events_are_told_once_per_change_and_not_per_attempt(media: Path) -> None:
    async with running_sampler(media, offline_grace_s=0.3) as rig:
        rig.want("a", "file:later.mp4")
        await rig.told("sampler_offline", "camera_offline")
        await rig.until(lambda status: status.restarts.get("not_found", 0) >= 3, "a")
        assert rig.told_types == ["sampler_offline", "camera_offline"]
        assert rig.events[0].payload["cause"] == "not_found"
        (media / "later.mp4").write_bytes((media / "clip.mp4").read_bytes())
        await rig.told("sampler_offline", "camera_offline", "camera_online")


async def test_a_camera_with_one_stream_left_is_not_offline(media: Path) -> None:
    async with running_sampler(media, offline_grace_s=0.3) as rig:
        rig.want("a", "file:clip.mp4")
        rig.want("a", "file:missing.mp4", profile="main")
        await rig.sampling("a")
        while len(rig.events) < 2:
            await CLOCK.sleep(0.05)
        await CLOCK.sleep(1)
        assert sorted(rig.told_types) == ["camera_online", "sampler_offline"]


async def test_counters_tell_frames_bytes_and_cpu_time(media: Path, engine: str) -> None:
    (media / "other.mp4").write_bytes((media / "clip.mp4").read_bytes())
    async with running_sampler(media, engine=engine) as rig:
        rig.want("a", "file:clip.mp4", fps=10)
        status = await rig.until(lambda status: status.frames >= 20 and status.bytes > 0, "a")
        assert status.decode_cpu_s > 0
        assert (status.source_width, status.source_height) == (320, 240)
        assert status.source_fps == pytest.approx(15, abs=1.5)
        rig.want("a", "file:other.mp4", fps=5)
        later = await rig.until(lambda status: status.restarts == {"changed": 1} and status.state == "sampling", "a")
        assert later.frames > status.frames
        assert later.bytes >= status.bytes
        assert later.decode_cpu_s >= status.decode_cpu_s


async def test_sampling_switched_off_starts_nothing(media: Path) -> None:
    async with running_sampler(media, enabled=False) as rig:
        rig.want("a", "file:clip.mp4")
        await CLOCK.sleep(0.6)
        assert rig.service.status() == []


async def test_an_ffmpeg_that_is_not_there_is_an_error_of_the_stream_that_says_what_to_do(media: Path) -> None:
    async with running_sampler(media, ffmpeg_path="/nowhere/ffmpeg", engine="ffmpeg") as rig:
        rig.want("a", "file:clip.mp4")
        status = await rig.until(lambda status: status.state == "error", "a")
        assert "sampler.ffmpeg_path" in status.reason


def test_the_system_s_ffmpeg_is_preferred_and_the_package_s_is_the_fall_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == imageio_ffmpeg.get_ffmpeg_exe()
    old = tmp_path / "ffmpeg"
    old.write_text("#!/bin/sh\necho 'ffmpeg version 4.4.2-0ubuntu'\n")
    old.chmod(0o755)
    assert find_ffmpeg() == imageio_ffmpeg.get_ffmpeg_exe(), "the system's is too old"
    new = tmp_path / "new"
    new.mkdir()
    (new / "ffmpeg").write_text("#!/bin/sh\necho 'ffmpeg version 7.0.1 Copyright'\n")
    (new / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(new))
    assert find_ffmpeg() == str(new / "ffmpeg")


async def test_a_lost_fork_server_costs_one_retry_and_leaves_nothing(media: Path) -> None:
    async with running_sampler(media, engine="pyav") as rig:
        rig.want("a", "file:clip.mp4")
        pid = (await rig.sampling("a")).pid
        zygote = rig.service._zygote._process
        assert zygote is not None
        os.kill(zygote.pid, signal.SIGKILL)
        status = await rig.until(lambda status: status.cause == "decoder", "a")
        while exists(pid):  # its children die with it
            await CLOCK.sleep(0.02)
        assert status.retry_in_s is not None
        await rig.sampling("a")


async def test_the_password_of_a_camera_is_not_in_the_list_of_processes(media: Path) -> None:
    async with running_sampler(media, engine="pyav") as rig:
        rig.want("a", "file:clip.mp4")
        pid = (await rig.sampling("a")).pid
        for line in (Path(f"/proc/{pid}") / "cmdline", Path(f"/proc/{pid}") / "environ"):
            assert b"clip.mp4" not in line.read_bytes()


async def test_the_package_s_ffmpeg_shows_the_same_as_the_system_s(media: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = imageio_ffmpeg.get_ffmpeg_exe()
    async with running_sampler(media, engine="ffmpeg", ffmpeg_path=path) as rig:
        rig.want("a", "file:clip.mp4", fps=10, width=160)
        rig.want("missing", "file:nothing.mp4")
        status = await rig.until(lambda status: status.frames >= 12 and status.gop_s is not None, "a")
        assert (status.source_width, status.source_height) == (320, 240)
        assert status.gop_s == pytest.approx(1.0, abs=0.1)
        frame = rig.rings.latest("a", "sub")
        assert frame is not None
        assert (frame.width, frame.height) == (160, 120)
        assert (await rig.until(lambda status: status.cause is not None, "missing")).cause == "not_found"
