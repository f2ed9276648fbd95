"""Shares tasks among workers: evenly, moving as few as possible, so that trackers keep their tracks.

Pure: the same workers, tasks and holdings give the same shares, whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """A worker that takes part. holds: tasks it has now. task_types: lower case, None for all."""

    worker_id: str
    holds: frozenset[str] = frozenset()
    capacity: int = 512
    task_types: frozenset[str] | None = None

    def takes(self, task_type: str) -> bool:
        return self.task_types is None or task_type.lower() in self.task_types


def assign(tasks: Mapping[str, str], members: Sequence[Member]) -> dict[str, set[str]]:
    """Shares by worker id. `tasks`: type by task id.

    No two shares overlap; each holds only types its worker takes and at most its capacity; a task is left out only when
    no worker that takes its type has room. Between workers that could swap, shares differ by at most one task.
    """
    ordered = sorted(members, key=lambda member: member.worker_id)
    shares = _kept(tasks, ordered)
    for task_id in sorted(set(tasks) - {held for share in shares.values() for held in share}):
        takers = [member for member in ordered if _has_room(member, tasks[task_id], shares)]
        if takers:
            least = min(takers, key=lambda member: len(shares[member.worker_id]))
            shares[least.worker_id].add(task_id)
    while _level_once(tasks, ordered, shares):
        pass
    return shares


def _kept(tasks: Mapping[str, str], ordered: Sequence[Member]) -> dict[str, set[str]]:
    """What each holds already and may keep."""
    taken: set[str] = set()
    shares: dict[str, set[str]] = {}
    for member in ordered:
        wanted = sorted(held for held in member.holds if held in tasks and member.takes(tasks[held]))
        kept = [held for held in wanted if held not in taken][: member.capacity]
        shares[member.worker_id] = set(kept)
        taken.update(kept)
    return shares


def _level_once(tasks: Mapping[str, str], ordered: Sequence[Member], shares: dict[str, set[str]]) -> bool:
    """Move one task from a fuller to an emptier share; False when nothing is left to level."""
    by_load = sorted(ordered, key=lambda member: len(shares[member.worker_id]))
    for rich in reversed(by_load):
        for poor in by_load:
            if len(shares[rich.worker_id]) - len(shares[poor.worker_id]) < 2:
                break
            for task_id in sorted(shares[rich.worker_id], reverse=True):
                if _has_room(poor, tasks[task_id], shares):
                    shares[rich.worker_id].remove(task_id)
                    shares[poor.worker_id].add(task_id)
                    return True
    return False


def _has_room(member: Member, task_type: str, shares: dict[str, set[str]]) -> bool:
    return member.takes(task_type) and len(shares[member.worker_id]) < member.capacity
