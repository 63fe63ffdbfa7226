"""Clients and resources that were registered by name."""

import pytest

from lockd.machine.commands import Kind, ListRegistered, Register, Unregister
from lockd.machine.outcomes import Registered, Unregistered
from tests.machine.driver import call, cancel, lock, outcomes, shared, unlock, whole

CLIENT, RESOURCE = Kind.CLIENT, Kind.RESOURCE


def register(kind, name):
    return Register(call=call(), kind=kind, name=name)


def unregister(kind, id):
    return Unregister(call=call(), kind=kind, id=id)


def registered(kind, **ask):
    return ListRegistered(call=call(), kind=kind, **ask)


def test_registering_makes_an_entry_or_finds_it(machine):
    assert machine.run(register(RESOURCE, "jobs")) == Registered(RESOURCE, ((1, "jobs"),))
    assert machine.run(register(RESOURCE, "mail")) == Registered(RESOURCE, ((2, "mail"),))
    before = whole(machine.state)
    assert machine.run(register(RESOURCE, "jobs")) == Registered(RESOURCE, ((1, "jobs"),))
    assert whole(machine.state) == before


def test_a_client_and_a_resource_may_share_a_name(machine):
    assert outcomes(machine.entry(register(CLIENT, "ann"), register(RESOURCE, "ann"))) == [
        Registered(CLIENT, ((1, "ann"),)),
        Registered(RESOURCE, ((2, "ann"),)),
    ]


def test_an_id_is_never_used_again(machine):
    machine.run(register(CLIENT, "ann"))
    machine.run(unregister(CLIENT, 1))
    machine.restart()
    assert machine.run(register(CLIENT, "ann")) == Registered(CLIENT, ((2, "ann"),))


def test_removing_says_whether_there_was_such_an_entry(machine):
    machine.run(register(CLIENT, "ann"))
    assert machine.run(unregister(RESOURCE, 1)) == Unregistered(found=False)
    assert machine.run(unregister(CLIENT, 1)) == Unregistered(found=True)
    assert machine.run(unregister(CLIENT, 1)) == Unregistered(found=False)
    assert machine.state.registry == {}


@pytest.mark.parametrize("take", [lambda machine: machine.hold("jobs", owner="ann"), None], ids=["holds", "waits"])
def test_a_client_stays_while_something_has_it_as_owner(machine, take):
    machine.run(register(CLIENT, "ann"))
    token = take(machine) if take else machine.hold("jobs")
    waiting = None if take else machine.wait("jobs", owner="ann")
    assert machine.run(unregister(CLIENT, 1)) == Unregistered(found=True, in_use=True)
    machine.run(cancel(waiting) if waiting else unlock(token))
    assert machine.run(unregister(CLIENT, 1)) == Unregistered(found=True)


def held(machine):
    machine.hold("mail", shared("jobs"))
    return [unlock(1)], 0


def waited_for(machine):
    machine.hold("mail")
    waiting = machine.wait("mail", "jobs")
    return [cancel(waiting)], 0


def resting(machine):
    machine.hold("jobs", ttl_ms=10, lock_delay_ms=100)
    machine.entry(at=11)
    return [], 112


@pytest.mark.parametrize("use", [held, waited_for, resting])
def test_a_resource_stays_while_its_name_is_held_or_waited_for_or_rests(machine, use):
    machine.run(register(RESOURCE, "jobs"))
    end, at = use(machine)
    before = whole(machine.state)
    assert machine.run(unregister(RESOURCE, 1)) == Unregistered(found=True, in_use=True)
    assert whole(machine.state) == before
    machine.entry(*end, at=at)
    assert machine.run(unregister(RESOURCE, 1)) == Unregistered(found=True)


def test_an_owner_is_no_resource_and_a_lock_no_client(machine):
    machine.entry(register(RESOURCE, "ann"), register(CLIENT, "jobs"), lock("jobs", owner="ann"))
    assert outcomes(machine.entry(unregister(RESOURCE, 1), unregister(CLIENT, 2))) == [Unregistered(found=True)] * 2


def test_entries_are_listed_in_pages_by_their_ids(machine):
    machine.entry(*(register(kind, name) for name in "cab" for kind in (CLIENT, RESOURCE)))
    assert machine.run(registered(CLIENT)) == Registered(CLIENT, ((1, "c"), (3, "a"), (5, "b")))
    assert machine.run(registered(CLIENT, limit=2)) == Registered(CLIENT, ((1, "c"), (3, "a")), next=3)
    assert machine.run(registered(CLIENT, limit=2, after=3)) == Registered(CLIENT, ((5, "b"),))
    assert machine.run(registered(RESOURCE, limit=3)) == Registered(RESOURCE, ((2, "c"), (4, "a"), (6, "b")))


def test_one_is_found_by_its_name(machine):
    machine.entry(register(CLIENT, "ann"), register(RESOURCE, "jobs"))
    assert machine.run(registered(RESOURCE, name="jobs")) == Registered(RESOURCE, ((2, "jobs"),))
    assert machine.run(registered(RESOURCE, name="ann")) == Registered(RESOURCE, ())


def test_one_is_found_by_its_id(machine):
    machine.entry(register(CLIENT, "ann"), register(RESOURCE, "jobs"))
    assert machine.run(registered(RESOURCE, id=2)) == Registered(RESOURCE, ((2, "jobs"),))
    for ask in (registered(CLIENT, id=2), registered(CLIENT, id=3)):
        assert machine.run(ask) == Registered(CLIENT, ())


def test_what_is_removed_is_listed_no_more(machine):
    machine.entry(*(register(RESOURCE, name) for name in "abcd"))
    machine.entry(unregister(RESOURCE, 2), unregister(RESOURCE, 4))
    assert machine.run(registered(RESOURCE, limit=1)) == Registered(RESOURCE, ((1, "a"),), next=1)
    machine.restart()
    assert machine.run(registered(RESOURCE, limit=2)) == Registered(RESOURCE, ((1, "a"), (3, "c")))


def test_a_page_of_none_is_empty_also_where_there_are_entries(machine):
    """No edge asks for one; a member that does must not end whoever applies it."""
    machine.run(register(CLIENT, "ann"))
    assert machine.run(registered(CLIENT, limit=0)) == Registered(CLIENT, ())
