"""Rule 5: a wait that would close a cycle of agents is refused at once, with the cycle in the answer."""

import pytest

from lockd.machine.outcomes import Deadlock, Queued
from tests.machine.driver import (
    EXCLUSIVE,
    SHARED,
    Machine,
    cancel,
    granted,
    lock,
    shared,
    unlock,
)


class Agents(Machine):
    """Agents of one session each have a name of one letter; what they ask for, they wait for."""

    def __init__(self):
        super().__init__()
        self.one_session = self.session(10**9)

    def who(self, agent):
        return {"session": self.one_session, "agent": agent, "owner": f"thread {agent}"}

    def holds(self, agent, *names, mode=EXCLUSIVE):
        return self.hold(*names, mode=mode, **self.who(agent))

    def waits_for(self, agent, *names, mode=EXCLUSIVE):
        return self.wait(*names, mode=mode, **self.who(agent))

    def asks(self, agent, *names, mode=EXCLUSIVE):
        return self.run(lock(*names, mode=mode, wait_ms=-1, **self.who(agent)))


@pytest.fixture
def agents():
    return Agents()


def ring(outcome):
    """The cycle as text: a-jobs b-mail: a waits for jobs, and so for b, who waits for mail, and so for a."""
    assert isinstance(outcome, Deadlock), outcome
    return " ".join(f"{link.agent}-{link.name}" for link in outcome.cycle)


def test_two_agents_that_want_what_the_other_holds(agents):
    agents.holds("a", "jobs")
    agents.holds("b", "mail")
    agents.waits_for("a", "mail")
    assert ring(agents.asks("b", "jobs")) == "b-jobs a-mail"


def test_five_agents_in_a_ring(agents):
    names = dict(zip("abcde", "vwxyz", strict=True))
    for agent, name in names.items():
        agents.holds(agent, name)
    for agent, name in zip("abcd", "wxyz", strict=True):
        agents.waits_for(agent, name)
    assert ring(agents.asks("e", "v")) == "e-v a-w b-x c-y d-z"


def test_each_link_names_session_and_owner_too(agents):
    agents.holds("a", "jobs")
    agents.holds("b", "mail")
    agents.waits_for("a", "mail")
    (first, second) = agents.asks("b", "jobs").cycle
    assert (first.owner, first.session) == ("thread b", agents.one_session)
    assert (second.owner, second.session) == ("thread a", agents.one_session)


def test_waiting_for_oneself_is_a_ring_of_one(agents):
    agents.holds("a", "jobs")
    assert ring(agents.asks("a", "jobs")) == "a-jobs"


def test_a_reader_that_wants_to_write_waits_for_itself(agents):
    agents.holds("a", "jobs", mode=SHARED)
    assert ring(agents.asks("a", "jobs", mode=EXCLUSIVE)) == "a-jobs"


def test_a_refused_wait_takes_no_place(agents):
    agents.holds("a", "jobs")
    token = agents.holds("b", "mail")
    waiting = agents.waits_for("a", "mail")
    agents.asks("b", "jobs")
    assert agents.lock_state("jobs").waiters == ()
    agents.run(unlock(token))
    assert granted(agents.last_answer(waiting))


def test_without_a_wait_there_is_no_deadlock(agents):
    agents.holds("a", "jobs")
    assert not isinstance(agents.run(lock("jobs", **agents.who("a"))), Deadlock)


# -- through sets


def test_through_a_set_that_waits(agents):
    """b waits for both names because of mail, and stands before whoever wants jobs."""
    agents.holds("a", "mail")
    agents.holds("b", "post")
    agents.waits_for("b", "jobs", "mail")
    assert ring(agents.asks("a", "jobs")) == "a-jobs b-mail"


def test_a_set_closes_a_ring_by_any_of_its_names(agents):
    agents.holds("a", "jobs")
    agents.holds("b", "mail")
    agents.waits_for("a", "mail")
    assert ring(agents.asks("b", "free", "jobs")) == "b-jobs a-mail"


# -- through queues


def test_through_the_queue_to_those_ahead(agents):
    """c wants to read what a waits to write, and a waits for what c holds."""
    agents.holds("x", "jobs", mode=SHARED)
    agents.holds("c", "mail")
    agents.waits_for("a", "jobs", "mail")
    assert ring(agents.asks("c", "jobs", mode=SHARED)) == "c-jobs a-mail"


def test_readers_ahead_are_in_a_writers_way_back_to_the_nearest_writer(agents):
    """r1 waits for what z holds. Between it and z are a reader and nobody who wants to write."""
    agents.holds("x", "jobs")
    agents.holds("z", "mail")
    agents.waits_for("r1", shared("jobs"), "mail")
    agents.waits_for("r2", "jobs", mode=SHARED)
    assert ring(agents.asks("z", "jobs")) == "z-jobs r1-mail"


