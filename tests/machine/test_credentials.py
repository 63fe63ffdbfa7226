"""Bearer tokens in the machine, and what belongs to whom."""

from dataclasses import replace

from lockd.machine.commands import CreateCredential, Deny, ListCredentials, RevokeCredential, Role
from lockd.machine.outcomes import (
    CredentialCreated,
    CredentialRevoked,
    Credentials,
    CredentialShown,
    NotHeld,
    Refusal,
    Released,
    Renewed,
)
from tests.machine.driver import (
    break_lock,
    call,
    free_key,
    lock,
    outcomes,
    renew,
    request,
    unlock,
    unlock_by_name,
    whole,
)


def create(name="ci", *, sha256=b"hash", role=Role.LOCK, prefixes=("ci/",), req=None):
    request_id = req or request(free_key(caller="ops"))
    return CreateCredential(call=call(), request=request_id, name=name, role=role, prefixes=prefixes, sha256=sha256)


def revoke(id):
    return RevokeCredential(call=call(), id=id)


def listed(**ask):
    return ListCredentials(call=call(), **ask)


def test_a_credential_is_found_by_the_hash_of_its_secret(machine):
    assert machine.run(create(), at=500) == CredentialCreated(1)
    found = machine.state.credential_of(b"hash")
    assert (found.id, found.name, found.role, found.prefixes) == (1, "ci", Role.LOCK, ("ci/",))
    assert (found.created_ms, found.created_by) == (500, "ops")
    assert machine.state.credential_of(b"hasp") is None


def test_creating_acts_once(machine):
    ask = create()
    machine.run(ask)
    assert machine.run(replace(ask, call=call(2))) == CredentialCreated(1)
    machine.run(revoke(1))
    assert machine.run(replace(ask, call=call(3))) == CredentialCreated(1), "what it was answered"
    assert machine.state.credential_of(b"hash") is None, "and a late repetition brings nothing back"


def test_two_credentials_never_share_a_secret(machine):
    machine.run(create())
    before = whole(machine.state)
    assert machine.run(create("other")) is Refusal.SECRET_IN_USE
    assert whole(machine.state) == before


def test_several_credentials_may_have_one_name(machine):
    assert outcomes(machine.entry(create(sha256=b"1"), create(sha256=b"2"))) == [
        CredentialCreated(1),
        CredentialCreated(2),
    ]


def test_one_that_was_revoked_is_gone_and_its_id_is_not_used_again(machine):
    machine.run(create())
    assert machine.run(revoke(1)) == CredentialRevoked(True)
    assert machine.state.credential_of(b"hash") is None
    assert machine.run(revoke(1)) == CredentialRevoked(False)
    machine.restart()
    assert machine.run(create()) == CredentialCreated(2)


def test_they_are_listed_in_pages_without_their_hashes(machine):
    machine.entry(*(create(name, sha256=name.encode()) for name in ("c", "a", "b")))
    first = machine.run(listed(limit=2))
    assert first == Credentials(tuple(shown(id, name) for id, name in ((1, "c"), (2, "a"))), next=2)
    assert machine.run(listed(limit=2, after=2)) == Credentials((shown(3, "b"),))


def shown(id, name):
    return CredentialShown(id=id, name=name, role=Role.LOCK, prefixes=("ci/",), created_ms=0, created_by="ops")


def test_what_a_leader_denies_changes_nothing(machine):
    before = whole(machine.state)
    assert machine.run(Deny(call=call(), is_known=True)) is Refusal.DENIED
    assert machine.run(Deny(call=call(), is_known=False)) is Refusal.UNKNOWN_CALLER
    assert whole(machine.state) == before


# -- what is another's


def test_a_hold_is_released_by_nobody_but_whom_it_belongs_to(machine):
    token = machine.hold("jobs")
    (holder,) = machine.holders("jobs")
    assert machine.run(unlock(token, caller="eve")) == NotHeld((holder,))
    assert machine.tokens("jobs") == [token]
    assert machine.run(unlock(token)) == Released(token)


def test_a_lease_is_renewed_by_nobody_but_whom_it_belongs_to(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    assert machine.run(renew(token, 9_000, caller="eve")) == NotHeld()
    assert machine.run(renew(token, 2_000)) == Renewed(2_000)


def test_by_name_alone_a_caller_frees_its_own_holds_alone(machine):
    token = machine.run(lock("jobs", by_name=True)).token
    assert isinstance(machine.run(unlock_by_name("jobs", caller="eve")), NotHeld)
    assert machine.run(unlock_by_name("jobs")) == Released(token)


def test_whoever_may_force_frees_the_holds_of_others(machine):
    token = machine.hold("jobs")
    assert machine.run(break_lock(token, caller="ops")) == Released(token)
    assert machine.tokens("jobs") == []
