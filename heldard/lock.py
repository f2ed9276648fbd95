"""One daemon per data directory, held by the operating system: the hold ends with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heldard.errors import ConfigError

NAME = "lock"


@contextmanager
def hold(data_dir: Path, purpose: str = "serve") -> Iterator[None]:
    """Hold the directory, made when it is not there. Raises ConfigError when another process holds it, with its pid."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(data_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigError(f"store.data_dir {data_dir} cannot be used: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"{data_dir} is in use by another heldard (process {holder}): stop it, or take another store.data_dir",
                code="already_running",
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {purpose}\n".encode())
        yield
    finally:
        os.close(descriptor)
