"""The demo's scene as pictures, without a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import pytest

from heldard.demo import scene
from heldard.demo.paint import Painter
from heldard.worker.detector import Picture

START_MS = 1_750_000_000_000
Watch = Callable[..., Iterator[Picture]]


@pytest.fixture(scope="session")
def painter() -> Painter:
    return Painter()


@pytest.fixture(scope="session")
def watch(painter: Painter) -> Watch:
    """What a camera sees of the scene between two times, as JPEGs."""

    def pictures(from_s: float, to_s: float, fps: float = 6, width: int = 640) -> Iterator[Picture]:
        for number in range(int((to_s - from_s) * fps)):
            at_s = from_s + number / fps
            image = painter.frame(round(at_s * scene.FPS))
            image = cv2.resize(image, (width, width * 9 // 16), interpolation=cv2.INTER_AREA)
            yield Picture("cam", START_MS + round(at_s * 1000), cv2.imencode(".jpg", image)[1].tobytes())

    return pictures
