"""What a detector is, and how one is found by the name of its task type.

Anyone adds a detector by an entry point in the group `heldard.detectors`; its name is the task type it serves:

    [project.entry-points."heldard.detectors"]
    helmets = "my_package:HelmetDetector"

The worker calls `HelmetDetector(config)` once per task, with the task's `config`, and then `detect` once per frame,
always from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from heldard.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

GROUP = "heldard.detectors"

Box = tuple[float, float, float, float]


class Detection(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing seen in one frame, as it is posted.

    confidence: 0..1. bbox: (x, y, width, height) as shares of the picture, from the top left corner. track_id: the
    same thing has the same one from frame to frame, unique within the detector's life. attributes: any JSON object.
    """

    label: str
    confidence: float
    bbox: Box | None = None
    track_id: str | None = None
    attributes: dict[str, Any] = {}


class PictureError(ValueError):
    """The bytes are not a picture that can be decoded."""


@dataclass(frozen=True)
class Picture:
    """A frame to be looked at. captured_ms: when it was taken, the server's clock, milliseconds since the epoch."""

    camera_id: str
    captured_ms: int
    jpeg: bytes = field(repr=False)

    @cached_property
    def bgr(self) -> npt.NDArray[np.uint8]:
        """The pixels, (height, width, 3), blue first. Raises PictureError for bytes that are no picture."""
        import cv2
        import numpy as np

        raw = np.frombuffer(self.jpeg, np.uint8)
        pixels = cv2.imdecode(raw, cv2.IMREAD_COLOR) if raw.size else None
        if pixels is None:
            raise PictureError(f"{len(self.jpeg)} bytes from camera {self.camera_id} are not a picture")
        return pixels.astype(np.uint8, copy=False)


class Detector(Protocol):
    """Looks at the frames of one task, in order."""

    def detect(self, picture: Picture) -> Sequence[Detection]:
        """What is seen. Runs in a thread, so it may take its time; frames it is too slow for are skipped.

        Raising costs this frame only: the worker says so and goes on with the next.
        """


DetectorFactory = Callable[[Mapping[str, Any]], Detector]
"""Makes a detector from a task's config. Raises ValueError, naming the key, for a config it cannot use."""


def available() -> dict[str, EntryPoint]:
    """Installed detectors by task type. Of two for one type the first in order of distribution name counts."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.dist.name if e.dist else "")):
        found.setdefault(entry.name, entry)
    return found


def load(task_type: str) -> DetectorFactory:
    """The detector for a task type. Raises ConfigError saying what is missing and how to get it."""
    known = available()
    entry = known.get(task_type)
    if entry is None:
        raise ConfigError(
            f"no detector for task type {task_type!r} is installed; there are: {', '.join(sorted(known)) or 'none'}"
        )
    try:
        factory: DetectorFactory = entry.load()
    except ImportError as error:
        raise ConfigError(
            f"the detector for {task_type!r} could not be imported ({error}): `pip install 'heldard[worker]'`"
        ) from error
    return factory
