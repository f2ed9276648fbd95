"""Signing in as somebody who is not there takes the same work as with a wrong password."""

from __future__ import annotations

from argon2 import extract_parameters

from heldard.auth import passwords


async def test_nobodys_hash_costs_what_a_real_one_costs_and_no_password_matches_it() -> None:
    nobody = passwords._nobodys_hash()
    real = passwords._HASHER.hash("x")
    assert extract_parameters(nobody) == extract_parameters(real)
    assert nobody != passwords._nobodys_hash()
    assert await passwords.Passwords().check(None, "x") is False
