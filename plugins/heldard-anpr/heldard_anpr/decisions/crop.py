"""The part of a kept frame that shows the plate. Takes Pillow, an extra: `heldard-anpr[crop]`."""

from __future__ import annotations

import io
from pathlib import Path

from heldard.plugin import Box, BusyError

MARGIN = 0.15
"""How much of the box is added on each side, so that the plate's edge shows."""


def cut(path: Path, box: Box) -> bytes:
    """A JPEG of the box and a little around it. Blocking. Raises BusyError when Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise BusyError(
            "cutting pictures takes Pillow: install heldard-anpr[crop], or cut the box out of the frame yourself",
            code="no_pillow",
        ) from None
    x, y, w, h = box
    with Image.open(path) as picture:
        left, top = max(0.0, x - w * MARGIN), max(0.0, y - h * MARGIN)
        right, bottom = min(1.0, x + w * (1 + MARGIN)), min(1.0, y + h * (1 + MARGIN))
        pixels = (
            int(left * picture.width), int(top * picture.height),
            max(int(left * picture.width) + 1, round(right * picture.width)),
            max(int(top * picture.height) + 1, round(bottom * picture.height)),
        )  # fmt: skip
        out = io.BytesIO()
        picture.crop(pixels).save(out, "JPEG", quality=92)
        return out.getvalue()
