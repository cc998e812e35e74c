"""Who is one person, for limits and logs: a name made of the address, from which the address cannot be found.

person = person_of(socket.headers, socket.client and socket.client.host, trust_proxy=False)      # "9f1c02ab64d7"

Behind a proxy all connections come from it, and whom it serves stands in X-Forwarded-For, to which each proxy appends
the address that it saw. What a client writes there itself stands at the left. So the person is the last hop that is not
one of ours, that is, not of a private network. Where nobody but private addresses is named (a network of one's own), it
is the last one: the nearest proxy saw it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets

from starlette.datastructures import Headers

#: New with each start of the server: names of different days cannot be joined.
_SALT = secrets.token_bytes(16)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def person_of(headers: Headers, client_host: str | None, trust_proxy: bool) -> str:
    """Twelve letters for one person; the same while this process runs.

    client_host: who connected, None if that is not known. trust_proxy: is that a proxy which tells for whom?
    An IPv6 address stands for its /64: a household has all of it.
    """
    forwarded = _forwarded(headers.getlist("x-forwarded-for")) if trust_proxy else None
    address = forwarded or _parse(client_host or "")
    who = _household(address) if address else client_host or ""
    return hashlib.blake2b(who.encode(), key=_SALT, digest_size=6).hexdigest()


def _forwarded(lines: list[str]) -> Address | None:
    """The last public address, else the last one; nothing of what stands before one that cannot be read."""
    nearest = None
    for hop in reversed(",".join(lines).split(",")):
        address = _parse(hop)
        if address is None:
            break
        if address.is_global:
            return address
        nearest = nearest or address
    return nearest


def _parse(text: str) -> Address | None:
    """An address, with or without a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _household(address: Address) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address), 64), strict=False))
    return str(address)
