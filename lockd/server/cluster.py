"""lockd.v1.ClusterService: how this node sees the cluster."""

from collections.abc import Mapping

from lockd.machine.apply import VERSION
from lockd.raft.replica import Replica
from lockd_client.proto import lockd_pb2 as pb

from .service import Caller


class ClusterService:
    def __init__(self, replica: Replica, addresses: Mapping[int, str], version: str) -> None:
        """addresses: where each member serves clients, by node id."""
        self._replica, self._addresses, self._version = replica, addresses, version

    async def Status(self, message: pb.StatusRequest, caller: Caller) -> pb.StatusResponse:  # noqa: N802 - gRPC's shape
        replica = self._replica
        engine, journal, scalars = replica.engine, replica.journal, replica.state.scalars
        leader = engine.leader or 0
        return pb.StatusResponse(
            node_id=replica.me,
            version=self._version,
            role=engine.role if journal.joined else "joining",
            leader_id=leader if replica.reaches_leader else 0,
            leader_address=self._addresses.get(leader, "") if replica.reaches_leader else "",
            term=engine.term,
            epoch=scalars.epoch,
            clock_ms=scalars.clock_ms,
            commit_index=journal.getRaftCommitIndex(),
            applied_index=journal.applied,
            first_log_index=journal.first,
            last_log_index=journal.last,
            held_locks=len(replica.state.holds),
            request_records=len(replica.state.records),
            machine_version=VERSION,
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
