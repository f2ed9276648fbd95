"""Who is behind a token, and what changes about users, sessions and keys."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from msgspec import UNSET

from heldard import credentials, ids
from heldard.auth import capabilities
from heldard.auth.audit import AuditLog
from heldard.auth.guard import SYSTEM, Person
from heldard.auth.model import ApiKey, KeyCreate, KeyPatch, Session, User, UserCreate, UserPatch
from heldard.auth.passwords import Passwords
from heldard.auth.refusals import Refusal, Refusals
from heldard.auth.store import AccessStore
from heldard.clock import Clock, parse_rfc3339
from heldard.config import AuthSettings
from heldard.db.witness import in_presence_of
from heldard.errors import ConfigError, InvalidError, NotFoundError, UnauthenticatedError

KEY_PREFIX = "vok_"
SESSION_PREFIX = "vos_"
SHOWN_CHARACTERS = 12
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
USED_EVERY_MS = MINUTE_MS
"""How often the last use of a key or session is written down."""

REFRESH_EVERY_S = 2.0
MOST_SESSIONS_PER_USER = 32
MOST_KEYS = 1000
MOST_USERS = 1000

log: Any = structlog.get_logger("heldard.auth")


class Access:
    """Users, sessions and keys, all in memory; see AccessStore for where they stay."""

    def __init__(
        self,
        store: AccessStore,
        audit: AuditLog,
        settings: AuthSettings,
        clock: Clock,
        later: Callable[[str, Awaitable[Any]], None],
    ) -> None:
        """later: runs something to its end without being waited for."""
        self._store = store
        self._audit = audit
        self._refusals = Refusals(audit, clock)
        self._settings = settings
        self._clock = clock
        self._later = later
        self._passwords = Passwords()
        self._lock = asyncio.Lock()
        self._version = ""
        self._users: dict[str, User] = {}
        self._sessions: dict[str, Session] = {}
        self._keys: dict[str, ApiKey] = {}

    async def load(self, environment: Mapping[str, str] | None = None) -> None:
        """Read everything; where auth is on and there is nobody yet, make the administrator that is named.

        Named by `HELDARD_BOOTSTRAP_ADMIN_USER` (`admin` when unset); the password is the credential
        `bootstrap-admin-password`, or else `HELDARD_BOOTSTRAP_ADMIN_PASSWORD`.
        """
        await self._reload()
        if not self._settings.enabled or self._users:
            return
        environment = environment or {}
        password = credentials.read(credentials.FOR_ADMIN, environment)
        password = password or environment.get("HELDARD_BOOTSTRAP_ADMIN_PASSWORD")
        if password:
            await self._bootstrap(environment.get("HELDARD_BOOTSTRAP_ADMIN_USER") or "admin", password)
        elif not self._keys:
            log.warning("nobody_can_sign_in", advice="add somebody: heldard users add NAME --role admin")

    async def _bootstrap(self, name: str, password: str) -> None:
        try:
            body = msgspec.convert({"username": name, "password": password, "role": "admin"}, UserCreate)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"HELDARD_BOOTSTRAP_ADMIN_USER, or the password given for it, cannot be used: {error}"
            ) from None
        with self._audit.witness(self._audit.line(SYSTEM, "bootstrap", target_type="users")).present():
            await self.add_user(body)
        log.info("administrator_made", username=name)

    async def _reload(self) -> None:
        async with self._lock:
            self._version = await self._store.version()
            self._users = {user.id: user for user in await self._store.users()}
            self._sessions = {session.token: session for session in await self._store.sessions()}
            self._keys = {key.key_hash: key for key in await self._store.keys()}

    async def refresh(self) -> None:
        """Take up what the command line changed meanwhile."""
        if await self._store.version() != self._version:
            await self._reload()

    async def keep_fresh(self) -> None:
        """The background service: refresh, forget sessions whose time is over, tell of refusals that came again."""
        while True:
            await self._clock.sleep(REFRESH_EVERY_S)
            await self.refresh()
            now_ms = self._clock.now_ms()
            over = [token for token, session in self._sessions.items() if session.expires_ms <= now_ms]
            if over:
                await self._store.delete_expired(now_ms)
                for token in over:
                    self._sessions.pop(token, None)
            await self._refusals.settle()

    async def close(self) -> None:
        """Write what was only counted so far."""
        await self._refusals.settle(now=True)

    async def announce(self) -> None:
        """Tell a daemon on the same data directory that something changed."""
        await self._store.raise_version(self._clock.now_ms())

    # --- tokens ------------------------------------------------------------------------------------------------------

    async def resolve(self, token: str) -> Person | None:
        """Who holds the token; None when it is unknown, expired, revoked or disabled."""
        hashed = hash_token(token)
        if hashed not in self._keys and hashed not in self._sessions:
            await self.refresh()
        return self._by_key(hashed) if token.startswith(KEY_PREFIX) else self._by_session(hashed)

    def _by_key(self, hashed: str) -> Person | None:
        key = self._keys.get(hashed)
        now_ms = self._clock.now_ms()
        if key is None or not self._usable(key, now_ms):
            return None
        if key.used_ms is None or now_ms - key.used_ms >= USED_EVERY_MS:
            self._keys[hashed] = msgspec.structs.replace(key, used_ms=now_ms)
            self._later("auth.key_used", self._store.key_used(key.id, now_ms))
        scope = None if key.cameras is None else frozenset(key.cameras)
        return Person(key.id, self.granted(key), scope, name=key.name, role=key.role, kind="api_key")

    def _usable(self, key: ApiKey, now_ms: int) -> bool:
        if not key.active or key.revoked_ms is not None or (key.expires_ms is not None and key.expires_ms <= now_ms):
            return False
        return key.cameras is None or not (self.granted(key) & capabilities.NOT_WITH_SCOPE)

    def granted(self, key: ApiKey) -> frozenset[str]:
        """What a key can do; slugs that mean nothing grant nothing."""
        if key.capabilities is None:
            return capabilities.of_role(key.role, self._settings.machine)
        return frozenset(key.capabilities) & capabilities.ALL

    def _by_session(self, hashed: str) -> Person | None:
        session = self._sessions.get(hashed)
        user = None if session is None else self._users.get(session.user_id)
        now_ms = self._clock.now_ms()
        if session is None or user is None or not user.active or self._over(session, now_ms):
            return None
        if now_ms - session.used_ms >= USED_EVERY_MS:
            session = self._slid(session, now_ms)
            self._sessions[hashed] = session
            self._later("auth.session_used", self._store.use_session(session))
        granted = capabilities.of_role(user.role, self._settings.machine)
        return Person(user.id, granted, None, name=user.username, role=user.role, kind="user")

    def _over(self, session: Session, now_ms: int) -> bool:
        idle_ms = self._settings.session_idle_min * MINUTE_MS
        return session.expires_ms <= now_ms or (idle_ms > 0 and now_ms - session.used_ms >= idle_ms)

    def _slid(self, session: Session, now_ms: int) -> Session:
        """The session after a use; it lives on when sessions slide, up to the ceiling."""
        expires_ms = session.expires_ms
        if self._settings.session_max_hours:
            ceiling = session.created_ms + self._settings.session_max_hours * HOUR_MS
            expires_ms = max(expires_ms, min(ceiling, now_ms + self._settings.session_ttl_hours * HOUR_MS))
        return msgspec.structs.replace(session, used_ms=now_ms, expires_ms=expires_ms)

    # --- signing in --------------------------------------------------------------------------------------------------

    async def sign_in(self, username: str, password: str, address: str | None = None) -> tuple[str, Session, User]:
        """(token, session, user). One error for every reason: an unknown name, a wrong password, a locked account.

        address: where the caller is, for the audit log.
        """
        user = self._named(username)
        checked = user.password_hash if user else None
        right = await self._passwords.check(checked, password)
        user = self._named(username)  # it may have changed meanwhile
        right = right and user is not None and user.password_hash == checked
        reason = self._why_not(user, right=right)
        if user is None or reason is not None:
            self._refuse(user, reason or "unknown_user", address)
            raise UnauthenticatedError("the user name or the password is wrong", code="bad_login")
        return await self._new_session(user.id)

    def _why_not(self, user: User | None, *, right: bool) -> str | None:
        if user is None:
            return "unknown_user"
        if self.is_locked(user):
            return "locked"
        if not right:
            return "wrong_password"
        return None if user.active else "disabled"

    def _refuse(self, user: User | None, reason: str, address: str | None) -> None:
        """Count a failure and remember the refusal. Nobody waits for either to be committed: an answer that takes as
        long as a commit would tell that there is such a user."""
        failed = reason == "wrong_password" and self._settings.login_max_failures > 0
        if user is not None and failed:
            user = self._users[user.id] = self._one_more_failure(user)
            if user.locked_until_ms is not None:
                reason = "wrong_password_locks"
                log.warning("login_locked", username=user.username, minutes=self._settings.login_lockout_min)
        log.info("login_refused", reason=reason, user=user and user.username, address=address)
        line = self._refusals.take(Refusal("login_refused", reason, user.id if user else None, address))
        if user is not None and failed:
            self._later("auth.login_failed", self._keep_failures(user.id, line))
        elif line is not None:
            self._later("auth.login_refused", self._audit.write(line))

    def _one_more_failure(self, user: User) -> User:
        failures = 1 if user.locked_until_ms is not None else user.failures + 1
        locked = failures >= self._settings.login_max_failures
        until_ms = self._clock.now_ms() + self._settings.login_lockout_min * MINUTE_MS if locked else None
        return msgspec.structs.replace(user, failures=failures, locked_until_ms=until_ms)

    async def _keep_failures(self, user_id: str, line: dict[str, Any] | None) -> None:
        async with self._lock:
            with in_presence_of(None if line is None else self._audit.witness(line)):
                if (user := self._users.get(user_id)) is not None:
                    await self._put_user(user)

    async def _new_session(self, user_id: str) -> tuple[str, Session, User]:
        token = SESSION_PREFIX + secrets.token_hex(32)
        async with self._lock:
            user, now_ms = self.user(user_id), self._clock.now_ms()
            session = Session(
                token=hash_token(token), user_id=user.id, created_ms=now_ms, used_ms=now_ms,
                expires_ms=now_ms + self._settings.session_ttl_hours * HOUR_MS,
            )  # fmt: skip
            user = msgspec.structs.replace(user, failures=0, locked_until_ms=None)
            theirs = sorted((s for s in self._sessions.values() if s.user_id == user.id), key=lambda s: s.used_ms)
            oldest = [old.token for old in theirs[: max(0, len(theirs) - MOST_SESSIONS_PER_USER + 1)]]
            person = Person(user.id, frozenset(), name=user.username, role=user.role, kind="user")
            with self._audit.witness(self._audit.line(person, "login", target_type="auth")).present():
                await self._store.sign_in(user, session, oldest)
            self._users[user.id] = user
            self._sessions[session.token] = session
            for old in oldest:
                self._sessions.pop(old, None)
        return token, session, user

    async def sign_out(self, token: str) -> None:
        hashed = hash_token(token)
        async with self._lock:
            session = self._sessions.get(hashed)
            user = None if session is None else self._users.get(session.user_id)
            if user is None:
                return
            person = Person(user.id, frozenset(), name=user.username, role=user.role, kind="user")
            line = self._audit.line(person, "logout", target_type="auth", target_id=user.id)
            with self._audit.witness(line).present():
                await self._store.delete_session(hashed)
            self._sessions.pop(hashed, None)

    async def refused(self, token: str, address: str | None) -> None:
        """A token was presented that is good for nothing: remember it, once in a while."""
        key = self._keys.get(hash_token(token))
        reason, about = "unknown_key" if token.startswith(KEY_PREFIX) else "unknown_session", None
        if key is not None:
            reason, about = self._why_unusable(key), key.id
        line = self._refusals.take(Refusal("credential_refused", reason, about, address))
        if line is not None:
            self._later("auth.credential_refused", self._audit.write(line))

    def _why_unusable(self, key: ApiKey) -> str:
        if key.revoked_ms is not None:
            return "revoked_key"
        return "expired_key" if key.active and key.expires_ms is not None else "disabled_key"

    # --- people ------------------------------------------------------------------------------------------------------

    def all_users(self) -> list[User]:
        return sorted(self._users.values(), key=lambda user: (user.created_ms, user.id))

    def user(self, user_id: str) -> User:
        """Raises NotFoundError."""
        user = self._users.get(user_id)
        if user is None:
            raise NotFoundError(f"no user {user_id!r}", code="user_not_found")
        return user

    async def add_user(self, body: UserCreate) -> User:
        """Raises ConflictError for a taken name."""
        if len(self._users) >= MOST_USERS:
            raise InvalidError(f"there are {MOST_USERS} users, the limit: remove one first", code="too_many_users")
        now_ms = self._clock.now_ms()
        user = User(
            id=ids.new("usr"), username=body.username, password_hash=await self._passwords.hash(body.password),
            role=body.role, display_name=body.display_name, active=True, created_ms=now_ms, updated_ms=now_ms,
        )  # fmt: skip
        async with self._lock:
            return await self._put_user(user)

    async def change_user(self, user_id: str, body: UserPatch) -> User:
        """Raises NotFoundError, and InvalidError where nobody could administer any more."""
        hashed = None if body.password is None else await self._passwords.hash(body.password)
        async with self._lock:
            user = self.user(user_id)
            given: dict[str, Any] = {"updated_ms": self._clock.now_ms()}
            for name in ("role", "active"):
                if (value := getattr(body, name)) is not None:
                    given[name] = value
            if body.display_name is not UNSET:
                given["display_name"] = body.display_name
            if hashed is not None:
                given |= {"password_hash": hashed, "failures": 0, "locked_until_ms": None}
            changed = msgspec.structs.replace(user, **given)
            self._keep_an_admin(user, changed)
            await self._store.put_user(changed, sign_out=(out := hashed is not None or not changed.active))
            self._users[user_id] = changed
            if out:
                self._forget_sessions(user_id)
            return changed

    async def remove_user(self, user_id: str, by: str) -> None:
        """Raises NotFoundError; InvalidError for oneself and for the last administrator."""
        if user_id == by:
            raise InvalidError("one cannot remove oneself: let another administrator do it", code="self_delete")
        async with self._lock:
            self._keep_an_admin(self.user(user_id), None)
            await self._store.delete_user(user_id)
            self._users.pop(user_id, None)
            self._forget_sessions(user_id)

    async def unlock(self, user_id: str) -> User:
        async with self._lock:
            return await self._put_user(msgspec.structs.replace(self.user(user_id), failures=0, locked_until_ms=None))

    def is_locked(self, user: User) -> bool:
        return (user.locked_until_ms or 0) > self._clock.now_ms()

    def _keep_an_admin(self, user: User, changed: User | None) -> None:
        if user.role != "admin" or not user.active or (changed and changed.role == "admin" and changed.active):
            return
        if not any(other.role == "admin" and other.active for other in self._users.values() if other.id != user.id):
            raise InvalidError("this is the last active administrator: make another one first", code="last_admin")

    def _named(self, username: str) -> User | None:
        folded = username.casefold()
        return next((user for user in self._users.values() if user.username.casefold() == folded), None)

    def _forget_sessions(self, user_id: str) -> None:
        self._sessions = {token: s for token, s in self._sessions.items() if s.user_id != user_id}

    async def _put_user(self, user: User) -> User:
        """With the lock held since `user` was read, lest a change in between be undone."""
        await self._store.put_user(user)
        self._users[user.id] = user
        return user

    # --- keys --------------------------------------------------------------------------------------------------------

    def all_keys(self) -> list[ApiKey]:
        return sorted(self._keys.values(), key=lambda key: (key.created_ms, key.id))

    def key(self, key_id: str) -> ApiKey:
        """Raises NotFoundError."""
        for key in self._keys.values():
            if key.id == key_id:
                return key
        raise NotFoundError(f"no API key {key_id!r}", code="key_not_found")

    async def add_key(self, body: KeyCreate) -> tuple[str, ApiKey]:
        """(the key itself, what is kept of it). Raises InvalidError."""
        if len(self._keys) >= MOST_KEYS:
            raise InvalidError(f"there are {MOST_KEYS} keys, the limit", code="too_many_keys")
        secret = KEY_PREFIX + secrets.token_hex(32)
        key = ApiKey(
            id=ids.new("key"), name=body.name, key_hash=hash_token(secret), key_prefix=secret[:SHOWN_CHARACTERS],
            role=body.role, capabilities=_slugs(body.capabilities), cameras=_scope(body.scope_kind, body.scope_cameras),
            expires_ms=_expiry(body.expires_at, self._clock.now_ms()), created_ms=self._clock.now_ms(),
        )  # fmt: skip
        self._check_grant(key, confirmed=body.confirm_privileged)
        async with self._lock:
            return secret, await self._put_key(key)

    async def change_key(self, key_id: str, body: KeyPatch) -> ApiKey:
        """Raises NotFoundError and InvalidError."""
        given: dict[str, Any] = {}
        for name in ("name", "active"):
            if (value := getattr(body, name)) is not None:
                given[name] = value
        if body.capabilities is not UNSET:
            given["capabilities"] = _slugs(body.capabilities)
        if body.scope_kind is not None or body.scope_cameras is not None:
            given["cameras"] = _scope(body.scope_kind, body.scope_cameras)
        if body.expires_at is not UNSET:
            given["expires_ms"] = _expiry(body.expires_at, self._clock.now_ms())
        async with self._lock:
            key = msgspec.structs.replace(self.key(key_id), **given)
            if {"capabilities", "cameras"} & given.keys():
                self._check_grant(key, confirmed=body.confirm_privileged)
            return await self._put_key(key)

    async def revoke_key(self, key_id: str) -> None:
        """For good; what it did stays attributed to it."""
        async with self._lock:
            await self._put_key(msgspec.structs.replace(self.key(key_id), revoked_ms=self._clock.now_ms()))

    def _check_grant(self, key: ApiKey, *, confirmed: bool) -> None:
        granted = self.granted(key)
        if (privileged := granted & capabilities.PRIVILEGED) and not confirmed:
            raise InvalidError(
                f"this key could {', '.join(sorted(privileged))}: say confirm_privileged if that is meant",
                code="unconfirmed_privilege",
            )
        if key.cameras is not None and (beyond := granted & capabilities.NOT_WITH_SCOPE):
            raise InvalidError(
                f"{', '.join(sorted(beyond))} reach beyond single cameras: list capabilities without them",
                code="scope_too_wide",
            )

    async def _put_key(self, key: ApiKey) -> ApiKey:
        """With the lock held since `key` was read."""
        await self._store.put_key(key)
        self._keys[key.key_hash] = key
        return key


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _slugs(given: list[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if unknown := sorted(set(given) - capabilities.ALL):
        raise InvalidError(
            f"capabilities: {unknown[0][:60]!r} is none of {', '.join(sorted(capabilities.ALL))}",
            code="unknown_capability",
        )
    return tuple(sorted(set(given)))


def _scope(kind: str | None, cameras: list[str] | None) -> tuple[str, ...] | None:
    if kind == "all" or (kind is None and cameras is None):
        if cameras:
            raise InvalidError("scope_cameras needs scope_kind 'cameras'", code="scope_contradicts")
        return None
    return tuple(sorted(set(cameras or ())))


def _expiry(text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        expires_ms = parse_rfc3339(text)
    except ValueError as error:
        raise InvalidError(f"expires_at: {error}", code="bad_timestamp") from None
    if expires_ms <= now_ms:
        raise InvalidError("expires_at has passed already", code="expiry_passed")
    return expires_ms
