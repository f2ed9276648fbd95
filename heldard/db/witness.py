"""What is written together with a change that somebody asked for, whichever part of heldard makes the change.

A request that changes something leaves a line in the audit log. Both belong into one transaction, yet the part that
changes its table knows nothing of requests, and the part that writes the line nothing of the table. So the line is made
a *witness* while the request is handled, and `Database.change` takes it along.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextvars import ContextVar


class Witness:
    """A unit of work that is committed once, together with the first change made in its presence.

    unit: called with the connection and with what the change says it is about (an id), when it says so.
    """

    def __init__(self, unit: Callable[[sqlite3.Connection, str | None], None]) -> None:
        self.unit = unit
        self.committed = False
        self._taken = False

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """Within the block, and in what it awaits, changes are witnessed."""
        token = _PRESENT.set(self)
        try:
            yield
        finally:
            _PRESENT.reset(token)

    def take(self) -> bool:
        """Whether whoever asks is to commit it: nobody has, and nobody is about to."""
        if self._taken:
            return False
        self._taken = True
        return True

    def give_back(self) -> None:
        """What it was taken along by has failed; the next change may take it."""
        self._taken = self.committed


_PRESENT: ContextVar[Witness | None] = ContextVar("witness", default=None)


def present_witness() -> Witness | None:
    return _PRESENT.get()


@contextlib.contextmanager
def in_presence_of(witness: Witness | None) -> Iterator[None]:
    """As `Witness.present`, for work that another task does for whoever brought the witness."""
    with contextlib.nullcontext() if witness is None else witness.present():
        yield
