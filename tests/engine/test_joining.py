"""When a node with a blank store votes: never before it may, and the others go on without it."""

from lockd.raft.envelopes import Content, Envelope, Report
from lockd.raft.joining import ASK_EVERY_S, Joining
from tests.engine.cluster import Cluster, Member
from tests.engine.rig import HandClock, Ours, append, entries


def ask_vote(term: int) -> dict[str, object]:
    return {"type": "request_vote", "term": term, "last_log_index": 100, "last_log_term": term - 1}


class Watch:
    """Votes, given or asked for, that left nodes which have not joined."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.early: list[tuple[int, str]] = []
        cluster.taps.append(self._see)

    def _see(self, source: int, target: int, envelope: Envelope) -> Content:
        message = envelope.content
        what = message["type"] if isinstance(message, dict) else ""
        if what in ("request_vote", "response_vote") and not self._cluster.members[source].disk.journal.joined:
            self.early.append((source, what))
        return message


def joined(member: Member) -> bool:
    return member.process.alive and member.replica.journal.joined


# -- founding


def test_a_cluster_is_founded_once_all_have_said_that_they_are_blank():
    cluster = Cluster(boot=False)
    watch = Watch(cluster)
    first, second, third = cluster.members.values()
    first.boot()
    second.boot()
    cluster.run(10.0)
    assert not joined(first)
    assert not joined(second)
    assert first.replica.missing == second.replica.missing == [3]
    third.boot()
    cluster.do(range(3))
    assert all(joined(member) for member in cluster.members.values())
    assert watch.early == []


def test_a_node_that_was_killed_while_founding_takes_part_again():
    cluster = Cluster(boot=False)
    watch = Watch(cluster)
    for member in cluster.members.values():
        member.boot()
    cluster.run(0.003)
    cluster.members[1].kill()
    cluster.run(1.0)
    cluster.members[1].boot()
    cluster.do(range(3))
    assert watch.early == []


def test_a_single_node_founds_alone():
    cluster = Cluster(1)
    cluster.do(range(2))
    assert joined(cluster.leader)


# -- a lost store


def test_a_node_that_lost_its_store_joins_when_it_has_caught_up():
    cluster = Cluster(compact_entries=10)
    cluster.do(range(20))
    watch, lost = Watch(cluster), cluster.followers[0]
    lost.kill()
    lost.lose_disk()
    cluster.isolate(lost)
    lost.boot()
    cluster.do(range(20, 40))  # the other two go on
    assert not joined(lost)
    known = cluster.leader.replica.journal.applied
    cluster.heal()
    cluster.until(lambda: joined(lost))
    assert lost.replica.journal.applied > known
    assert watch.early == []
    cluster.settle()
    assert list(lost.replica.state.all_records()) == list(cluster.leader.replica.state.all_records())
    cluster.leader.kill()
    cluster.do(range(40, 42))  # with its vote


def test_a_blank_node_does_not_help_to_forget_what_it_acknowledged():
    """One entry is on two disks; one of them is lost, the other's node is down. The third knows nothing of it."""
    cluster = Cluster()
    cluster.do(range(2))
    cluster.settle()
    keeps = cluster.leader
    loses, behind = cluster.followers
    cluster.isolate(behind)
    cluster.do(range(2, 5), through=keeps)
    keeps.kill()
    loses.kill()
    loses.lose_disk()
    watch = Watch(cluster)
    cluster.heal()
    loses.boot()
    cluster.run(20.0)
    assert not behind.replica.engine.is_leader
    assert not joined(loses)
    assert watch.early == []
    keeps.boot()
    cluster.until(lambda: joined(loses))
    cluster.settle()
    assert all(member.replica.state.lock("lock4").holders for member in cluster.members.values())


def test_a_blank_node_acknowledges_nothing_to_a_leader_that_was_deposed_before():
    """The leader slept through its deposition. The node that helped to depose it comes back without its store."""
    cluster = Cluster()
    cluster.do(range(2))
    cluster.settle()
    deposed = cluster.leader
    loses, leads = cluster.followers
    cluster.isolate(deposed)
    cluster.until(lambda: any(one.replica.engine.is_leader for one in (loses, leads)))
    if loses.replica.engine.is_leader:
        loses, leads = leads, loses
    cluster.do(range(2, 4), through=leads)
    leads.kill()
    loses.kill()
    loses.lose_disk()
    cluster.heal()
    loses.boot()
    cluster.run(5.0)
    assert loses.replica.journal.last == 1
    assert not deposed.replica.state.lock("lock3").holders
    leads.boot()
    cluster.until(lambda: joined(loses))
    cluster.settle()
    assert all(member.replica.state.lock("lock3").holders for member in cluster.members.values())


