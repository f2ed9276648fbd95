"""Tickets: what they prove and to whom."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard.leases import ticket
from heldard.leases.model import Lease

KEY = bytes(range(32))
NOW = 1_767_268_800_000
LEASE = Lease(
    task_id="ai_1", lease_id="lse_1", credential="key_1", worker_id="box:1", acquired_ms=NOW, renewed_ms=NOW,
    expires_ms=NOW + 60_000,
)  # fmt: skip


def minted(ttl_s: int = 120, camera: str = "gate") -> str:
    text = ticket.mint(KEY, LEASE, camera, NOW - 40, NOW, ttl_s)
    assert text is not None
    return text


def holds(text: str, *, lease: Lease = LEASE, camera: str = "gate", now_ms: int = NOW, key: bytes = KEY) -> bool:
    peeked = ticket.peek(text)
    return peeked is not None and ticket.verify(key, peeked, lease, camera, now_ms)


def test_t1_the_form_has_five_parts() -> None:
    version, task, captured, expires, signature = minted().split(".")
    assert (version, task, captured, expires) == ("f1", "ai_1", str(NOW - 40), str(NOW // 1000 + 120))
    assert "=" not in signature


def test_t2_another_process_cannot_make_one() -> None:
    assert not holds(minted(), key=bytes(32))


def test_t3_credential_and_camera_are_signed_but_not_shown() -> None:
    assert "key_1" not in minted()
    assert "gate" not in minted()
    assert holds(minted())
    assert not holds(minted(), lease=msgspec.structs.replace(LEASE, credential="key_2"))
    assert not holds(minted(), camera="yard")


def test_t4_valid_until_the_last_second_and_not_at_expiry() -> None:
    assert holds(minted(), now_ms=NOW + 119_000)
    assert not holds(minted(), now_ms=NOW + 120_000)
    assert holds(minted(ttl_s=0), now_ms=NOW + 999)


@pytest.mark.parametrize("broken", ["", "a.b", "a\rb", "a\nb"])
def test_t5_none_over_ambiguous_ids(broken: str) -> None:
    assert ticket.mint(KEY, LEASE, broken, NOW, NOW, 120) is None
    for field in ("credential", "task_id"):
        assert ticket.mint(KEY, msgspec.structs.replace(LEASE, **{field: broken}), "gate", NOW, NOW, 120) is None


def test_x32_a_ticket_is_bound_to_the_worker_and_the_term_of_its_lease() -> None:
    assert not holds(minted(), lease=msgspec.structs.replace(LEASE, worker_id="box:2"))
    assert not holds(minted(), lease=msgspec.structs.replace(LEASE, acquired_ms=NOW + 1))
    assert holds(minted(), lease=msgspec.structs.replace(LEASE, lease_id="lse_2", renewed_ms=NOW + 9))


def test_peek_reads_public_fields_without_authenticating_them() -> None:
    peeked = ticket.peek(f"f1.ai_9.7.8.{'A' * 43}")
    assert peeked is not None
    assert (peeked.task_id, peeked.captured_ms, peeked.expires_s) == ("ai_9", 7, 8)


@pytest.mark.parametrize(
    "text", ["", "f1", "f2.ai_1.1.2.AA", "f1.ai_1.1.2", "f1.ai_1.1.2.AA.x", "f1..1.2.AA", "f1.a.-1.2.AA", "f1.a.1.x.AA",
             "f1.a.1.2.A", "f1.a.1.2.é", "f1.a.1.²" + ".AA"],
)  # fmt: skip
def test_rejects_malformed(text: str) -> None:
    assert ticket.peek(text) is None


def test_rejects_tampered() -> None:
    assert not holds(minted().replace("ai_1", "ai_2"))
    assert not holds(minted().replace("f1", "f2", 1))
    assert not holds(minted() + "A")


@given(st.text())
def test_no_text_crashes_the_reader(text: str) -> None:
    ticket.peek(text)
    ticket.peek(f"f1.{text}.{text}.1.{text}")
