"""Addresses that no source may be read from, whatever its URL says."""

from ipaddress import IPv4Address, IPv6Address, ip_address

# Where clouds tell a machine its own credentials, beside the link-local 169.254.169.254.
_METADATA = {"fd00:ec2::254", "100.100.100.200", "192.0.0.192"}


def refused(address: str) -> str:
    """Return why an IP address may not be asked, or nothing.

    It is looked at when the connection is made, so that a name which resolves otherwise by then changes nothing.
    Loopback and private addresses are fine: the URL is the operator's own, and self-hosted stores live there.
    """
    found: IPv4Address | IPv6Address
    try:
        found = ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return "not an IP address"
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if str(found) in _METADATA:
        return "an address of cloud metadata"
    if found.is_link_local:
        return "a link-local address, where clouds keep their metadata"
    if found.is_multicast or found.is_unspecified:
        return "not the address of one machine"
    return ""
