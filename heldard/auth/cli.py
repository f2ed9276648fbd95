"""`heldard users` and `heldard keys`: work on the data directory, beside a running daemon, which notices."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from heldard.auth.capabilities import ALL, ROLES
from heldard.cli_options import config_options, read_config
from heldard.errors import InvalidError, NotFoundError

if TYPE_CHECKING:
    from heldard.auth.model import ApiKey, User
    from heldard.auth.service import Access
    from heldard.config import Settings

T = TypeVar("T")


@asynccontextmanager
async def opened(settings: Settings, action: str | None = None) -> AsyncIterator[Access]:
    """Users and keys of a data directory; a daemon on it is told when the block ends.

    action: what the one change that is made in the block is called in the audit log.
    """
    from heldard.auth.audit import AuditLog
    from heldard.auth.guard import Person
    from heldard.auth.service import Access
    from heldard.auth.store import AccessStore
    from heldard.clock import SystemClock
    from heldard.db.database import Database
    from heldard.db.witness import in_presence_of
    from heldard.supervisor import Supervisor

    clock = SystemClock()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    db = Database(settings.data_dir / "heldard.db", clock, settings.store.durability)
    await db.open()
    try:
        store = AccessStore(db)
        audit = AuditLog(store, clock)
        access = Access(store, audit, settings.auth, clock, Supervisor(clock).once)
        await access.load()
        person = Person("command_line", frozenset({"admin"}), name="command line")
        line = None if action is None else audit.line(person, action, target_type="auth")
        with in_presence_of(None if line is None else audit.witness(line)):
            yield access
        await access.announce()
    finally:
        await db.close()


def _run(settings: Settings, work: Callable[[Access], Awaitable[T]], action: str | None = None) -> T:
    async def run() -> T:
        async with opened(settings, action) as access:
            return await work(access)

    return asyncio.run(run())


@click.group()
def users() -> None:
    """People who can sign in."""


@users.command("list")
@config_options
def list_users(config_file: Path | None, data_dir: Path | None) -> None:
    """Everybody, oldest first."""

    async def work(access: Access) -> list[User]:
        return access.all_users()

    for user in _run(read_config(config_file, data_dir), work):
        click.echo(f"{user.username:<20} {user.role:<12} {'' if user.active else 'disabled'}".rstrip())


@users.command("add")
@click.argument("username")
@click.option("--role", type=click.Choice(sorted(ROLES)), default="viewer", show_default=True, help="What they may do.")
@click.option("--generate", is_flag=True, help="Make a password and print it, instead of asking for one.")
@config_options
def add_user(username: str, role: str, generate: bool, config_file: Path | None, data_dir: Path | None) -> None:
    """Add somebody. The password is asked for, or read from standard input."""
    from heldard.auth.model import UserCreate

    password = secrets.token_urlsafe(15) if generate else _ask_password()
    body = _checked({"username": username, "password": password, "role": role}, UserCreate)
    _run(read_config(config_file, data_dir), lambda access: access.add_user(body), "create_user")
    click.echo(f"{username} can sign in as {role}" + (f" with the password {password}" if generate else ""))


@users.command("passwd")
@click.argument("username")
@config_options
def set_password(username: str, config_file: Path | None, data_dir: Path | None) -> None:
    """Give somebody another password, unlock them, and sign them out everywhere."""
    from heldard.auth.model import UserPatch

    body = _checked({"password": _ask_password()}, UserPatch)

    async def work(access: Access) -> None:
        await access.change_user(_find_user(access, username).id, body)

    _run(read_config(config_file, data_dir), work, "patch_user")
    click.echo(f"{username} has a new password")


@users.command("remove")
@click.argument("username")
@config_options
def remove_user(username: str, config_file: Path | None, data_dir: Path | None) -> None:
    """Remove somebody, and sign them out everywhere."""

    async def work(access: Access) -> None:
        await access.remove_user(_find_user(access, username).id, by="")

    _run(read_config(config_file, data_dir), work, "delete_user")
    click.echo(f"{username} is removed")


@click.group("keys")
def api_keys() -> None:
    """API keys, for workers and other programs."""


@api_keys.command("list")
@config_options
def list_keys(config_file: Path | None, data_dir: Path | None) -> None:
    """Every key, oldest first; never the keys themselves."""

    async def work(access: Access) -> list[tuple[ApiKey, frozenset[str]]]:
        return [(key, access.granted(key)) for key in access.all_keys()]

    for key, granted in _run(read_config(config_file, data_dir), work):
        scope = "all cameras" if key.cameras is None else ", ".join(key.cameras) or "no camera"
        click.echo(
            f"{key.id}  {key.key_prefix}…  {key.name:<20} {_state(key):<8} {scope}: {', '.join(sorted(granted))}"
        )


@api_keys.command("add")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(sorted(ROLES)), default="integration", show_default=True, help="What it may do."
)
@click.option(
    "--can", "slugs", multiple=True, type=click.Choice(sorted(ALL)), help="Instead of the role's. Repeatable."
)
@click.option("--camera", "cameras", multiple=True, help="Only this camera. Repeatable.")
@click.option("--days", type=click.IntRange(1, 3650), help="Expires after this many days.")
@click.option("--confirm-privileged", is_flag=True, help="Needed for admin, registry:manage and gate:operate.")
@config_options
def add_key(
    name: str, role: str, slugs: tuple[str, ...], cameras: tuple[str, ...], days: int | None, confirm_privileged: bool,
    config_file: Path | None, data_dir: Path | None,
) -> None:  # fmt: skip
    """Make a key and print it, this once."""
    from heldard.auth.model import KeyCreate
    from heldard.clock import SystemClock, rfc3339

    expires_at = None if days is None else rfc3339(SystemClock().now_ms() + days * 86_400_000)
    body = _checked(
        {
            "name": name, "role": role, "capabilities": list(slugs) or None, "scope_cameras": list(cameras) or None,
            "expires_at": expires_at, "confirm_privileged": confirm_privileged,
        },
        KeyCreate,
    )  # fmt: skip
    secret, _ = _run(read_config(config_file, data_dir), lambda access: access.add_key(body), "create_key")
    click.echo(secret)


@api_keys.command("revoke")
@click.argument("key_id")
@config_options
def revoke_key(key_id: str, config_file: Path | None, data_dir: Path | None) -> None:
    """Revoke a key for good."""
    _run(read_config(config_file, data_dir), lambda access: access.revoke_key(key_id), "delete_key")
    click.echo(f"{key_id} is revoked")


def _ask_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def _checked(given: dict[str, Any], kind: type[T]) -> T:
    import msgspec

    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise InvalidError(str(error)) from None


def _find_user(access: Access, username: str) -> User:
    for user in access.all_users():
        if user.username.casefold() == username.casefold():
            return user
    raise NotFoundError(f"no user named {username!r}", code="user_not_found")


def _state(key: ApiKey) -> str:
    if key.revoked_ms is not None:
        return "revoked"
    from heldard.clock import SystemClock

    if key.expires_ms is not None and key.expires_ms <= SystemClock().now_ms():
        return "expired"
    return "active" if key.active else "disabled"