def test_with_two_of_three_stores_lost_nobody_leads_and_nothing_is_made_up():
    cluster = Cluster()
    cluster.do(range(5))
    cluster.settle()
    keeps, *lost = cluster.members.values()
    for member in lost:
        member.kill()
        member.lose_disk()
        member.boot()
    watch = Watch(cluster)
    cluster.run(30.0)
    assert not any(member.replica.engine.is_leader for member in cluster.members.values())
    assert not any(joined(member) for member in lost)
    assert watch.early == []
    assert keeps.replica.state.lock("lock4").holders
    assert keeps.disk.journal.last >= 5


def test_the_member_that_is_missing_may_be_the_one_that_remembers():
    """Four of five are there, and a leader with them: the blank one still waits for the fifth."""
    cluster = Cluster(5)
    cluster.do(range(3))
    lost, away = cluster.followers[:2]
    away.kill()
    lost.kill()
    lost.lose_disk()
    lost.boot()
    cluster.do(range(3, 6))
    cluster.run(10.0)
    assert lost.replica.missing == [away.id]
    assert not joined(lost)
    away.boot()
    cluster.until(lambda: joined(lost))


def test_a_node_that_joined_stays_joined():
    cluster = Cluster()
    cluster.do(range(3))
    follower = cluster.followers[0]
    follower.kill()
    follower.boot()
    cluster.run(0.001)
    assert joined(follower)


# -- the engine


def test_a_blank_engine_neither_votes_nor_stands(clock: HandClock):
    ours = Ours(clock, joined=False)
    for term in range(1, 5):
        ours.receives(2, ask_vote(term))
        clock.go(10.0)
        ours.ticks()
    assert ours.sends() == []
    assert ours.engine.role == "follower"


def test_a_blank_engine_follows_once_it_knows_the_highest_term(clock: HandClock):
    ours = Ours(clock, joined=False)
    ours.engine.vote_no_more_below(3)
    ours.receives(2, append(3, 1, 0, entries(2, 5, 3), commit=4))
    ours.ticks()
    assert ours.acknowledged() == 5
    assert [index for index, _, _ in ours.applied] == [2, 3, 4]


def test_a_blank_engine_hears_no_leader_before(clock: HandClock):
    """One that was deposed without this node's knowledge would have it acknowledge what contradicts its former life."""
    ours = Ours(clock, joined=False)
    ours.receives(2, append(3, 1, 0, entries(2, 5, 3), commit=4))
    ours.ticks()
    assert ours.sends() == []
    assert ours.engine.journal.last == 1


def test_an_engine_that_joins_votes_in_no_term_that_was_named(clock: HandClock):
    ours = Ours(clock, joined=False)
    ours.engine.vote_no_more_below(5)
    ours.engine.join()
    for term in (4, 5):
        ours.receives(2, ask_vote(term))
        assert ours.sends() == []
    ours.receives(2, ask_vote(6))
    assert [message["type"] for _, message in ours.sends()] == ["response_vote"]


def test_an_engine_that_knows_a_later_term_keeps_it(clock: HandClock):
    ours = Ours(clock, joined=False)
    ours.engine.vote_no_more_below(9)
    ours.engine.vote_no_more_below(5)
    assert ours.engine.term == 9


# -- the record of answers


def test_what_the_members_said():
    joining = Joining(frozenset({2, 3}))
    assert (joining.missing, joining.may_found, joining.must_catch_up) == ([2, 3], False, False)
    joining.note(2, 4, Report(blank=True, last_index=1))
    assert (joining.missing, joining.may_found, joining.must_catch_up) == ([3], False, False)
    joining.note(3, 7, Report(blank=False, last_index=9))
    assert (joining.missing, joining.may_found, joining.must_catch_up) == ([], False, True)
    assert joining.highest_term == 7


def test_the_first_answer_of_a_member_counts_and_the_highest_term():
    joining = Joining(frozenset({2}))
    joining.note(2, 4, Report(blank=True, last_index=1))
    joining.note(2, 5, Report(blank=False, last_index=9))
    assert joining.may_found
    assert joining.highest_term == 5


def test_members_are_asked_from_time_to_time():
    joining = Joining(frozenset({2}))
    assert joining.is_time_to_ask(10.0)
    assert not joining.is_time_to_ask(10.0 + ASK_EVERY_S / 2)
    assert joining.is_time_to_ask(10.0 + 2 * ASK_EVERY_S)
    joining.note(2, 4, Report(blank=True, last_index=1))
    assert not joining.is_time_to_ask(100.0)
