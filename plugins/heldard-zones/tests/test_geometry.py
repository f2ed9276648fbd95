"""Geometry, against shapely as oracle and against the vectors of the zone contract."""

from __future__ import annotations

import itertools

import pytest
import shapely
from heldard_zones.engine.geometry import (
    area,
    contains,
    crossings,
    distance_squared,
    edges_of,
    intersection_over_union,
    overlap_share,
    self_crossing,
)
from hypothesis import assume, given
from hypothesis import strategies as st

SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
# Sixty-fourths are exact in binary, so points really lie on edges and the oracle can be asked for equality.
grid = st.integers(0, 64).map(lambda n: n / 64)
grid_point = st.tuples(grid, grid)
free = st.floats(0, 1, allow_nan=False, width=32)
ring = st.lists(grid_point, min_size=3, max_size=9, unique=True)


@st.composite
def simple_polygons(draw):
    points = draw(ring)
    assume(shapely.LinearRing(points).is_simple and shapely.Polygon(points).area > 0)
    return points


@given(simple_polygons(), st.one_of(grid_point, st.tuples(free, free)))
def test_a_point_is_inside_exactly_when_the_polygon_covers_it(points, point):
    assume(point in points or all(abs(v * 64 - round(v * 64)) < 1e-12 for v in point) or _clear_of(points, point))
    assert contains(edges_of(points), *point) == shapely.Polygon(points).covers(shapely.Point(point))


def _clear_of(points, point):
    return shapely.LinearRing(points).distance(shapely.Point(point)) > 1e-9


@given(simple_polygons(), st.integers(0, 8), st.integers(0, 64))
def test_every_point_of_the_border_belongs_to_the_zone(points, edge, step):
    x1, y1, x2, y2 = edges_of(points)[edge % len(points)]
    on_edge = (x1 + (x2 - x1) * step / 64, y1 + (y2 - y1) * step / 64)
    assert contains(edges_of(points), *on_edge)


@pytest.mark.parametrize("point", [(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 1), (1, 0.5), (0.5, 0), (0, 0.5), (0.5, 0.5)])
def test_z7_the_edge_belongs_to_the_zone(point):
    """Upstream leaves out x = 1 and y = 1, so a box cut by the picture's bottom is never inside (X-25)."""
    assert contains(edges_of(SQUARE), *point)


@given(simple_polygons(), st.tuples(free, free))
def test_distance_is_the_oracles(points, point):
    expected = shapely.LinearRing(points).distance(shapely.Point(point))
    assert distance_squared(edges_of(points), *point) ** 0.5 == pytest.approx(expected, abs=1e-9)


@given(simple_polygons())
def test_area_is_the_oracles(points):
    assert area(points) == pytest.approx(shapely.Polygon(points).area)


@given(simple_polygons(), st.tuples(grid, grid, st.floats(0.01, 1), st.floats(0.01, 1)))
def test_overlap_share_is_the_oracles(points, box):
    x, y, w, h = box
    expected = shapely.Polygon(points).intersection(shapely.box(x, y, x + w, y + h)).area / (w * h)
    assert overlap_share(points, box) == pytest.approx(expected, abs=1e-9)


def test_a_box_without_area_counts_by_its_centre():
    assert overlap_share(SQUARE, (0.5, 0.5, 0.0, 0.1)) == 1.0
    assert overlap_share([(0, 0), (0.2, 0), (0.2, 0.2)], (0.5, 0.5, 0.0, 0.0)) == 0.0


@given(ring)
def test_a_ring_is_refused_exactly_when_it_is_not_simple(points):
    assume(shapely.Polygon(points).area > 0)
    assert (self_crossing(points) is None) == shapely.LinearRing(points).is_simple


def test_the_crossing_of_a_bow_tie_is_named():
    assert self_crossing([(0, 0), (1, 1), (1, 0), (0, 1)]) == (0, 2, (0.5, 0.5))


