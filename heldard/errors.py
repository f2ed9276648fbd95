"""Errors by whose fault they are. The API middleware turns each into the one error body.

`code` is stable and unique: clients and the catalogue in the reference rely on it. Raise the class that says whose
fault it is and give `code` where a client may want to tell cases apart.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HeldardError(Exception):
    """Base of every error that has an answer for the caller.

    `message` says what happened and what to do; `details` is JSON-able; `retry_after_s` becomes `Retry-After`.
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = details
        self.retry_after_s = retry_after_s


class InvalidError(HeldardError):
    """The value is of the right shape but not acceptable."""

    status = 400
    default_code = "invalid_value"


class UnauthenticatedError(HeldardError):
    status = 401
    default_code = "unauthenticated"


class ForbiddenError(HeldardError):
    status = 403
    default_code = "forbidden"


class NotFoundError(HeldardError):
    status = 404
    default_code = "not_found"


class SlowError(HeldardError):
    """The caller took too long to send what it announced."""

    status = 408
    default_code = "too_slow"


class ConflictError(HeldardError):
    status = 409
    default_code = "conflict"


class TooLargeError(HeldardError):
    status = 413
    default_code = "too_large"


class MediaTypeError(HeldardError):
    status = 415
    default_code = "unsupported_media_type"


class ShapeError(HeldardError):
    """The body or query does not have the declared shape."""

    status = 422
    default_code = "wrong_shape"


class TooManyError(HeldardError):
    """The caller asks more often than its share."""

    status = 429
    default_code = "too_many_requests"


class BusyError(HeldardError):
    """A bounded queue is full, or a needed part is not available now. Nothing was written."""

    status = 503
    default_code = "busy"

    def __init__(self, message: str, *, code: str | None = None, details: dict[str, Any] | None = None,
                 retry_after_s: int | None = 1) -> None:  # fmt: skip
        super().__init__(message, code=code, details=details, retry_after_s=retry_after_s)


class StoreError(BusyError):
    """The database could not take or answer this now."""

    default_code = "store_unavailable"


class DiskFullError(BusyError):
    """No room on the disk, or the reserve is reached. Nothing was written."""

    status = 507
    default_code = "disk_full"


class ConfigError(HeldardError):
    """The configuration cannot be used; the message names the setting. The program ends with status 2."""

    default_code = "bad_config"
