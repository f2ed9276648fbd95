"""`heldard systemd install`: puts units, user, configuration and secret key where systemd looks for them."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path

from heldard.config_pages import kernel_sections, sample
from heldard.errors import ConfigError

PREFIX = "/opt/heldard"
"""The prefix the unit files are written for."""

PLACES = {
    "heldard.service": "etc/systemd/system/heldard.service",
    "heldard-worker@.service": "etc/systemd/system/heldard-worker@.service",
    "heldard.sysusers": "etc/sysusers.d/heldard.conf",
    "heldard.tmpfiles": "etc/tmpfiles.d/heldard.conf",
}

AFTER = (
    ("systemd-sysusers", "/etc/sysusers.d/heldard.conf"),
    ("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/heldard.conf"),
    ("systemctl", "daemon-reload"),
)


def units() -> Path:
    """Where the unit files are: in the installed package, or beside it in the source tree."""
    packaged = Path(__file__).parent / "systemd_units"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "systemd"


def install(root: Path, prefix: str = sys.prefix) -> list[Path]:
    """Write what is missing below `root`; what was written. Unit files are written anew, the rest is left as it is.

    Raises ConfigError where it may not write.
    """
    written: list[Path] = []
    try:
        for name, place in PLACES.items():
            text = (units() / name).read_text("utf-8").replace(PREFIX, prefix)
            written += _put(root / place, text.encode(), 0o644, again=True)
        folder = root / "etc/heldard"
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        written += _put(folder / "heldard.toml", sample(kernel_sections()).encode(), 0o640)
        written += _put(folder / "secret.key", base64.b64encode(secrets.token_bytes(32)) + b"\n", 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}; run this as root") from None
    return written


def _put(path: Path, content: bytes, mode: int, *, again: bool = False) -> list[Path]:
    if path.exists() and (not again or path.read_bytes() == content):
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return [path]


def tell_systemd() -> None:
    """Make the user, set the modes, have the units read. Raises ConfigError naming the command that failed."""
    for command in AFTER:
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigError(f"{' '.join(command)} failed: {error}") from None
