"""Secrets that the service manager hands over as files in `$CREDENTIALS_DIRECTORY`: LoadCredential in systemd.exec(5).

They never stand in an environment, which children inherit and `systemctl show` prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from heldard.errors import ConfigError

FOR_SEAL = "secret-key"
FOR_ADMIN = "bootstrap-admin-password"
FOR_WORKER = "worker-api-key"

KNOWN = (FOR_SEAL, FOR_ADMIN, FOR_WORKER)
"""Those with a meaning of their own."""

SETTING = "heldard."
"""Begins the name of a credential that is a setting, such as `heldard.plugins.gate.password`."""

LARGEST_BYTES = 1024 * 1024
"""What systemd allows a service in all."""


def read(name: str, environment: Mapping[str, str]) -> str | None:
    """The credential's text without the white space around it; None when there is none, or nothing in it.

    Raises ConfigError when it is there and cannot be read: it must not be taken for none.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    path = Path(folder, name)
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            f"the credential {path} cannot be read: {error.strerror}; give it to the user this runs as"
        ) from None
    try:
        return raw.decode().strip() or None
    except UnicodeDecodeError:
        raise ConfigError(f"the credential {path} is not text in UTF-8") from None


def settings(environment: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Credentials that are settings: name, place in the tree of tables, text. Raises ConfigError as `read`."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    try:
        names = sorted(path.name for path in Path(folder).iterdir()) if folder else []
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"the credentials in {folder} cannot be read: {error.strerror}") from None
    for name in names:
        if name.startswith(SETTING) and (text := read(name, environment)):
            yield name, tuple(name.removeprefix(SETTING).split(".")), text


def given(environment: Mapping[str, str]) -> list[str]:
    """Which of those known are given, and not empty."""
    return [name for name in KNOWN if read(name, environment) is not None]
