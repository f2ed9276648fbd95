"""The demo's scene as pixels: a road at a gate, cars with plates, people, light that drifts and a sensor's noise.

Drawn with OpenCV on numpy arrays (BGR, 8 bit). Deterministic: the same time gives the same picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from heldard.demo import scene
from heldard.demo.scene import Person, Vehicle

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_W, _H = scene.SIZE
_SPRITE_W, _CAR_H, _VAN_H = 252, 236, 268
_PLATE_W, _PLATE_H = 132, 30
_NOISE_TILES = 8


@dataclass
class Painter:
    """Paints the scene at any time. Holds what is drawn once: the backdrop, a sprite per vehicle, the noise."""

    seed: int = 7
    _backdrop: Image = field(init=False)
    _sprites: dict[str, Image] = field(init=False)
    _noise: list[npt.NDArray[np.int16]] = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self._backdrop = _paint_backdrop(random)
        self._sprites = {v.plate: _paint_vehicle(v) for v in scene.VEHICLES}
        self._noise = [_noise_tile(random) for _ in range(_NOISE_TILES)]

    def frame(self, index: int) -> Image:
        """The picture number `index` of the video."""
        at_s = index / scene.FPS
        picture = self._backdrop.copy()
        for mover in _far_to_near(at_s):
            self._draw(picture, mover, at_s)
        return self._expose(picture, index)

    def _draw(self, picture: Image, mover: Vehicle | Person, at_s: float) -> None:
        ground = mover.ground(at_s)
        if ground is None:
            return
        if isinstance(mover, Vehicle):
            _place(picture, self._sprites[mover.plate], ground)
        else:
            _paint_person(picture, mover, ground, at_s)

    def _expose(self, picture: Image, index: int) -> Image:
        """Slowly drifting light, one wave per round so that the loop has no jump, and sensor noise."""
        light = round(3 * math.sin(2 * math.pi * index / (scene.FPS * scene.DURATION_S)))
        noise = self._noise[index * 5 % _NOISE_TILES]
        return _bytes(picture.astype(np.int16) + noise + light)


def _far_to_near(at_s: float) -> list[Vehicle | Person]:
    """Everybody in the scene, so that who is nearer is painted over who is further off."""
    movers: list[tuple[float, Vehicle | Person]] = []
    everybody: list[Vehicle | Person] = [*scene.VEHICLES, *scene.PEOPLE]
    for mover in everybody:
        ground = mover.ground(at_s)
        if ground is not None:
            movers.append((ground[1], mover))
    return [mover for _, mover in sorted(movers, key=lambda pair: pair[0])]


def _bytes(values: npt.NDArray[Any]) -> Image:
    pixels: Image = np.clip(values, 0, 255).astype(np.uint8)
    return pixels


# --- what stands still ------------------------------------------------------------------------------------------------


def _noise_tile(random: np.random.Generator) -> npt.NDArray[np.int16]:
    return np.rint(random.normal(0, 1.6, (_H, _W, 1))).astype(np.int16)


def _paint_backdrop(random: np.random.Generator) -> Image:
    picture = np.empty((_H, _W, 3), np.uint8)
    picture[:] = (62, 104, 84)
    _fill(picture, [(-10, 0), (-10, _H), (40, _H), (215, 0)], (58, 98, 74))
    _fill(picture, [(225, 0), (50, _H), (985, _H), (905, 0)], (92, 92, 94))  # road and lay-by
    _fill(picture, [(925, 0), (1000, _H), (_W, _H), (_W, 0)], (138, 142, 146))  # pavement
    _fill(picture, [(908, 0), (925, 0), (1000, _H), (983, _H)], (172, 172, 172))  # kerb
    _paint_markings(picture)
    _paint_gatehouse(picture)
    grain = cv2.GaussianBlur(random.normal(0, 16, (_H, _W, 1)).astype(np.float32), (0, 0), 1.1)[..., None]
    return _bytes(picture + grain)


def _paint_markings(picture: Image) -> None:
    for y in range(-20, _H, 90):
        _line(picture, (scene_x(672, 676, y), y), (scene_x(672, 676, y + 48), y + 48), (196, 200, 202), 6)
    _line(picture, (442, 0), (372, _H), (190, 194, 196), 4)  # edge of the lay-by
    _line(picture, (60, 400), (378, 400), (176, 182, 186), 4)
    y = round(scene.GATE_LINE[0][1] * _H)
    _line(picture, (402, y), (968, y), (150, 154, 156), 5)


def scene_x(top: float, bottom: float, y: float) -> int:
    """The x at `y` of a line from `top` at the upper edge to `bottom` at the lower one."""
    return round(top + (bottom - top) * y / _H)


def _paint_gatehouse(picture: Image) -> None:
    _fill(picture, [(1090, 40), (1268, 40), (1268, 190), (1090, 190)], (96, 118, 150))
    _fill(picture, [(1078, 18), (1280, 18), (1280, 52), (1078, 52)], (60, 66, 84))
    _fill(picture, [(1112, 78), (1178, 78), (1178, 140), (1112, 140)], (120, 96, 70))
    _fill(picture, [(1196, 78), (1248, 78), (1248, 190), (1196, 190)], (70, 78, 92))


# --- vehicles ---------------------------------------------------------------------------------------------------------


def _paint_vehicle(vehicle: Vehicle) -> Image:
    """The vehicle as its camera sees it, at depth 1: BGRA, the plate in the lower middle."""
    height = _CAR_H if vehicle.body == "car" else _VAN_H
    sprite = np.zeros((height, _SPRITE_W, 4), np.uint8)
    _body(sprite, vehicle, height)
    _lights(sprite, vehicle, height)
    _plate(sprite, vehicle.plate, height)
    return sprite


def _shade(colour: Colour, by: float) -> Colour:
    blue, green, red = (min(255, round(channel * by)) for channel in colour)
    return blue, green, red


def _body(sprite: Image, vehicle: Vehicle, height: int) -> None:
    width, colour = _SPRITE_W, vehicle.colour
    roof, shoulder = 6, 96 if vehicle.body == "car" else 128
    inset = 36 if vehicle.body == "car" else 14
    _fill(sprite, [(20, height - 30), (20, height - 1), (62, height - 1), (62, height - 30)], (26, 26, 26))
    _fill(sprite, [(190, height - 30), (190, height - 1), (232, height - 1), (232, height - 30)], (26, 26, 26))
    cabin = [(inset + 12, roof), (width - inset - 12, roof), (width - 16, shoulder), (16, shoulder)]
    _fill(sprite, cabin, _shade(colour, 0.9))
    _fill(sprite, [(inset + 18, roof + 20), (width - inset - 18, roof + 20), (width - 30, shoulder - 6),
                   (30, shoulder - 6)], (70, 62, 50))  # fmt: skip
    _fill(sprite, [(inset + 30, roof + 24), (inset + 62, roof + 24), (62, shoulder - 10), (40, shoulder - 10)],
          (112, 102, 88))  # fmt: skip
    hull = [(8, shoulder), (width - 8, shoulder), (width - 2, shoulder + 40), (width - 4, height - 14),
            (4, height - 14), (2, shoulder + 40)]  # fmt: skip
    _fill(sprite, hull, colour)
    _fill(sprite, [(22, shoulder + 6), (width - 22, shoulder + 6), (width - 14, shoulder + 40), (14, shoulder + 40)],
          _shade(colour, 1.16))  # fmt: skip
    _fill(sprite, [(4, height - 54), (width - 4, height - 54), (width - 4, height - 14), (4, height - 14)],
          _shade(colour, 0.72))  # fmt: skip


def _lights(sprite: Image, vehicle: Vehicle, height: int) -> None:
    inbound = vehicle.direction == "inbound"
    colour = (225, 240, 245) if inbound else (40, 40, 205)
    for left in (14, _SPRITE_W - 58):
        _fill(sprite, [(left, height - 92), (left + 44, height - 92), (left + 44, height - 68), (left, height - 68)],
              colour)  # fmt: skip
    if inbound:
        for y in range(height - 92, height - 66, 8):
            _line(sprite, (72, y), (_SPRITE_W - 72, y), (40, 40, 40), 3)


def _plate(sprite: Image, text: str, height: int) -> None:
    """A white plate with dark letters, drawn four times as large and shrunk, which is what makes it crisp."""
    plate = np.full((_PLATE_H * 4, _PLATE_W * 4, 3), 236, np.uint8)
    cv2.rectangle(plate, (5, 5), (_PLATE_W * 4 - 6, _PLATE_H * 4 - 6), (24, 24, 24), 5)
    scale = 3.3
    (text_w, text_h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 7)
    fit = min(1.0, (_PLATE_W * 4 - 48) / text_w)
    (text_w, text_h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale * fit, 7)
    origin = ((_PLATE_W * 4 - text_w) // 2, (_PLATE_H * 4 + text_h) // 2)
    cv2.putText(plate, text, origin, cv2.FONT_HERSHEY_DUPLEX, scale * fit, (18, 18, 18), 7, cv2.LINE_AA)
    small = cv2.resize(plate, (_PLATE_W, _PLATE_H), interpolation=cv2.INTER_AREA)
    left, top = (_SPRITE_W - _PLATE_W) // 2, height - 50
    sprite[top : top + _PLATE_H, left : left + _PLATE_W, :3] = small
    sprite[top : top + _PLATE_H, left : left + _PLATE_W, 3] = 255


def _place(picture: Image, sprite: Image, ground: scene.Point) -> None:
    """Blend a sprite so that the middle of its lower edge is at `ground`, between pixels where that is so."""
    scale = scene.depth(ground[1])
    height, width = sprite.shape[:2]
    left, top = ground[0] - width * scale / 2, ground[1] - height * scale
    x0, y0 = max(0, math.floor(left) - 1), max(0, math.floor(top) - 1)
    x1 = min(_W, math.ceil(left + width * scale) + 1)
    y1 = min(_H, math.ceil(top + height * scale) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    move = np.array([[scale, 0, left - x0], [0, scale, top - y0]], np.float32)
    warped = cv2.warpAffine(sprite, move, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    alpha = warped[..., 3:].astype(np.float32) / 255
    region = picture[y0:y1, x0:x1]
    region[:] = (warped[..., :3] * alpha + region * (1 - alpha)).astype(np.uint8)


# --- people -----------------------------------------------------------------------------------------------------------


def _paint_person(picture: Image, person: Person, ground: scene.Point, at_s: float) -> None:
    """Head, coat, arms and legs that swing about 0.9 times a second; 150 pixels tall at depth 1."""
    unit = 1.5 * scene.depth(ground[1])
    swing = math.sin(2 * math.pi * 0.9 * at_s)

    def at(dx: float, up: float) -> scene.Point:
        return ground[0] + dx * unit, ground[1] - up * unit

    thick = max(2, round(9 * unit))
    for side in (-1, 1):
        _line(picture, at(5 * side, 44), at(5 * side + 9 * swing * side, 4), (52, 44, 40), thick)
        _line(picture, at(14 * side, 76), at(15 * side - 7 * swing * side, 48), _shade(person.coat, 0.8), thick)
    _fill(picture, [at(-15, 80), at(15, 80), at(17, 38), at(-17, 38)], person.coat)
    _disc(picture, at(0, 91), 9 * unit, (130, 160, 205))
    _fill(picture, [at(-9, 100), at(9, 100), at(9, 94), at(-9, 94)], (40, 46, 60))


# --- strokes with sub-pixel places ------------------------------------------------------------------------------------

_SHIFT = 4


def _fixed(point: tuple[float, float]) -> tuple[int, int]:
    return round(point[0] * (1 << _SHIFT)), round(point[1] * (1 << _SHIFT))


def _opaque(picture: Image, colour: Colour) -> tuple[int, ...]:
    return (*colour, 255) if picture.shape[2] == 4 else colour


def _fill(picture: Image, corners: list[tuple[float, float]] | list[tuple[int, int]], colour: Colour) -> None:
    points = np.array([_fixed(corner) for corner in corners], np.int32)
    cv2.fillPoly(picture, [points], _opaque(picture, colour), cv2.LINE_AA, _SHIFT)


def _line(picture: Image, start: tuple[float, float], end: tuple[float, float], colour: Colour, thickness: int) -> None:
    cv2.line(picture, _fixed(start), _fixed(end), _opaque(picture, colour), thickness, cv2.LINE_AA, _SHIFT)


def _disc(picture: Image, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    cv2.circle(picture, _fixed(centre), round(radius * (1 << _SHIFT)), _opaque(picture, colour), -1, cv2.LINE_AA,
               _SHIFT)  # fmt: skip
