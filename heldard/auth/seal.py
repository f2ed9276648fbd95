"""Secrets at rest: AES-256-GCM, `enc:v1:` + base64(nonce + ciphertext).

The key is 32 bytes: systemd's credential `secret-key` where there is one, else `secret.key` in the data directory, made
at first start with mode 0600.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from heldard import credentials
from heldard.errors import ConfigError, HeldardError

_MARK = "enc:v1:"
_NONCE_BYTES = 12
KEY_BYTES = 32


class SealBrokenError(HeldardError):
    """A stored secret was sealed with another key."""

    default_code = "seal_broken"


class Seal:
    """Seals and opens short texts."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ConfigError(f"the secret key has {len(key)} bytes instead of {KEY_BYTES}")
        self._cipher = AESGCM(key)

    def close(self, text: str) -> str:
        """The sealed form; different at each call."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _MARK + base64.b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), None)).decode()

    def open(self, sealed: str) -> str:
        """The text. Raises SealBrokenError when the key is another or the value was changed."""
        try:
            blob = base64.b64decode(sealed.removeprefix(_MARK), validate=True)
            return self._cipher.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], None).decode()
        except (InvalidTag, ValueError):
            raise SealBrokenError(
                "a stored secret cannot be opened with this key: restore the secret key, or set the secret again"
            ) from None

    def close_optional(self, text: str | None) -> str | None:
        return None if text is None else self.close(text)

    def open_optional(self, sealed: str | None) -> str | None:
        return None if sealed is None else self.open(sealed)


def load_key(data_dir: Path, environment: Mapping[str, str]) -> bytes:
    """The key of this box, made when there is none yet."""
    given = credentials.read(credentials.FOR_SEAL, environment)
    if given is not None:
        return _decode(given.encode(), f"the credential {credentials.FOR_SEAL}")
    path = data_dir / "secret.key"
    if not path.exists():
        _make(path)
    return _decode(_read(path), str(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the secret key {path} cannot be read: {error.strerror}; give it to the user the daemon runs as"
        ) from None


def _make(path: Path) -> None:
    """A new key, whole on the disk before it has its name: a half-written one would lock its owner out."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    except FileExistsError:
        pass  # another process was quicker: its key is the key
    except OSError:  # a file system without links
        part.replace(path)
    part.unlink(missing_ok=True)


def _decode(raw: bytes, where: str) -> bytes:
    try:
        return base64.b64decode(raw.strip(), validate=True)
    except ValueError:
        raise ConfigError(f"{where} is not the base64 of {KEY_BYTES} bytes") from None
