"""Claims, lanes and consumers, as the API shows them."""

from __future__ import annotations

from typing import Literal

import msgspec

from heldard.plugin import Delivery, RunsIn

RUNNING, DONE, FAILED, INTERRUPTED = range(4)
CLAIM_STATES: tuple[str, ...] = ("running", "done", "failed", "interrupted")

ConsumerState = Literal["active", "quarantined"]


class ConsumerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a consumer does.

    memory_bytes: of its own process, None where it has none.
    lag: batches it has not finished; counters only ever rise while the daemon runs.
    """

    name: str
    plugin: str
    delivery: Delivery
    runs_in: RunsIn
    state: ConsumerState
    lag: int
    oldest_unfinished_at: str | None
    delivered: int
    retried: int
    failed: int
    timeouts: int
    blocked: int
    restarts: int
    memory_bytes: int | None
    parked: int
    last_error: str | None
    last_error_at: str | None
    quarantined_at: str | None


class ParkedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that a consumer could not take, or was interrupted in."""

    seq: int
    camera_id: str
    task_type: str
    state: str
    attempts: int
    error: str | None
    ended_at: str | None


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """What became of batches that were tried again."""

    done: list[int]
    failed: dict[str, str]
