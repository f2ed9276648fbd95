"""Whatever is sent as a zone: either it is refused with a reason, or the engine runs with it."""

from __future__ import annotations

import msgspec
from heldard_zones import engine
from heldard_zones.engine.rules import OwnConfig, Zone, ZoneRow, check_row, hints
from heldard_zones.engine.state import CameraState
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldard.plugin import Batch, Detection, InvalidError

words = st.text(max_size=5)
odd = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
json = st.recursive(odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner), max_leaves=6)
keys = st.sampled_from(
    [
        *OwnConfig.__struct_fields__,
        "confirm_frames",
        "min_confidence",
        "static_epsilon",
        "static_after_seconds",
        "direction",
    ]
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "anchor": st.sampled_from(["bottom", "center", "overlap"]),
        "enter_frames": st.integers(0, 5),
        "exit_seconds": st.floats(-1, 5),
        "margin": st.floats(0, 0.3),
        "gap_seconds": st.floats(0, 130),
        "occupancy": st.fixed_dictionaries({}, optional={"over": st.integers(-1, 3), "seconds": st.floats(-1, 1e9)}),
        "schedule": st.lists(st.fixed_dictionaries({}, optional={"from": st.sampled_from(["00:00", "24:00", "7"])})),
        "per_label": st.dictionaries(st.text(max_size=3), st.just({"min_confidence": 0.2})),
    },
)
configs = st.dictionaries(keys, json, max_size=4) | likely | json
square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
numbers = st.floats(allow_nan=False) | st.just(1e308)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs, st.lists(st.tuples(numbers, numbers), max_size=6) | st.just(square), numbers)
def test_a_zone_is_refused_or_works(config, polygon, dwell_seconds):
    config = msgspec.json.decode(msgspec.json.encode(config))
    row = ZoneRow(
        number=1, id="z", camera_id="c", name="z", polygon=polygon, config=config, dwell_seconds=dwell_seconds
    )
    assert isinstance(hints(config), list)
    try:
        check_row(row, "UTC")
    except InvalidError:
        return
    zones, state = engine.ZoneSet([Zone(row)]), CameraState()
    engine.settle(state, zones, 1_000_000)
    for n in range(4):
        at = 1_000_000 + n * 1000
        seen = (
            Detection(0, "person", 0.9, (0.2, 0.2, 0.1, 0.1), "1"),
            Detection(1, None, None, (0.0, 0.9, 0.0, 0.1), "2"),
        )
        engine.observe(state, zones, Batch(n, "c", "detection", at, at, seen, captured_ms=at))
    engine.advance(state, zones, 10_000_000_000)