def test_repeated_points_are_no_crossing():
    assert self_crossing([(0, 0), (0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) is None
    assert len(edges_of([(0, 0), (0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])) == 4


UPRIGHT = [(0.5, 0.0), (0.5, 1.0)]
LEVEL = [(0.0, 0.5), (1.0, 0.5)]


@pytest.mark.parametrize(
    ("line", "p", "q", "net"),
    [
        (UPRIGHT, (0.4, 0.5), (0.6, 0.5), 1),
        (UPRIGHT, (0.6, 0.5), (0.4, 0.5), -1),
        (LEVEL, (0.5, 0.4), (0.5, 0.6), -1),
        (LEVEL, (0.5, 0.6), (0.5, 0.4), 1),
        (UPRIGHT, (0.2, 0.5), (0.4, 0.5), 0),
        (UPRIGHT, (0.4, 0.2), (0.4, 0.9), 0),
        ([(0.5, 0.0), (0.5, 0.4)], (0.4, 0.5), (0.6, 0.5), 0),
        (UPRIGHT, (0.5, 0.2), (0.5, 0.8), 0),
    ],
)
def test_z23_line_crossing_directions(line, p, q, net):
    assert crossings(line, *p, *q) == net


@pytest.mark.parametrize(("start", "end", "net"), [(0.4, 0.6, 1), (0.6, 0.4, -1), (0.4, 0.4, 0), (0.6, 0.6, 0)])
def test_z22_a_step_that_lands_on_the_line_still_counts_once(start, end, net):
    """Upstream asks for a strict intersection: landing on the line and leaving it never fires."""
    there = crossings(UPRIGHT, start, 0.5, 0.5, 0.5)
    assert there + crossings(UPRIGHT, 0.5, 0.5, end, 0.5) == net


def test_the_ends_of_a_line_belong_to_it():
    line = [(0.5, 0.2), (0.5, 0.8)]
    assert crossings(line, 0.4, 0.2, 0.6, 0.2) == crossings(line, 0.4, 0.8, 0.6, 0.8) == 1


@given(st.lists(grid_point, min_size=2, max_size=6, unique=True), st.tuples(free, free), st.tuples(free, free))
def test_a_polyline_is_crossed_as_often_as_the_oracle_says(line, p, q):
    path = shapely.LineString([p, q])
    assume(p != q and all(path.distance(shapely.Point(v)) > 1e-6 for v in line))
    assume(all(shapely.LineString([a, b]).distance(shapely.Point(v)) > 1e-6 for a, b in _pairs(line) for v in (p, q)))
    crossed = [path.crosses(shapely.LineString([a, b])) for a, b in _pairs(line)]
    signs = [1 if (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) > 0 else -1 for a, b in _pairs(line)]
    assert crossings(line, *p, *q) == sum(s for s, hit in zip(signs, crossed, strict=True) if hit)


def _pairs(line):
    return list(itertools.pairwise(line))


@given(st.lists(grid_point, min_size=2, max_size=30))
def test_going_somewhere_and_back_on_the_same_way_is_no_net_crossing(path):
    there_and_back = path + path[::-1]
    assert sum(crossings(UPRIGHT, *p, *q) for p, q in _pairs(there_and_back)) == 0


@given(st.lists(grid_point, min_size=2, max_size=30))
def test_however_it_is_walked_the_net_count_is_the_change_of_side(path):
    line = [(0.5, -1.0), (0.5, 2.0)]
    side = [x <= 0.5 for x, _ in path]
    assert sum(crossings(line, *p, *q) for p, q in _pairs(path)) == int(side[0]) - int(side[-1])


@given(*[st.tuples(grid, grid, st.floats(0.02, 1), st.floats(0.02, 1))] * 2)
def test_intersection_over_union_is_the_oracles(a, b):
    one, two = (shapely.box(x, y, x + w, y + h) for x, y, w, h in (a, b))
    assert intersection_over_union(a, b) == pytest.approx(one.intersection(two).area / one.union(two).area, abs=1e-9)
