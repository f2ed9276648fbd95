"""The suite guards itself: what a test changes for the whole process, it puts back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

THREADS = ("heldard-writer", "heldard-watchdog")


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Fail a test that leaves the environment or the working directory changed, or the kernel's threads running.

    Logging is set up for a whole process, by every command that is tried in this one: each test begins with none of it.
    """
    structlog.reset_defaults()
    environment, folder, threads = _environment(), Path.cwd(), set(threading.enumerate())
    yield
    changed = {key for key, _ in environment.items() ^ _environment().items()}
    assert not changed, f"left in the environment: {sorted(changed)}"
    assert Path.cwd() == folder, "left another working directory"
    left = [thread.name for thread in threading.enumerate() if thread not in threads and thread.name in THREADS]
    assert not left, f"left running: {left}"


def _environment() -> dict[str, str]:
    """Without what pytest itself says of the test that runs."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
