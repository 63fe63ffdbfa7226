"""The bounds of every field that a caller fills in. A refusal names the field and the bound."""

import unicodedata
from collections.abc import Mapping

from lockd.config import Limits

from .refusal import Reason, Refused

REQUEST_ID_BYTES_MAX = 64


def check_name(name: str, limits: Limits) -> None:
    if not name:
        raise _invalid("name", "is empty; it takes 1 to {} bytes", limits.name_bytes)
    check_text("name", name, limits.name_bytes)


def check_text(field: str, text: str, bytes_max: int) -> None:
    """Bounds the UTF-8 length and keeps control characters out."""
    size = len(text.encode())
    if size > bytes_max:
        raise _invalid(field, f"has {size} bytes; the bound is {{}}", bytes_max)
    for place, character in enumerate(text):
        if unicodedata.category(character) == "Cc":
            raise _invalid(field, f"has the control character U+{ord(character):04X} at place {place + 1}")


def check_metadata(metadata: Mapping[str, str], limits: Limits) -> None:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size > limits.metadata_bytes:
        raise _invalid("metadata", f"has {size} bytes; the bound is {{}}", limits.metadata_bytes)


def check_ttl(ttl_ms: int, limits: Limits, *, may_be_zero: bool) -> None:
    if ttl_ms == 0 and may_be_zero:
        return
    if not limits.ttl_min_ms <= ttl_ms <= limits.ttl_max_ms:
        zero = "0 (until it is unlocked) or " if may_be_zero else ""
        raise _invalid("ttl_ms", f"is {ttl_ms}; it takes {zero}{limits.ttl_min_ms} to {limits.ttl_max_ms}")


def check_token(token: int) -> None:
    if not 0 < token < 2**53:
        raise _invalid("token", f"is {token}; it takes 1 to {2**53 - 1}")


def check_request_id(id: bytes, not_after_ms: int) -> None:
    if not 1 <= len(id) <= REQUEST_ID_BYTES_MAX:
        raise _invalid("request.id", f"has {len(id)} bytes; it takes 1 to {REQUEST_ID_BYTES_MAX}")
    if not not_after_ms:
        raise _invalid("request.not_after_ms", "is missing; it is the last clock_ms that was seen + 240000")


def check_page(limit: int, limits: Limits) -> None:
    if limit > limits.list_page_max:
        raise _invalid("limit", f"is {limit}; the bound is {{}}", limits.list_page_max)


def _invalid(field: str, what: str, *bound: object) -> Refused:
    return Refused(Reason.INVALID_ARGUMENT, f"{field} {what.format(*bound) if bound else what}")
