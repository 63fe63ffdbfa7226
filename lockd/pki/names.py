"""What a certificate says of its owner, by a URI among its subject alternative names. Pure."""

import ipaddress

NODE = "urn:lockd:node:"
CLIENT = "urn:lockd:client:"


def node_uri(id: int) -> str:
    """Names a member of the cluster."""
    return f"{NODE}{id}"


def client_uri(name: str) -> str:
    """Names a caller."""
    return f"{CLIENT}{name}"


def names_node(id: int, host: str, uris: frozenset[str], hosts: frozenset[str]) -> bool:
    """Whether a certificate is that of node `id`, which the cluster's file has at `host`.

    uris, hosts: of its subject alternative names, hosts being DNS names and IP addresses. A certificate with URIs of
    lockd's names those nodes alone; another one names whichever node has one of its hosts.
    """
    ours = [uri for uri in uris if uri.startswith((NODE, CLIENT))]
    return node_uri(id) in ours if ours else plain(host) in {plain(each) for each in hosts}


def plain(host: str) -> str:
    """The one way to write a host's name or address: an IPv6 address has many, and OpenSSL's is not Python's.

    Without a zone, `%eth0`, which is no part of what a certificate says.
    """
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return host.lower()
