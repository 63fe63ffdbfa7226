"""lockd.v1.ClusterService: how this node sees the cluster."""

from collections.abc import Mapping

from lockd.access.audit import Refusals
from lockd.access.authority import Authority
from lockd.machine.apply import VERSION
from lockd.raft.replica import Replica
from lockd_client.proto import lockd_pb2 as pb

from .service import Caller


class ClusterService:
    """Each node's own view, read locally."""

    def __init__(
        self, replica: Replica, addresses: Mapping[int, str], version: str, authority: Authority, refusals: Refusals
    ) -> None:
        """addresses: where each member serves clients, by node id."""
        self._replica, self._addresses, self._version = replica, addresses, version
        self._authority, self._refusals = authority, refusals

    @property
    def leader_address(self) -> str:
        """Where the leader serves clients; empty where none is known."""
        return self._addresses.get(self._replica.leader or 0, "")

    async def Status(self, message: pb.StatusRequest, caller: Caller) -> pb.StatusResponse:  # noqa: N802 - gRPC's name
        return self.status(caller)

    def status(self, caller: Caller) -> pb.StatusResponse:
        """Raises Refused."""
        self._authority.check_known(caller.credential)
        replica, state = self._replica, self._replica.state
        engine, journal, scalars = replica.engine, replica.journal, state.scalars
        return pb.StatusResponse(
            node_id=replica.me,
            version=self._version,
            role=engine.role if journal.joined else "joining",
            leader_id=replica.leader or 0,
            leader_address=self.leader_address,
            term=engine.term,
            epoch=scalars.epoch,
            clock_ms=scalars.clock_ms,
            commit_index=journal.getRaftCommitIndex(),
            applied_index=journal.applied,
            first_log_index=journal.first,
            last_log_index=journal.last,
            held_locks=len(state.holds),
            request_records=len(state.records),
            waiters=len(state.waiters),
            sessions=state.sessions_count,
            revision=scalars.revision,
            machine_version=VERSION,
            refused=self._refusals.counts,
            peers=[
                pb.Peer(
                    node_id=peer,
                    address=self._addresses[peer],
                    connected=peer in replica.connected,
                    match_index=engine.match_index(peer),
                )
                for peer in sorted(replica.others)
            ],
        )
