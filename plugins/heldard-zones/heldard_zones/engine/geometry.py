"""Plane geometry on normalised pictures: x to the right and y down, both 0..1. Plain floats, no dependencies.

Everything here is exact where the numbers are: a point on an edge or a corner belongs to the polygon, a path that
touches a line and goes on is judged by where it comes from and where it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Edge = tuple[float, float, float, float]


def edges_of(points: Sequence[Point]) -> tuple[Edge, ...]:
    """The closed ring's edges as (x1, y1, x2, y2); repeated neighbours and a repeated first point give none."""
    ring = [point for point, before in zip(points, [points[-1], *points[:-1]], strict=True) if point != before]
    return tuple((*a, *b) for a, b in zip(ring, ring[1:] + ring[:1], strict=True))


def contains(edges: Sequence[Edge], x: float, y: float) -> bool:
    """Whether the point is in the polygon or on its border, by the even-odd rule.

    A ray to the right counts the edges it crosses, each edge open at its upper end, so that a vertex counts once.
    """
    inside = False
    for x1, y1, x2, y2 in edges:
        if (y1 > y) != (y2 > y):
            side = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
            if side == 0.0:
                return True
            if (side > 0.0) == (y2 > y1):
                inside = not inside
        elif y1 == y and (x1 == x or (y2 == y and (x1 <= x <= x2 or x2 <= x <= x1))):
            return True
    return inside


def distance_squared(edges: Sequence[Edge], x: float, y: float) -> float:
    """The square of the distance from the point to the nearest edge."""
    nearest = float("inf")
    for x1, y1, x2, y2 in edges:
        dx, dy = x2 - x1, y2 - y1
        along = ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy)
        along = 0.0 if along < 0.0 else 1.0 if along > 1.0 else along
        ox, oy = x1 + along * dx - x, y1 + along * dy - y
        nearest = min(nearest, ox * ox + oy * oy)
    return nearest


def area(points: Sequence[Point]) -> float:
    """The area of a simple polygon, by the shoelace formula; always positive."""
    total = 0.0
    for (x1, y1), (x2, y2) in zip(points, [*points[1:], *points[:1]], strict=True):
        total += x1 * y2 - x2 * y1
    return abs(total) / 2


def overlap_share(points: Sequence[Point], box: Box) -> float:
    """Which share of the box lies in the polygon, 0..1. A box without area counts by its centre alone.

    The polygon is cut along each side of the box in turn (Sutherland and Hodgman, 1974): the box is the convex one.
    Bridges the cut leaves in a concave polygon have no area.
    """
    x, y, w, h = box
    if w <= 0 or h <= 0:
        return 1.0 if contains(edges_of(points), x + w / 2, y + h / 2) else 0.0
    cut = list(points)
    for axis, sign, limit in ((0, 1, x), (0, -1, -(x + w)), (1, 1, y), (1, -1, -(y + h))):
        cut = _clip(cut, axis, sign, limit)
        if not cut:
            return 0.0
    return min(1.0, area(cut) / (w * h))


def _clip(points: Sequence[Point], axis: int, sign: int, limit: float) -> list[Point]:
    """The part of the polygon where sign * coordinate >= limit."""
    kept: list[Point] = []
    before = points[-1]
    depth_before = sign * before[axis] - limit
    for point in points:
        depth = sign * point[axis] - limit
        if (depth >= 0) != (depth_before >= 0):
            share = depth_before / (depth_before - depth)
            kept.append((before[0] + share * (point[0] - before[0]), before[1] + share * (point[1] - before[1])))
        if depth >= 0:
            kept.append(point)
        before, depth_before = point, depth
    return kept


def crossings(line: Sequence[Point], px: float, py: float, qx: float, qy: float) -> int:
    """How often the step from P to Q crosses the polyline, signed: +1 for each A-to-B crossing, -1 for each B-to-A.

    A-to-B is what leaves the side where (B-A) x (P-A) is positive. A point on the line counts as on that side, so a
    step that ends on the line and the one that leaves it are together exactly one crossing or none. An inner vertex
    belongs to one of its segments, the two ends of the line belong to it.
    """
    dx, dy = qx - px, qy - py
    last = len(line) - 2
    ax, ay = line[0]
    a_side = dx * (ay - py) - dy * (ax - px)
    net = 0
    for index in range(last + 1):
        bx, by = line[index + 1]
        b_side = dx * (by - py) - dy * (bx - px)
        if ((a_side >= 0) != (b_side >= 0)) or (index == 0 and a_side == 0) or (index == last and b_side == 0):
            p_side = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
            q_side = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
            if (p_side >= 0) != (q_side >= 0):
                net += 1 if p_side >= 0 else -1
        ax, ay, a_side = bx, by, b_side
    return net


def self_crossing(points: Sequence[Point]) -> tuple[int, int, Point] | None:
    """The first two edges of the ring that meet where they should not, with the place; None for a simple polygon.

    Edge n goes from point n to the next, counted from 0 after repeated neighbours were dropped.
    """
    edges = edges_of(points)
    count = len(edges)
    for (i, one), (j, two) in combinations(enumerate(edges), 2):
        neighbours = j == i + 1 or (i == 0 and j == count - 1)
        place = _fold(one, two) if neighbours else _meeting(one, two)
        if place is not None:
            return i, j, place
    return None


def _fold(one: Edge, two: Edge) -> Point | None:
    """Where neighbouring edges lie on top of each other; None when they share their corner only."""
    if two[2:] == one[:2]:
        one, two = two, one
    ax, ay, bx, by = one
    cx, cy = two[2:]
    straight = (bx - ax) * (cy - by) == (by - ay) * (cx - bx)
    backwards = (bx - ax) * (cx - bx) + (by - ay) * (cy - by) < 0
    return (bx, by) if straight and backwards else None


def _meeting(one: Edge, two: Edge) -> Point | None:
    """A common point of two closed segments, or None."""
    ax, ay, bx, by = one
    cx, cy, dx, dy = two
    if max(ax, bx) < min(cx, dx) or max(cx, dx) < min(ax, bx) or max(ay, by) < min(cy, dy) or max(cy, dy) < min(ay, by):
        return None
    a_side, b_side = _turn(cx, cy, dx, dy, ax, ay), _turn(cx, cy, dx, dy, bx, by)
    c_side, d_side = _turn(ax, ay, bx, by, cx, cy), _turn(ax, ay, bx, by, dx, dy)
    if a_side * b_side > 0 or c_side * d_side > 0:
        return None
    if a_side == b_side:  # all on one line, and their boxes touch
        return max((ax, ay), (cx, cy)) if min((ax, ay), (bx, by)) <= (cx, cy) else (ax, ay)
    share = a_side / (a_side - b_side)
    return ax + share * (bx - ax), ay + share * (by - ay)


def _turn(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> float:
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax)


def intersection_over_union(a: Box, b: Box) -> float:
    """Shared area of two boxes over the area they cover together, 0..1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
