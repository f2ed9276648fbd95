"""What a PyAV child decodes, run in this process on real files, as fast as it goes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from heldard.sampler.decoder import Job
from heldard.sampler.pyav import instructions
from heldard.sampler.source import Source
from tests.streams.rig import encode_clip

pyav_decode = pytest.importorskip("heldard.sampler.pyav_decode")


class Watched(pyav_decode.Session):  # type: ignore[misc, name-defined]
    """A session that writes nothing and remembers when, in the stream's own time, each picture came out."""

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__({**instructions(Job(Source(str(path), "file"), fps, 320)), "paced": False})
        self.now = 0.0
        self.packets = 0
        self.out: list[tuple[float, float]] = []

    def _packets(self, container: Any, stream: Any) -> Iterator[tuple[Any, float]]:
        for packet, at in super()._packets(container, stream):
            self.now = at
            yield packet, at

    def _decode(self, context: Any, packet: Any) -> list[Any]:
        self.packets += packet is not None
        decoded: list[Any] = super()._decode(context, packet)
        return decoded

    def _write(self, picture: Any, captured_ms: int) -> None:
        self.out.append((picture.pts, self.now))

    def _hear(self) -> None:
        """Nobody speaks."""

    def _report(self, line: str, now_s: float) -> None:
        """Nobody listens."""


@pytest.mark.parametrize("bframes", [0, 3])
@pytest.mark.parametrize("fps", [0.5, 1, 2, 5])
def test_every_picture_wanted_comes_out_soon_after_it_went_in(tmp_path: Path, bframes: int, fps: float) -> None:
    session = Watched(encode_clip(tmp_path / "clip.mp4", gop=30, seconds=16, bframes=bframes), fps)
    session.run()
    ticks = [pts for pts, _ in session.out]
    assert ticks == sorted(set(ticks))
    assert (0.8 if bframes else 0.95) * 16 * fps - 2 <= len(ticks) <= 16 * fps + 1
    gaps = [later[1] - earlier[1] for earlier, later in pairwise(session.out)]
    assert max(gaps) < 1.5 / fps + 0.5, "none was held back until the next keyframe"
    assert min(gaps) > 0.4 / fps - 0.3, "and so none came together with the next"


def test_only_keyframes_are_decoded_where_they_suffice(tmp_path: Path) -> None:
    session = Watched(encode_clip(tmp_path / "clip.mp4", gop=15, seconds=20), 1)
    session.run()
    assert len(session.out) == 20
    assert session.packets == 15 + 19, "the first group, whose length nobody knew, and 19 keyframes"
