"""Scenes that operators complain about, in the scene language of the test kit, run through the engine."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from heldard_zones import engine
from heldard_zones.engine.rules import Zone, ZoneRow
from heldard_zones.engine.state import CameraState

from heldard.testing import START_MS, Scene, batch

YARD = [(0.2, 0.2), (0.8, 0.2), (0.8, 0.9), (0.2, 0.9)]


def told(scenes: Iterable[Scene], polygon=YARD, kind="region", dwell_seconds=0.0, **config) -> list[tuple[str, float]]:
    """(event, second) of everything the scenes of one camera lead to, a minute's silence at the end."""
    row = ZoneRow(number=1, id="z", camera_id="gate", name="yard", kind=kind, polygon=polygon, config=config,
                  dwell_seconds=dwell_seconds)  # fmt: skip
    zones, state = engine.ZoneSet([Zone(row)]), CameraState()
    events = engine.settle(state, zones, START_MS).events
    second = 0.0
    for scene in scenes:
        for shot in scene.shots():
            second = shot.second
            if shot.detections:
                at = START_MS + round(second * 1000)
                seen = batch(*shot.detections, at_ms=at, epoch=scene.epoch)
                events += engine.observe(state, zones, seen).events
    events += engine.advance(state, zones, START_MS + round(second * 1000) + 60_000).events
    return [(event.type, (event.at - START_MS) / 1000) for event in events]


def kinds(events: list[tuple[str, float]]) -> list[str]:
    return [kind for kind, _ in events]


@pytest.mark.parametrize("seed", range(10))
def test_jitter_on_the_edge(seed):
    noise = random.Random(seed)
    scene = Scene()
    person = scene.person("1").enter(0, at=(0.5, 0.5))
    for _ in range(300):
        person.walk_to((0.8 + noise.gauss(0, 0.005), 0.5), seconds=0.2)
    person.walk_to((0.95, 0.5), seconds=1).stand(3).leave()
    assert kinds(told([scene], static_suppression=False)) == ["enter", "exit"]


def test_occlusion_is_bridged():
    scene = Scene()
    scene.person("1").enter(0, at=(0.3, 0.5)).walk_to((0.5, 0.5), seconds=3).hide(4.5).stand(3).walk_to(
        (0.95, 0.5), seconds=2
    ).stand(2).leave()
    assert kinds(told([scene], dwell_seconds=5)) == ["enter", "dwell", "exit"]


def test_who_leaves_behind_a_pillar_is_gone_after_the_gap():
    scene = Scene()
    scene.person("1").enter(0, at=(0.3, 0.5)).stand(4).leave()
    assert told([scene]) == [("enter", 0.4), ("exit", 9.0)]


def test_a_flickering_detector():
    scene = Scene()
    person = scene.person("1").enter(0, at=(0.5, 0.5))
    for n in range(40):
        person.becomes(confidence=0.3 if n % 2 else 0.8).walk_to((0.5 + n / 400, 0.5), seconds=0.6)
    assert kinds(told([scene])) == ["enter", "exit"]


def test_a_teleport_over_the_line_counts_once():
    scene = Scene(fps=0.5)
    scene.person("1").enter(0, at=(0.1, 0.9)).walk_to((0.9, 0.4), seconds=2).stand(2).leave()
    assert kinds(told([scene], polygon=[(0.5, 0.0), (0.5, 1.0)], kind="line")) == ["cross_ab"]


def test_a_teleport_through_a_zone_is_no_visit():
    scene = Scene(fps=0.5)
    scene.person("1").enter(0, at=(0.1, 0.95)).walk_to((0.95, 0.95), seconds=2).stand(2).leave()
    assert told([scene]) == []


def test_id_switches_on_the_way():
    scene = Scene()
    where = (0.25, 0.5)
    for n in range(8):
        person = scene.person(f"id{n}").enter(n * 2.2, at=where)
        where = (where[0] + 0.06, 0.5)
        person.walk_to(where, seconds=2).leave()
    assert kinds(told([scene])) == ["enter", "exit"]


def test_a_restarted_worker_counts_from_one_again():
    first, second = Scene(epoch="run1"), Scene(epoch="run2")
    first.person("1").enter(0, at=(0.3, 0.5)).stand(4).leave()
    second.person("1").enter(5, at=(0.7, 0.5)).stand(4).leave()
    assert kinds(told([first, second])) == ["enter", "enter", "exit", "exit"]


def test_a_car_parked_for_a_day():
    noise = random.Random(3)
    scene = Scene(fps=1)
    scene.vehicle("0").enter(0, at=(0.95, 0.6)).walk_to((0.5, 0.6), seconds=8).stand(200).leave()
    second, generation = 209.0, 0
    while second < 86_400:
        generation += 1
        car = scene.vehicle(f"{generation}").enter(
            second, at=(0.5 + noise.gauss(0, 0.003), 0.6 + noise.gauss(0, 0.003))
        )
        seen = noise.uniform(5, 900)
        car.stand(seen).leave()
        second += seen + noise.choice([1, 3, 60, 600, 4 * 3600])
    scene.vehicle("last").enter(second, at=(0.5, 0.6)).stand(5).walk_to((0.95, 0.6), seconds=8).stand(3).leave()
    events = [event for event in told([scene]) if event[0] != "static_suppressed"]
    assert kinds(events) == ["enter", "exit"]
    assert second + 5 < events[1][1] < second + 16
