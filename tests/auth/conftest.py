"""Keys and people for tests of access."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from heldard import keys
from heldard.auth.model import KeyCreate, UserCreate
from heldard.testing import Kernel

MakeKey = Callable[..., Awaitable[str]]


@pytest.fixture
def make_key() -> MakeKey:
    """Makes a key as the command line does; the key itself."""

    async def make(kernel: Kernel, **fields: Any) -> str:
        secret, _ = await kernel.app[keys.ACCESS].add_key(
            KeyCreate(**{"name": "test", "confirm_privileged": True, **fields})
        )
        return secret

    return make


@pytest.fixture
def make_user() -> Callable[..., Awaitable[str]]:
    """Makes a person with the password `correct horse`; their id."""

    async def make(kernel: Kernel, username: str = "ada", role: Any = "admin") -> str:
        body = UserCreate(username=username, password="correct horse", role=role)
        return (await kernel.app[keys.ACCESS].add_user(body)).id

    return make