def test_what_is_ahead_of_the_nearest_writer_is_in_that_ones_way(agents):
    agents.holds("x", "jobs")
    agents.holds("z", "mail")
    agents.waits_for("r1", shared("jobs"), "mail")
    agents.waits_for("w", "jobs")
    assert ring(agents.asks("z", "jobs", mode=SHARED)) == "z-jobs w-jobs r1-mail"


def test_readers_are_in_no_readers_way(agents):
    agents.holds("x", "jobs")
    agents.holds("z", "mail")
    agents.waits_for("r1", shared("jobs"), "mail")
    assert agents.asks("z", "jobs", mode=SHARED) == Queued(1)


def test_a_writer_without_an_agent_hides_nobody_ahead_of_it(agents):
    agents.holds("x", "jobs")
    agents.holds("z", "mail")
    agents.waits_for("r1", shared("jobs"), "mail")
    agents.wait("jobs")
    assert ring(agents.asks("z", "jobs")) == "z-jobs r1-mail"


def test_through_readers_that_hold_together(agents):
    agents.holds("a", "jobs", mode=SHARED)
    agents.holds("b", "jobs", mode=SHARED)
    agents.holds("c", "mail")
    agents.waits_for("b", "mail")
    assert ring(agents.asks("c", "jobs")) == "c-jobs b-mail"


# -- no false alarm


@pytest.mark.parametrize("mode", [EXCLUSIVE, SHARED], ids=str)
def test_sixteen_agents_of_one_session_on_one_name_never_see_it(agents, mode):
    """Threads, or tasks, of one client: they take the name in turn, again and again."""
    threads = [f"thread {number}" for number in range(16)]
    for _ in range(3):
        for thread in threads:
            assert not isinstance(agents.asks(thread, "jobs", mode=mode), Deadlock)
        while tokens := agents.tokens("jobs"):
            agents.run(*map(unlock, tokens))


def test_agents_are_told_apart_by_session_and_caller(agents):
    agents.hold("jobs", session=agents.session(), agent="a")
    agents.hold("mail", agent="a")
    agents.holds("a", "post")
    assert agents.asks("a", "jobs") == Queued(0)
    assert agents.asks("a", "mail") == Queued(0)


def test_a_request_without_an_agent_is_not_checked(agents):
    agents.hold("jobs", session=agents.one_session)
    agents.wait("jobs", session=agents.one_session)
    agents.hold("mail")
    agents.wait("mail")


def test_who_waits_for_nobody_in_the_ring_is_let_in(agents):
    agents.holds("a", "jobs")
    agents.holds("b", "mail")
    agents.waits_for("a", "mail")
    agents.waits_for("c", "jobs")
    assert agents.asks("d", "mail") == Queued(1)


def test_an_agent_that_holds_nothing_closes_no_ring(agents):
    """Here its wait before is being cancelled: the Cancel is still on its way."""
    agents.holds("x", "jobs")
    old = agents.waits_for("a", "jobs")
    assert agents.asks("a", "jobs") == Queued(1)
    agents.run(cancel(old))
    assert agents.lock_state("jobs").waiters_count == 1


def test_another_wait_of_the_same_agent_closes_no_ring(agents):
    """Only what it holds does. Here it holds something else."""
    agents.holds("x", "jobs")
    agents.holds("a", "mail")
    agents.waits_for("a", "jobs")
    assert agents.asks("a", "jobs") == Queued(1)


def test_a_ring_that_time_will_open_is_one_all_the_same(agents):
    """A wait with a bound, and a lease: whoever is refused need not wait for them."""
    agents.hold("jobs", ttl_ms=0, **agents.who("a"))
    agents.holds("b", "mail")
    agents.wait("mail", **{**agents.who("a"), "wait_ms": 100})
    assert ring(agents.asks("b", "jobs")) == "b-jobs a-mail"
    agents.entry(at=101)
    assert agents.asks("b", "jobs") == Queued(0)


def test_a_lock_delay_is_nobody_to_wait_for(agents):
    session = agents.session(100)
    agents.hold("jobs", session=session, agent="a", lock_delay_ms=60_000)
    agents.holds("b", "mail")
    agents.entry(at=101)
    assert agents.asks("b", "jobs") == Queued(0)


# -- the bound of the search


def test_a_search_that_takes_too_long_admits_the_wait_and_says_so(agents, monkeypatch):
    monkeypatch.setattr("lockd.machine.deadlock.CYCLE_SEARCH_MAX", 3)
    for agent, name in zip("abcde", "vwxyz", strict=True):
        agents.holds(agent, name)
    for agent, name in zip("abcd", "wxyz", strict=True):
        agents.waits_for(agent, name)
    assert agents.asks("e", "v") == Queued(0, unchecked=True)
