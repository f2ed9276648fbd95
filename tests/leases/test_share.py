"""The shares: even, complete, and moving as little as possible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heldard.leases.share import Member, assign

TEN = {f"ai_{n}": "detection" for n in range(10)}


def test_ten_over_three_differ_by_at_most_one_and_cover_all() -> None:
    shares = assign(TEN, [Member(name) for name in "abc"])
    assert sorted(len(share) for share in shares.values()) == [3, 3, 4]
    assert set().union(*shares.values()) == set(TEN)


def test_a_lone_worker_owns_everything() -> None:
    assert assign(TEN, [Member("a")]) == {"a": set(TEN)}


def test_a_second_worker_moves_only_its_half() -> None:
    shares = assign(TEN, [Member("a", frozenset(TEN)), Member("b")])
    assert [len(shares["a"]), len(shares["b"])] == [5, 5]
    third = assign(TEN, [Member("a", frozenset(shares["a"])), Member("b", frozenset(shares["b"])), Member("c")])
    assert third["a"] < shares["a"]
    assert third["b"] < shares["b"]


def test_a_limited_worker_leaves_its_rest_to_the_others() -> None:
    shares = assign(TEN, [Member("a", capacity=1), Member("b"), Member("c")])
    assert sorted(len(share) for share in shares.values()) == [1, 4, 5]


def test_types_are_given_to_those_who_take_them_whatever_their_case() -> None:
    tasks = {"ai_1": "ANPR", "ai_2": "detection", "ai_3": "motion"}
    shares = assign(
        tasks, [Member("a", task_types=frozenset({"anpr"})), Member("b", task_types=frozenset({"detection"}))]
    )
    assert shares == {"a": {"ai_1"}, "b": {"ai_2"}}


members = st.lists(
    st.builds(
        Member,
        worker_id=st.sampled_from("abcdef"),
        holds=st.frozensets(st.sampled_from(sorted(TEN))),
        capacity=st.integers(1, 12),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda member: member.worker_id,
)


@given(members)
def test_whatever_is_held_shares_are_disjoint_within_capacity_even_and_complete(given_members: list[Member]) -> None:
    shares = assign(TEN, given_members)
    by_id = {member.worker_id: member for member in given_members}
    handed_out = [task for share in shares.values() for task in share]
    assert len(handed_out) == len(set(handed_out)) == min(len(TEN), sum(m.capacity for m in given_members))
    assert all(len(share) <= by_id[name].capacity for name, share in shares.items())
    for rich, poor in ((a, b) for a in shares for b in shares):
        assert len(shares[rich]) - len(shares[poor]) <= 1 or len(shares[poor]) == by_id[poor].capacity


@given(members)
def test_asking_again_moves_nothing(given_members: list[Member]) -> None:
    shares = assign(TEN, given_members)
    again = [Member(m.worker_id, frozenset(shares[m.worker_id]), m.capacity) for m in given_members]
    assert assign(TEN, again) == shares
