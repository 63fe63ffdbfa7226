"""Where nodes are: `host`, `host:port` or `[v6]:port`; written `host:port` ever after."""

import ipaddress
import re
from collections.abc import Mapping, Sequence

from lockd_client.errors import InvalidArgument

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 2080
ENVIRONMENT = "LOCKD_ENDPOINTS"

_PORT_MAX = 65535
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")  # names and addresses; what gRPC would read as a scheme or a path is neither


def endpoint_of(host: str, port: int) -> str:
    """Raises InvalidArgument."""
    if not _HOST.fullmatch(host):
        raise InvalidArgument(f"{host!r} is not a host name or an address")
    if not 1 <= port <= _PORT_MAX:
        raise InvalidArgument(f"port {port} of {host} is not in 1 to {_PORT_MAX}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_endpoint(text: str) -> str:
    """Raises InvalidArgument."""
    text = text.strip()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise InvalidArgument(f"{text!r} is not [address]:port")
        port = rest[1:]
    elif text.count(":") > 1:  # an IPv6 address without a port
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        raise InvalidArgument(f"port {port!r} of {text!r} is not a number")
    return endpoint_of(host, int(port) if port else DEFAULT_PORT)


def is_loopback(endpoint: str) -> bool:
    """Whether what is sent there stays on this machine. endpoint: as parse_endpoint gives it."""
    host = endpoint.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose_endpoints(
    host: str | None,
    port: int | None,
    endpoints: Sequence[str] | None,
    environment: Mapping[str, str],
    in_file: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Arguments over the environment over client.toml (in_file) over the default. Raises InvalidArgument."""
    if endpoints is not None and (host is not None or port is not None):
        raise InvalidArgument("give either host and port, or endpoints")
    if isinstance(endpoints, str):
        raise InvalidArgument(f"endpoints is a list, as in endpoints=[{endpoints!r}]")
    if host is not None or port is not None:
        return (endpoint_of(host or DEFAULT_HOST, DEFAULT_PORT if port is None else port),)
    if endpoints is None:
        given = [part for part in environment.get(ENVIRONMENT, "").split(",") if part.strip()]
        endpoints = given or ([endpoint_of(DEFAULT_HOST, DEFAULT_PORT)] if in_file is None else in_file)
    chosen = tuple(dict.fromkeys(parse_endpoint(each) for each in endpoints))
    if not chosen:
        raise InvalidArgument("endpoints is empty")
    return chosen
