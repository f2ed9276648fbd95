"""The section `[plugins.zones]`."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timezone: Annotated[
        str | None,
        msgspec.Meta(description="Time zone of schedules, such as Europe/Berlin; the site's own when not set."),
    ] = None
    keep_events_days: Annotated[
        int, msgspec.Meta(ge=1, le=3650, description="How long zone events are kept.")
    ] = 30  # fmt: skip
    keep_history_days: Annotated[
        int, msgspec.Meta(ge=1, le=3650, description="How long occupancy history and counts of refusals are kept.")
    ] = 30  # fmt: skip
    max_zones_per_camera: Annotated[
        int, msgspec.Meta(ge=1, le=1000, description="How many zones a camera may have.")
    ] = 100  # fmt: skip
    max_backtest_detections: Annotated[
        int, msgspec.Meta(ge=1000, description="How many stored detections one backtest may read.")
    ] = 2_000_000  # fmt: skip
