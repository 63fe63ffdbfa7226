"""What a node asked of its kernel, and when: strace around it, and a reader of what strace wrote.

An order that strace reports is an order that was: a thread goes on from a call only after strace noted its end, and
into the next one only after strace noted its beginning. Between nodes the times are of one machine's clock.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SENDS = frozenset({"sendmsg", "sendto", "write", "writev"})
RECEIVES = frozenset({"recvmsg", "recvfrom"})
SYNCS = frozenset({"fdatasync", "fsync"})

_LINE = re.compile(r"(?P<pid>\d+) +(?P<at>\d+\.\d+) (?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)")
_UNFINISHED = " <unfinished ...>"
_END = re.compile(r"\) += (?P<result>-?\d+|\?).*?(?: <(?P<took>\d+\.\d+)>)?$")
_TARGET = re.compile(r"\d+<(?P<target>(?:TCPv?6?:\[.*?\]>)|[^>]*)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def strace(trace: Path, *, sync_takes_s: float) -> list[str]:
    """To start a program under: every byte as hex, every socket with its addresses, the program as our own child.

    sync_takes_s: how much longer each sync takes than it would, so that whoever does not wait for it is ahead of it.
    """
    calls = ",".join(sorted(SENDS | RECEIVES | SYNCS))
    options = ["-D", "-f", "-q", "-ttt", "-T", "-yy", "-xx", "-s", "65536", "--seccomp-bpf", "-e", "signal=none"]
    slow = f"inject={','.join(sorted(SYNCS))}:delay_enter={sync_takes_s * 1e6:.0f}"
    return ["strace", *options, "-e", f"trace={calls}", "-e", slow, "-o", str(trace)]


@dataclass(frozen=True, slots=True)
class Syscall:
    """target: the file or connection. data: what went over. began and ended: seconds."""

    name: str
    target: str
    data: bytes
    began: float
    ended: float

    @property
    def is_of_a_connection(self) -> bool:
        return self.target.startswith("TCP")


def parse(lines: Iterable[str]) -> Iterator[Syscall]:
    """The calls that succeeded, in the order of their ends."""
    open_calls: dict[str, tuple[float, str]] = {}
    for line in lines:
        if not (found := _LINE.match(line)):
            continue
        pid, at, rest = found["pid"], float(found["at"]), found["rest"]
        if rest.endswith(_UNFINISHED):
            open_calls[pid] = at, rest.removesuffix(_UNFINISHED)
            continue
        if resumed := _RESUMED.match(rest):
            at, beginning = open_calls.pop(pid, (at, f"{resumed['name']}("))
            rest = beginning + resumed["arguments"]
        if call := _syscall(at, rest):
            yield call


def _syscall(began: float, text: str) -> Syscall | None:
    call, end = _CALL.match(text), _END.search(text)
    if not call or not end or not end["result"].isdigit():
        return None
    target = _TARGET.match(call["arguments"])
    data = b"".join(_bytes(string) for string in _STRING.findall(call["arguments"]))
    return Syscall(
        name=call["name"],
        target=_text(target["target"]) if target else "",
        data=b"" if call["name"] in SYNCS else data[: int(end["result"])],
        began=began,
        ended=began + float(end["took"] or 0),
    )


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _text(target: str) -> str:
    """strace writes paths as it writes data."""
    return _bytes(target).decode(errors="replace") if re.fullmatch(r"(\\x[0-9a-f]{2})+", target) else target


# ---- a message on its way


class Missing(AssertionError):
    """The trace does not show what it should."""


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry on its way to a node's disk: the write that held it, and the first sync of that file after it."""

    write: Syscall
    sync: Syscall


def crossing(calls: Iterable[Syscall], names: frozenset[str], message: bytes) -> Syscall:
    """The call with which the first byte of the message crossed a connection, in that direction."""
    streams: dict[str, list[Syscall]] = {}
    for call in calls:
        if call.name in names and call.is_of_a_connection:
            streams.setdefault(call.target, []).append(call)
    holders = (_holder_of(stream, message) for stream in streams.values())
    found = [holder for holder in holders if holder is not None]
    if not found:
        raise Missing(f"no connection carried {message!r}")
    return min(found, key=lambda call: call.began)


def _holder_of(stream: list[Syscall], message: bytes) -> Syscall | None:
    offset = b"".join(call.data for call in stream).find(message)
    for call in stream:
        if 0 <= offset < len(call.data):
            return call
        offset -= len(call.data)
    return None


def logged(calls: Iterable[Syscall], message: bytes) -> Logged:
    """How an entry with the message in it came to this node's disk."""
    kept = sorted(calls, key=lambda call: call.began)
    write = next((call for call in kept if call.target.endswith(".log") and message in call.data), None)
    if write is None:
        raise Missing(f"no log file was written with {message!r}")
    for call in kept:
        if call.name in SYNCS and call.target == write.target and call.began >= write.ended:
            return Logged(write, call)
    raise Missing(f"{write.target} was not synced after the write of {message!r}")
