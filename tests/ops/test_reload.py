"""A reload changes live settings only."""

from __future__ import annotations

import msgspec

from heldard.config import Settings, settle
from heldard.reload import compare, take_live


def test_every_difference_is_either_live_or_waits() -> None:
    new = settle(
        {
            "retention": {"max_db_mb": 100},
            "sampler": {"max_total_fps": 10.0, "jpeg_quality": 9},
            "server": {"port": 81},
            "plugins": {"zones": {"a": 1}},
        }
    )
    change = compare(Settings(), new)
    assert change.live == ["sampler.max_total_fps", "retention.max_db_mb"]
    assert change.restart == ["server.port", "sampler.jpeg_quality", "plugins.zones"]
    assert compare(new, new) == compare(Settings(), Settings())


def test_what_waits_for_a_restart_is_still_reported_at_the_next_reload() -> None:
    new = settle({"retention": {"max_db_mb": 100}, "server": {"port": 81}})
    current = take_live(Settings(), new)
    assert (current.retention.max_db_mb, current.server.port) == (100, 8000)
    assert compare(current, new).live == []
    assert compare(current, new).restart == ["server.port"]


def test_taking_live_settings_of_equal_settings_changes_nothing() -> None:
    assert take_live(Settings(), msgspec.structs.replace(Settings())) == Settings()
