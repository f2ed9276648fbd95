"""Webhooks: each target has a place in the log of events, a task of its own, and patience."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import structlog
from msgspec import UNSET

from heldard import ids
from heldard.auth.seal import Seal, SealBrokenError
from heldard.clock import Clock, parse_rfc3339, rfc3339
from heldard.config import OutgoingSettings
from heldard.errors import InvalidError, NotFoundError
from heldard.events.model import SEVERITIES, Event, EventType
from heldard.events.service import Events
from heldard.metrics import Meter
from heldard.outgoing.coalesce import Coalescer
from heldard.outgoing.model import (
    DEAD,
    DELIVERED,
    Delivery,
    OutgoingEvent,
    Resent,
    Tried,
    Webhook,
    WebhookCreate,
    WebhookPatch,
)
from heldard.outgoing.sender import Attempt, Sender
from heldard.outgoing.signing import headers
from heldard.outgoing.store import WebhookStore
from heldard.outgoing.target import check_url
from heldard.plugin import EventDraft
from heldard.supervisor import Supervisor

SECRET_UNUSABLE = "webhook_signing_secret_unusable"  # noqa: S105 - the name of an event
EVENT_TYPES = (EventType(SECRET_UNUSABLE, "A webhook's secret cannot be opened; its deliveries are held."),)

FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 3600.0
REFUSED_TRIES = 5
"""How often an event is tried that the target answers with a 4xx."""

PAGE = 100
HALTED_CHECK_S = 3600.0
TEST_TYPE = "webhook_test"

log: Any = structlog.get_logger("heldard.webhooks")


class Webhooks:
    """Targets in memory and in the database; `start` drives them."""

    def __init__(
        self, store: WebhookStore, events: Events, seal: Seal, clock: Clock, supervisor: Supervisor,
        settings: OutgoingSettings, meter: Meter,
    ) -> None:  # fmt: skip
        self._store = store
        self._events = events
        self._seal = seal
        self._clock = clock
        self._supervisor = supervisor
        self._settings = settings
        self._hooks: dict[str, Webhook] = {}
        self._halted: set[str] = set()
        self._jitter = random.Random()  # noqa: S311 - spreads retries, hides nothing
        self._sender: Sender | None = None
        self._meter = meter

    async def load(self) -> None:
        self._hooks = {hook.id: hook for hook in await self._store.all()}

    async def start(self) -> None:
        self._sender = Sender(self._settings.timeout_s, allow_private=self._settings.allow_private)
        for hook in self._hooks.values():
            self._drive(hook)

    async def stop(self) -> None:
        for webhook_id in self._hooks:
            await self._supervisor.end(_service(webhook_id))
        if self._sender is not None:
            await self._sender.close()

    # --- targets -----------------------------------------------------------------------------------------------------

    def all(self) -> list[Webhook]:
        return list(self._hooks.values())

    def get(self, webhook_id: str) -> Webhook:
        """Raises NotFoundError."""
        hook = self._hooks.get(webhook_id)
        if hook is None:
            raise NotFoundError(f"no webhook {webhook_id!r}", code="webhook_not_found")
        return hook

    def state(self, hook: Webhook) -> str:
        if not hook.enabled:
            return "disabled"
        if hook.id in self._halted:
            return "halted"
        return "failing" if hook.attempts else "ok"

    def lag(self, hook: Webhook) -> int:
        return max(0, self._events.last_seq - hook.cursor_seq)

    async def dead_letters(self, hook: Webhook) -> int:
        """Deliveries that were given up and not sent again."""
        return await self._store.count_dead(hook.id)

    async def add(self, body: WebhookCreate) -> Webhook:
        """A target of what happens from now on. Raises InvalidError."""
        if len(self._hooks) >= self._settings.max_webhooks:
            raise InvalidError(
                f"there are {len(self._hooks)} webhooks, the limit of outgoing.max_webhooks", code="too_many_webhooks"
            )
        check_url(body.url, allow_private=self._settings.allow_private)
        now_ms = self._clock.now_ms()
        coalesce_s = self._settings.coalesce_s if body.coalesce_seconds is None else body.coalesce_seconds
        hook = Webhook(
            id=ids.new("whs"), name=body.name, url=body.url, event_types=tuple(body.event_types),
            min_severity=SEVERITIES.index(body.min_severity), coalesce_s=coalesce_s,
            secret=self._seal.close_optional(body.secret), enabled=body.enabled, cursor_seq=self._events.last_seq,
            created_ms=now_ms, updated_ms=now_ms,
        )  # fmt: skip
        await self._store.put(hook)
        self._hooks[hook.id] = hook
        self._drive(hook)
        return hook

    async def change(self, webhook_id: str, body: WebhookPatch) -> Webhook:
        """Raises NotFoundError, InvalidError. A target that was failing is tried again at once."""
        self.get(webhook_id)
        given = self._given(body)
        await self._supervisor.end(_service(webhook_id))
        try:
            hook = msgspec.structs.replace(self.get(webhook_id), **given)
            await self._store.put(hook)
            self._hooks[webhook_id] = hook
        finally:
            if (current := self._hooks.get(webhook_id)) is not None:
                self._drive(current)
        return hook

    def _given(self, body: WebhookPatch) -> dict[str, Any]:
        given: dict[str, Any] = {"updated_ms": self._clock.now_ms(), "next_attempt_ms": None}
        for name, field in (
            ("name", "name"),
            ("url", "url"),
            ("coalesce_seconds", "coalesce_s"),
            ("enabled", "enabled"),
        ):
            if (value := getattr(body, name)) is not None:
                given[field] = value
        if body.url is not None:
            check_url(body.url, allow_private=self._settings.allow_private)
        if body.event_types is not None:
            given["event_types"] = tuple(body.event_types)
        if body.min_severity is not None:
            given["min_severity"] = SEVERITIES.index(body.min_severity)
        if body.secret is not UNSET:
            given["secret"] = self._seal.close_optional(body.secret)
        return given

    async def remove(self, webhook_id: str) -> None:
        self.get(webhook_id)
        await self._supervisor.end(_service(webhook_id))
        await self._store.delete(webhook_id)
        self._hooks.pop(webhook_id, None)
        self._halted.discard(webhook_id)

    # --- driving -----------------------------------------------------------------------------------------------------

    def _drive(self, hook: Webhook) -> None:
        if hook.enabled and self._sender is not None:
            self._supervisor.start(_service(hook.id), lambda: self._run(hook.id))

    async def _run(self, webhook_id: str) -> None:
        """Send what comes, in order, for ever."""
        coalescer = Coalescer(self._hooks[webhook_id].coalesce_s, lambda kind: not self._events.known(kind))
        while self._hooks[webhook_id].enabled:
            await self._wait_turn(self._hooks[webhook_id])
            page = await self._events.after(self._hooks[webhook_id].cursor_seq, PAGE)
            if not page:
                await self._events.wait_after(self._hooks[webhook_id].cursor_seq)
                continue
            await self._send_page(webhook_id, page, coalescer)

    async def _wait_turn(self, hook: Webhook) -> None:
        if hook.next_attempt_ms is not None and hook.next_attempt_ms > self._clock.now_ms():
            await self._clock.sleep((hook.next_attempt_ms - self._clock.now_ms()) / 1000)

    async def _send_page(self, webhook_id: str, page: list[Event], coalescer: Coalescer) -> None:
        """Settle the events of a page one after the other; what nobody wants is settled together with the next."""
        for event in page:
            hook = self._hooks[webhook_id]
            left_out = coalescer.take(event) if wants(hook, event) else None
            if left_out is None:
                self._hooks[webhook_id] = msgspec.structs.replace(hook, cursor_seq=event.seq)
                continue
            await self._settle(webhook_id, event, left_out)
            if not self._hooks[webhook_id].enabled:
                return
        await self._store.put(self._hooks[webhook_id])

    async def _settle(self, webhook_id: str, event: Event, left_out: int) -> None:
        """Try until it is delivered, refused for good, or too old."""
        body = encode(event, left_out)
        while True:
            hook = self._hooks[webhook_id]
            secret = await self._secret(hook)
            attempt = await self._post(hook, event.id, event.event_type, body, secret)
            tries, hook = hook.attempts + 1, self._after(hook, event, attempt)
            self._hooks[webhook_id] = hook
            if attempt.verdict == "gone":
                await self._store.put(hook)
                log.warning("webhook_gone", webhook=hook.id, url=hook.url)
                return
            if hook.attempts == 0:
                await self._store.put(hook, self._ended(hook, event, attempt, body, tries))
                return
            await self._store.put(hook)
            await self._wait_turn(hook)

    def _after(self, hook: Webhook, event: Event, attempt: Attempt) -> Webhook:
        """The target after an attempt: past the event, or waiting to try it again."""
        now_ms = self._clock.now_ms()
        settled = {"cursor_seq": event.seq, "attempts": 0, "failing_since_ms": None, "next_attempt_ms": None}
        if attempt.verdict == "delivered":
            if hook.attempts:
                log.info("webhook_recovered", webhook=hook.id, attempts=hook.attempts)
            return msgspec.structs.replace(hook, **settled, last_error=None)
        if attempt.verdict == "gone":
            return msgspec.structs.replace(hook, enabled=False, last_error=attempt.error)
        if hook.attempts == 0:
            log.warning("webhook_failing", webhook=hook.id, error=attempt.error)
        attempts, since_ms = hook.attempts + 1, hook.failing_since_ms or now_ms
        too_old = now_ms - since_ms >= self._settings.give_up_hours * 3_600_000
        if too_old or (attempt.verdict == "refused" and attempts >= REFUSED_TRIES):
            log.error("webhook_given_up", webhook=hook.id, seq=event.seq, attempts=attempts, error=attempt.error)
            return msgspec.structs.replace(hook, **settled, last_error=attempt.error)
        delay_ms = int(retry_s(attempts, self._jitter.random()) * 1000)
        return msgspec.structs.replace(
            hook, attempts=attempts, failing_since_ms=since_ms, next_attempt_ms=now_ms + delay_ms,
            last_error=attempt.error,
        )  # fmt: skip

    def _ended(self, hook: Webhook, event: Event, attempt: Attempt, body: bytes, tries: int) -> Delivery:
        delivered = attempt.verdict == "delivered"
        now_ms = self._clock.now_ms()
        if delivered:
            self._meter.event_to_delivered.observe(max(0, now_ms - parse_rfc3339(event.created_at)) / 1000)
        else:
            self._meter.deliveries["dead"] += 1
        return Delivery(
            subscription_id=hook.id, event_seq=event.seq, event_id=event.id, event_type=event.event_type,
            status=DELIVERED if delivered else DEAD, attempts=tries,
            response_code=attempt.status, error=attempt.error, body=None if delivered else body.decode(),
            created_ms=now_ms, delivered_ms=now_ms if delivered else None,
        )  # fmt: skip

    async def _post(self, hook: Webhook, event_id: str, event_type: str, body: bytes, secret: str | None) -> Attempt:
        assert self._sender is not None
        signed = headers(event_id, event_type, body, secret, self._clock.now_ms())
        attempt = await self._sender.post(hook.url, body, signed)
        self._meter.deliveries[attempt.verdict] += 1
        return attempt

    async def _secret(self, hook: Webhook) -> str | None:
        """The secret, opened. Holds the target, with an hourly notice, while that is impossible."""
        while True:
            try:
                secret = self._seal.open_optional(hook.secret)
            except SealBrokenError as error:
                self._halted.add(hook.id)
                log.error("webhook_halted", webhook=hook.id, reason=error.message)
                payload = {"webhook_id": hook.id, "name": hook.name}
                await self._events.emit(EventDraft(SECRET_UNUSABLE, self._clock.now_ms(), "critical", None, payload))
                await self._clock.sleep(HALTED_CHECK_S)
            else:
                self._halted.discard(hook.id)
                return secret

    # --- on request --------------------------------------------------------------------------------------------------

    async def test(self, webhook_id: str) -> Tried:
        """Send an event made for the purpose, once."""
        hook = self.get(webhook_id)
        now_ms = self._clock.now_ms()
        event = OutgoingEvent(
            id=ids.new("whd"), seq=0, camera_id=None, site_id=None, event_type=TEST_TYPE, severity="info",
            timestamp=rfc3339(now_ms), payload={"webhook_id": hook.id, "name": hook.name},
        )  # fmt: skip
        return _tried(await self._post(hook, event.id, TEST_TYPE, msgspec.json.encode(event), self._opened(hook)))

    def _opened(self, hook: Webhook) -> str | None:
        try:
            return self._seal.open_optional(hook.secret)
        except SealBrokenError as error:
            raise InvalidError(error.message, code="secret_unusable") from None

    async def deliveries(self, webhook_id: str, limit: int, *, dead: bool) -> list[Delivery]:
        return await self._store.newest(self.get(webhook_id).id, limit, dead=dead)

    async def resend(self, webhook_id: str, delivery_ids: list[str] | None) -> Resent:
        """Try dead deliveries once more, oldest first; stops where the target is in trouble. Raises NotFoundError."""
        hook = self.get(webhook_id)
        secret = self._opened(hook)
        delivered: list[str] = []
        failed: dict[str, str] = {}
        for delivery in await self._dead(webhook_id, delivery_ids):
            name = ids.of_row("whd", delivery.id)
            body = (delivery.body or "").encode()
            attempt = await self._post(hook, delivery.event_id, delivery.event_type, body, secret)
            if attempt.verdict == "delivered":
                await self._store.revive(delivery.id, attempt.status, self._clock.now_ms())
                delivered.append(name)
                continue
            failed[name] = attempt.error or "not delivered"
            if attempt.verdict in ("later", "gone"):
                break
        return Resent(delivered=delivered, failed=failed)

    async def _dead(self, webhook_id: str, delivery_ids: list[str] | None) -> list[Delivery]:
        if delivery_ids is None:
            return await self._store.oldest_dead(webhook_id, PAGE)
        found: list[Delivery] = []
        for name in delivery_ids:
            row = ids.row_of("whd", name)
            delivery = None if row is None or row >= 2**63 else await self._store.find(webhook_id, row)
            if delivery is None or delivery.status != DEAD:
                raise NotFoundError(f"no dead delivery {name!r}", code="delivery_not_found")
            found.append(delivery)
        return found


def wants(hook: Webhook, event: Event) -> bool:
    named = "*" in hook.event_types or event.event_type in hook.event_types
    return named and SEVERITIES.index(event.severity) >= hook.min_severity


def encode(event: Event, left_out: int) -> bytes:
    return msgspec.json.encode(outgoing(event, left_out))


def outgoing(event: Event, left_out: int) -> OutgoingEvent:
    return OutgoingEvent(
        id=event.id, seq=event.seq, camera_id=event.camera_id, site_id=event.site_id, event_type=event.event_type,
        severity=event.severity, timestamp=event.timestamp, payload=event.payload, evidence=event.evidence,
        coalesced=left_out,
    )  # fmt: skip


def retry_s(attempts: int, share: float) -> float:
    """How long to wait after so many failures: 5 s doubling to an hour, and up to a quarter more by `share` (0..1)."""
    return float(min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempts - 1, 20)) * (1 + share / 4))


def _tried(attempt: Attempt) -> Tried:
    return Tried(delivered=attempt.verdict == "delivered", status_code=attempt.status, error=attempt.error)


def _service(webhook_id: str) -> str:
    return f"webhook.{webhook_id}"
