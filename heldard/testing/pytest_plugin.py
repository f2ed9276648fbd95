"""The pytest plugin that comes with heldard. It imports nothing of heldard until a test asks for a fixture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from heldard.testing.clock import VirtualClock
    from heldard.testing.kernel import Kernel


@pytest.fixture
def heldard_clock() -> VirtualClock:
    """A clock that only moves by hand."""
    from heldard.testing.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def heldard_kernel(tmp_path: Path) -> Callable[..., Kernel]:
    """Makes in-process kernels on the test's own data directory: `async with heldard_kernel("zones") as kernel:`.

    Arguments: plugins, by the name of their entry point or as modules; `settings`, a tree as in the TOML file.
    """

    def make(*plugins: Any, settings: dict[str, Any] | None = None) -> Kernel:
        from heldard.testing.kernel import Kernel

        return Kernel(tmp_path / "heldard", *plugins, settings=settings)

    return make
