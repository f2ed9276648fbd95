"""Whether a decision opens a gate. A pure function; every no has a name."""

from __future__ import annotations

from typing import Literal

import msgspec

from heldard_anpr.engine.model import Direction, Rule
from heldard_anpr.registry.resolve import Resolution

Reason = Literal[
    "open", "not_matched", "no_policy", "policy_disabled", "kill_switch", "no_actuator", "already_asked",
    "below_threshold", "not_strict", "ambiguous", "vip_not_allowed", "direction_not_allowed", "rate_limited",
]  # fmt: skip
WORTH_TELLING: frozenset[Reason] = frozenset(
    {"below_threshold", "not_strict", "ambiguous", "vip_not_allowed", "direction_not_allowed", "rate_limited"}
)
"""Refusals at a gate that is on, which a person should hear of: somebody may be waiting."""


class Policy(msgspec.Struct, frozen=True):
    """per_minute: openings of one camera within a minute that are allowed."""

    enabled: bool
    output_port: int
    pulse_ms: int
    directions: tuple[Direction, ...] = ("inbound", "unknown")
    allow_vip: bool = False
    per_minute: int = 6


class Facts(msgspec.Struct, frozen=True):
    """asked: an opening was asked for this event already. lately: openings of the camera in the last minute."""

    policy: Policy | None
    kill_switch: bool
    actuator: bool
    asked: bool
    lately: int


def may_open(resolution: Resolution, rule: Rule, strict: bool, direction: Direction, facts: Facts) -> Reason:
    """`open`, or the first reason not to."""
    policy = facts.policy
    if resolution.status != "matched":
        return "not_matched"
    if policy is None:
        return "no_policy"
    if not policy.enabled:
        return "policy_disabled"
    if facts.kill_switch:
        return "kill_switch"
    if facts.asked:
        return "already_asked"
    return _doubt(resolution, rule, strict, direction, policy) or _means(facts, policy)


def _doubt(resolution: Resolution, rule: Rule, strict: bool, direction: Direction, policy: Policy) -> Reason | None:
    if rule == "visit_end":
        return "below_threshold"
    if not strict:
        return "not_strict"
    if resolution.ambiguous:
        return "ambiguous"
    if resolution.rule == "P-27" and not policy.allow_vip:
        return "vip_not_allowed"
    return None if direction in policy.directions else "direction_not_allowed"


def _means(facts: Facts, policy: Policy) -> Reason:
    if not facts.actuator:
        return "no_actuator"
    return "rate_limited" if facts.lately >= policy.per_minute else "open"
