"""Addresses that no source may be read from, whatever its URL says."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# Where clouds tell a machine its own credentials and configuration, beside the link-local 169.254.169.254: those of
# AWS (also what it gives to containers), Google, Azure, Alibaba and Oracle.
_METADATA = {"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"}

# Networks of which the last 32 bits are an address of IPv4: compatible (RFC 4291), translated (RFC 2765) and NAT64 (RFC
# 6052). Those that are mapped, of 6to4 and of Teredo the standard library knows.
_ENDING_IN_IPV4 = (IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("64:ff9b::/96"))
# NAT64 within one network (RFC 8215): the address stands behind the prefix, or at the end where that was made longer.
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
_LAST_32 = 0xFFFF_FFFF


def refused(address: str) -> str:
    """Return why an IP address may not be asked, or nothing.

    It is looked at when the connection is made, so that a name which resolves otherwise by then changes nothing.
    Loopback and private addresses are fine: the URL is the operator's own, and self-hosted stores live there.
    """
    try:
        peer = ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return "not an IP address"
    # Where it only stands for another one, that is what is asked in the end.
    all_of_it: list[IPv4Address | IPv6Address] = [peer]
    if isinstance(peer, IPv6Address):
        all_of_it += _embedded(peer)
    return next((why for each in all_of_it if (why := _refused(each))), "")


def _refused(address: IPv4Address | IPv6Address) -> str:
    if str(address) in _METADATA:
        return "an address of cloud metadata"
    if address.is_link_local:
        return "a link-local address, where clouds keep their metadata"
    if address.is_multicast or address.is_unspecified:
        return "not the address of one machine"
    return ""


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the addresses of IPv4 that one of IPv6 stands for."""
    number = int(address)
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    yield from address.teredo or ()
    at_end = any(address in network for network in _ENDING_IN_IPV4) and not address.is_loopback
    if at_end or number >> 32 & _LAST_32 in _ISATAP:
        yield IPv4Address(number & _LAST_32)
    if address in _LOCAL_NAT64:
        # The eight bits between its halves are none of it (RFC 6052, 2.2).
        behind = (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF
        yield from (IPv4Address(bits) for bits in (behind, number & _LAST_32) if bits)
