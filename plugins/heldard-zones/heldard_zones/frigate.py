"""Zones of a Frigate configuration as zones of ours.

Read: `zones` with coordinates, objects, inertia, loitering_time, filters and enabled, and the camera's object masks.
Coordinates may be shares or, as in older files, pixels of the `detect` size. Whatever has no counterpart is named in
the notes instead of being dropped in silence. Format as documented at https://docs.frigate.video/configuration/zones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from heldard.plugin import InvalidError
from heldard_zones.model import ZoneCreate

_READ = {
    "coordinates", "objects", "inertia", "loitering_time", "filters", "enabled", "distances", "speed_threshold",
}  # fmt: skip
MOST_YAML_BYTES = 1_000_000


class FrigateImport(msgspec.Struct, frozen=True, kw_only=True):
    """config: the file's text (YAML or JSON) or the object itself. camera: its name there; not needed when the file
    has one camera. dry_run: only show what would be drawn."""

    config: str | dict[str, Any]
    camera: str | None = None
    dry_run: bool = False


class Imported(msgspec.Struct, frozen=True):
    """What was read. notes: what could not be carried over, with the zone it belongs to."""

    zones: list[ZoneCreate]
    notes: list[str]


def read(asked: FrigateImport) -> Imported:
    """Raises InvalidError when this is no Frigate configuration, or has no such camera."""
    camera = _camera(_document(asked.config), asked.camera)
    size = _size(camera)
    zones: list[ZoneCreate] = []
    notes: list[str] = []
    for name, zone in _mapping(camera.get("zones"), "zones").items():
        zones.append(_zone(str(name), _mapping(zone, f"zones.{name}"), size, notes))
    zones.extend(_masks(camera, size))
    if _mapping(camera.get("motion"), "motion").get("mask"):
        notes.append("motion.mask was left out: it hides motion, not objects")
    if not zones:
        notes.append("this camera has no zones")
    return Imported(zones, notes)


def _document(config: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(config, dict):
        return config
    if len(config) > MOST_YAML_BYTES:
        raise InvalidError(f"config: is over {MOST_YAML_BYTES} characters")
    from heldard_zones.plain_yaml import load

    return _mapping(load(config), "config")


def _camera(config: dict[str, Any], name: str | None) -> dict[str, Any]:
    cameras = _mapping(config.get("cameras"), "cameras")
    if name is None:
        if len(cameras) != 1:
            known = ", ".join(sorted(map(str, cameras))) or "none"
            raise InvalidError(f"camera: name one of the file's cameras ({known})", code="which_camera")
        name = next(iter(cameras))
    if name not in cameras:
        raise InvalidError(f"camera: the file has no camera {name!r}, only {', '.join(sorted(map(str, cameras)))}")
    return _mapping(cameras[name], f"cameras.{name}")


def _zone(name: str, zone: dict[str, Any], size: tuple[float, float] | None, notes: list[str]) -> ZoneCreate:
    config: dict[str, Any] = {}
    if (inertia := zone.get("inertia")) is not None:
        config["enter_frames"] = _positive(inertia, f"zones.{name}.inertia")
    labels = zone.get("objects") or []
    labels = [labels] if isinstance(labels, str) else [str(label) for label in labels]
    per_label = {
        str(label): limits
        for label, filters in _mapping(zone.get("filters"), f"zones.{name}.filters").items()
        if (limits := _limits(f"{name}: filters.{label}", _mapping(filters, str(label)), size, notes))
    }
    if per_label:
        config["per_label"] = per_label
    loitering = zone.get("loitering_time") or 0
    if loitering:
        notes.append(
            f"{name}: loitering_time {loitering} became dwell_seconds; the enter is told at once, not after it"
        )
    speeds = [key for key in ("distances", "speed_threshold") if zone.get(key)]
    notes.extend(f"{name}: {key} was left out; speed is not estimated" for key in speeds)
    notes.extend(f"{name}: {key} has no counterpart and was left out" for key in sorted(set(map(str, zone)) - _READ))
    return ZoneCreate(
        name=name, polygon=_points(zone.get("coordinates"), f"zones.{name}.coordinates", size), kind="region",
        dwell_seconds=float(_positive(loitering, f"zones.{name}.loitering_time")) if loitering else 0.0,
        labels=labels, config=config, enabled=zone.get("enabled") is not False,
    )  # fmt: skip


def _limits(
    where: str, filters: dict[str, Any], size: tuple[float, float] | None, notes: list[str]
) -> dict[str, float]:
    limits: dict[str, float] = {}
    for theirs, ours in (("min_area", "min_area"), ("max_area", "max_area")):
        value = filters.get(theirs)
        if value is None:
            continue
        number = _positive(value, where)
        if number <= 1:
            limits[ours] = number
        elif size is not None:
            limits[ours] = min(1.0, number / (size[0] * size[1]))
        else:
            notes.append(f"{where}: {theirs} in pixels was left out; the file gives no detect.width and height")
    # Frigate asks each detection for min_score and the track's median for threshold; one floor stands for both.
    if (floor := filters.get("threshold", filters.get("min_score"))) is not None:
        limits["min_confidence"] = min(1.0, _positive(floor, where))
    notes.extend(f"{where}: {key} was left out" for key in ("min_ratio", "max_ratio", "mask") if filters.get(key))
    return limits


def _masks(camera: dict[str, Any], size: tuple[float, float] | None) -> Iterator[ZoneCreate]:
    masks = _mapping(camera.get("objects"), "objects").get("mask") or []
    masks = [masks] if isinstance(masks, str) else masks
    for number, mask in enumerate(masks, 1):
        yield ZoneCreate(f"object mask {number}", _points(mask, "objects.mask", size), kind="mask")


def _points(coordinates: Any, where: str, size: tuple[float, float] | None) -> list[tuple[float, float]]:
    """From `x1,y1,x2,y2` or a list of `x,y`."""
    text = ",".join(map(str, coordinates)) if isinstance(coordinates, list) else str(coordinates or "")
    try:
        numbers = [float(number) for number in text.split(",") if number.strip()]
    except ValueError:
        raise InvalidError(f"{where}: {text[:80]!r} is not a list of numbers") from None
    if len(numbers) < 6 or len(numbers) % 2:
        raise InvalidError(f"{where}: has {len(numbers)} numbers; a polygon has two for each of three or more points")
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    if all(0 <= number <= 1 for number in numbers):
        return points
    if size is None:
        raise InvalidError(f"{where}: is in pixels, and the file gives no detect.width and height to share them by")
    return [(min(1.0, x / size[0]), min(1.0, y / size[1])) for x, y in points]


def _size(camera: dict[str, Any]) -> tuple[float, float] | None:
    detect = _mapping(camera.get("detect"), "detect")
    width, height = detect.get("width"), detect.get("height")
    if not width or not height:
        return None
    return _positive(width, "detect.width"), _positive(height, "detect.height")


def _positive(value: Any, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise InvalidError(f"{where}: {value!r} is not a number from 0 to 10^12")
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidError(f"{where}: is not a mapping; is this a Frigate configuration?", code="not_frigate")
    return value
