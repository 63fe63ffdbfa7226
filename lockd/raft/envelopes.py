"""What peers send each other <-> the bytes on the wire: a handful of fixed shapes, never a pickle."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from lockd.proto import peers_pb2 as pb

from .errors import CodecError
from .guard import Message
from .journal import NO_OP
from .proposals import Proposal

NUMBER_MAX = 2**62
"""Of a term, an index or a sequence. They are counted on from, and stored in 64 bits."""

SNAPSHOT_BYTES_MAX = 2**34

_SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Propose:
    """For the leader's next entry."""

    proposals: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """What do you hold? From a node whose store is blank."""


@dataclass(frozen=True, slots=True)
class Report:
    """The answer: whether the sender is blank itself, and its last log index. Its term is the envelope's."""

    blank: bool
    last_index: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A heartbeat to a node whose next entry was compacted away, and the snapshot it may fetch."""

    index: int = 0
    """The last entry in the snapshot. 0: none is ready yet."""
    term: int = 0
    size: int = 0
    sha256: bytes = b""


Content = Message | Propose | Ask | Report | Manifest


@dataclass(frozen=True, slots=True)
class Envelope:
    term: int
    """The sender's when it sent this."""
    sequence: int
    content: Content


def encode(envelope: Envelope) -> bytes:
    message = pb.Envelope(term=envelope.term, sequence=envelope.sequence)
    match envelope.content:
        case Propose(proposals):
            for command, credential, *_ in proposals:
                message.propose.proposals.add(command=command, credential=credential)
        case Ask():
            message.ask.SetInParent()
        case Report(blank, last_index):
            message.report.CopyFrom(pb.Report(blank=blank, last_index=last_index))
        case Manifest(index, term, size, sha256):
            message.manifest.CopyFrom(pb.Manifest(index=index, term=term, size=size, sha256=sha256))
        case dict() as raft:
            _put_raft(message, raft)
    return message.SerializeToString()


def _put_raft(message: pb.Envelope, raft: Message) -> None:
    match raft["type"]:
        case "append_entries":
            append = message.append_entries
            append.commit_index = raft["commit_index"]
            append.prev_index = raft["prevLogIdx"]
            append.prev_term = raft["prevLogTerm"]
            for data, index, term in raft["entries"]:
                append.entries.add(index=index, term=term, data=data)
        case "next_node_idx":
            message.next_node_idx.CopyFrom(
                pb.NextNodeIdx(next_index=raft["next_node_idx"], reset=raft["reset"], success=raft["success"])
            )
        case "request_vote":
            message.request_vote.CopyFrom(
                pb.RequestVote(last_index=raft["last_log_index"], last_term=raft["last_log_term"])
            )
        case "response_vote":
            message.response_vote.SetInParent()
        case "timeout_now":
            message.timeout_now.SetInParent()


def decode(data: bytes) -> Envelope:
    """Raises CodecError for anything that a node of ours does not send."""
    try:
        message = pb.Envelope.FromString(data)
    except DecodeError as error:
        raise CodecError(f"an envelope of {len(data)} bytes does not decode: {error}") from error
    what = message.WhichOneof("what")
    if what is None:
        raise CodecError("an envelope without content")
    _check_numbers(message.term, message.sequence)
    return Envelope(message.term, message.sequence, _content(what, message))


def _check_numbers(*numbers: int) -> None:
    if max(numbers) > NUMBER_MAX:
        raise CodecError(f"an envelope has the number {max(numbers)}; the bound is {NUMBER_MAX}")


def _content(what: str, message: pb.Envelope) -> Content:
    body: Any = getattr(message, what)
    match what:
        case "propose":
            return Propose(tuple([Proposal(each.command, each.credential) for each in body.proposals]))
        case "ask":
            return Ask()
        case "report":
            _check_numbers(body.last_index)
            return Report(body.blank, body.last_index)
        case "manifest":
            return _manifest(message.term, body)
        case "append_entries":
            return _append(message.term, body)
        case "next_node_idx":
            _check_numbers(body.next_index)
            return {
                "type": what,
                "next_node_idx": body.next_index,
                "reset": body.reset,
                "success": body.success,
            }
        case "request_vote":
            _check_numbers(body.last_index, body.last_term)
            return {
                "type": what,
                "term": message.term,
                "last_log_index": body.last_index,
                "last_log_term": body.last_term,
            }
        case _:
            return {"type": what, "term": message.term}


def _manifest(term: int, body: pb.Manifest) -> Manifest:
    if not body.index:
        return Manifest()
    _check_numbers(body.index)
    if len(body.sha256) != _SHA256_BYTES or not 0 < body.size <= SNAPSHOT_BYTES_MAX or body.term > term:
        raise CodecError(
            f"a snapshot of {body.size} bytes, term {body.term} and {len(body.sha256)} bytes of checksum is offered in "
            f"term {term}"
        )
    return Manifest(body.index, body.term, body.size, body.sha256)


def _append(term: int, body: pb.AppendEntries) -> Message:
    _check_numbers(body.commit_index, body.prev_index, body.prev_term)
    entries = [(entry.data, entry.index, entry.term) for entry in body.entries]
    for place, (data, index, entry_term) in enumerate(entries, body.prev_index + 1):
        if index != place or entry_term > term:
            raise CodecError(f"entry {index} of term {entry_term} stands at {place} in a message of term {term}")
        if data != NO_OP and data[:1] != b"\x00":
            raise CodecError(f"entry {index} is of a kind that lockd never writes: {data[:1]!r}")
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": body.commit_index,
        "prevLogIdx": body.prev_index,
        "prevLogTerm": body.prev_term,
        "entries": entries,
    }
