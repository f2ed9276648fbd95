"""The picture an event was made from, plain or with the zone and the box drawn over it."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import msgspec
from aiohttp import web

from heldard.plugin import Frame, NotFoundError, rfc3339

if TYPE_CHECKING:
    from heldard_zones.service import Zones


class Evidence:
    def __init__(self, zones: Zones) -> None:
        self._zones = zones

    async def answer(self, row: dict[str, Any] | None, *, draw: bool) -> web.Response:
        """The JPEG, or an SVG around it. Raises NotFoundError where there is no event or no picture any more."""
        if row is None:
            raise NotFoundError("there is no such zone event", code="zone_event_not_found")
        frame = await self._frame(row)
        if frame is None:
            raise NotFoundError("no picture is kept of this event", code="no_evidence")
        if not draw:
            return web.Response(body=frame.jpeg, content_type="image/jpeg")
        zone = await self._zones.store.zone_at(row["zone_id"], row["at_ms"])
        svg = drawn(
            frame, row, None if zone is None else zone.polygon, is_line=zone is not None and zone.kind == "line"
        )
        # Nothing in a picture is a program.
        headers = {"Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'"}
        return web.Response(text=svg, content_type="image/svg+xml", headers=headers)

    async def _frame(self, row: dict[str, Any]) -> Frame | None:
        if row["captured_ms"] is None:
            return None
        # A frame that is kept on disk is read from there.
        return await asyncio.to_thread(self._zones.ctx.frame, row["camera_id"], row["captured_ms"])


def drawn(
    frame: Frame, row: dict[str, Any], polygon: list[tuple[float, float]] | None, *, is_line: bool = False
) -> str:
    """An SVG of the frame's size: the picture, the zone and the box as they were then, and a caption."""
    width, height = frame.width or 1280, frame.height or 720
    picture = base64.b64encode(frame.jpeg).decode()
    parts = [f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,{picture}"/>']
    if polygon:
        points = " ".join(f"{x * width:.1f},{y * height:.1f}" for x, y in polygon)
        kind = "polyline" if is_line else "polygon"
        parts.append(
            f'<{kind} points="{points}" fill="{"none" if is_line else "#fc03"}" stroke="#fc0" stroke-width="2"/>'
        )
    if row["bbox"]:
        x, y, w, h = msgspec.json.decode(row["bbox"], type=tuple[float, float, float, float])
        parts.append(
            f'<rect x="{x * width:.1f}" y="{y * height:.1f}" width="{w * width:.1f}" height="{h * height:.1f}" '
            'fill="none" stroke="#f33" stroke-width="3"/>'
        )
    said = f"{row['zone_name']}: {row['event_type']} {row['label'] or ''} {rfc3339(row['at_ms'])}"
    parts.append(
        f'<text x="8" y="{height - 10}" font-family="sans-serif" font-size="18" fill="#fff" stroke="#000" '
        f'stroke-width="3" paint-order="stroke">{escape(said)}</text>'
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
