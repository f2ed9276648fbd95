"""Kept frames: whole or not there, whoever else keeps the same one at the same moment."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heldard.frames.evidence import EvidenceStore
from heldard.testing.builders import frame


def test_two_consumers_that_keep_the_same_frame_at_once_both_succeed_and_no_one_sees_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins while the first has written but not yet named its file."""
    store, kept = EvidenceStore(tmp_path), frame("gate", 1_000)
    name = "gate-sub-1000.jpg"
    path = store.path(name)
    assert path is not None
    real = os.fsync
    sizes: list[int] = []

    def second_comes(descriptor: int) -> None:
        real(descriptor)
        if not sizes:
            sizes.append(-1)
            with ThreadPoolExecutor(1) as other:
                other.submit(store.write, {name: kept}).result()
            sizes.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", second_comes)
    store.write({name: kept})
    assert sizes == [-1, len(kept.jpeg)]
    assert path.read_bytes() == kept.jpeg
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_a_frame_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EvidenceStore(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write({"gate-sub-1000.jpg": frame("gate", 1_000)})
    assert list((tmp_path / "snapshots" / "gate").iterdir()) == []
