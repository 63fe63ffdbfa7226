"""Envelopes whose numbers no node of ours sends: decoding refuses them, so that nothing behind it overflows."""

import pytest

from lockd.proto import peers_pb2 as pb
from lockd.raft import envelopes
from lockd.raft.errors import CodecError

TOO_LARGE = envelopes.NUMBER_MAX + 1
SHA256 = bytes(32)


def envelope(term: int = 5, sequence: int = 1, **content: object) -> bytes:
    return pb.Envelope(term=term, sequence=sequence, **content).SerializeToString()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        envelope(term=TOO_LARGE, ask=pb.Ask()),
        envelope(sequence=2**64 - 1, ask=pb.Ask()),
        envelope(report=pb.Report(last_index=TOO_LARGE)),
        envelope(next_node_idx=pb.NextNodeIdx(next_index=TOO_LARGE)),
        envelope(request_vote=pb.RequestVote(last_index=TOO_LARGE)),
        envelope(request_vote=pb.RequestVote(last_term=TOO_LARGE)),
        envelope(append_entries=pb.AppendEntries(commit_index=TOO_LARGE)),
        envelope(append_entries=pb.AppendEntries(prev_index=TOO_LARGE)),
        envelope(append_entries=pb.AppendEntries(prev_term=TOO_LARGE)),
        envelope(manifest=pb.Manifest(index=TOO_LARGE, term=5, size=1, sha256=SHA256)),
    ],
)
def test_a_number_that_could_not_be_counted_on_from_is_refused(data: bytes):
    """A term of 2^64 - 1 would end every node that stands after it, again after each restart."""
    with pytest.raises(CodecError, match=r"the number \d+; the bound is 4611686018427387904"):
        envelopes.decode(data)


@pytest.mark.parametrize(
    "manifest",
    [
        pb.Manifest(index=9, term=5, size=0, sha256=SHA256),
        pb.Manifest(index=9, term=5, size=2**64 - 1, sha256=SHA256),
        pb.Manifest(index=9, term=5, size=1),
        pb.Manifest(index=9, term=5, size=1, sha256=bytes(1000)),
        pb.Manifest(index=9, term=6, size=1, sha256=SHA256),
    ],
)
def test_an_offer_that_cannot_be_a_snapshot_is_refused(manifest: pb.Manifest):
    """An empty one, or one with a checksum too long for a file's name, failed at the shelf and ended the node."""
    with pytest.raises(CodecError, match="a snapshot of .* is offered in term 5"):
        envelopes.decode(envelope(manifest=manifest))


def test_an_offer_of_none_is_a_heartbeat():
    assert envelopes.decode(envelope(manifest=pb.Manifest())).content == envelopes.Manifest()
