"""Where webhooks may go. Names are resolved, every address is checked, and the connection goes to a checked address.

A connection is made by the resolver's answer alone, so a name that resolves differently a moment later gains nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from heldard.errors import InvalidError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = frozenset({
    ipaddress.ip_address("169.254.169.254"), ipaddress.ip_address("fd00:ec2::254"),
    ipaddress.ip_address("100.100.100.200"),
})  # fmt: skip
"""Where clouds tell machines their secrets."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class TargetRefusedError(OSError):
    """The address is one that webhooks must not reach."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Raises InvalidError for what can never be a target: other schemes, a password in the URL, a refused address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidError(f"url: {error}", code="bad_url") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidError("url: give an http or https address", code="bad_url")
    if parts.username is not None or parts.password is not None:
        raise InvalidError("url: no user or password in it; sign with a secret instead", code="bad_url")
    if any(character.isspace() or ord(character) < 32 for character in url):
        raise InvalidError("url: no blanks or control characters", code="bad_url")
    check_literal(host, allow_private=allow_private)


def check_literal(host: str, *, allow_private: bool) -> None:
    """Raises InvalidError when `host` is itself an address that must not be reached."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    if (reason := refusal(address, allow_private=allow_private)) is not None:
        raise InvalidError(f"url: {host} {reason}", code="target_refused")


def refusal(address: Address, *, allow_private: bool) -> str | None:
    """Why an address must not be reached; None when it may be."""
    address = _inner(address)
    if address in METADATA or address.is_link_local:
        return "is link-local or a metadata service"
    if address.is_unspecified or address.is_multicast or (address.is_reserved and not address.is_private):
        return "is not the address of one machine"
    if not address.is_global and not allow_private:
        return "is a private address: set outgoing.allow_private if that is meant"
    return None


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


class CheckedResolver(AbstractResolver):
    """Resolves names; one refused address refuses the name."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises TargetRefusedError, or OSError for a name that does not resolve."""
        found = await self._inner.resolve(host, port, family)
        for result in found:
            address = ipaddress.ip_address(result["host"].partition("%")[0])
            if (reason := refusal(address, allow_private=self._allow_private)) is not None:
                raise TargetRefusedError(errno.EACCES, f"{host} resolves to {address}, which {reason}")
        return found

    async def close(self) -> None:
        await self._inner.close()
