"""Who a caller is, and what they may do."""

import hashlib
from typing import get_args

import pytest

from lockd.access.authority import Authority, Identity
from lockd.access.refusal import Reason, Refused
from lockd.config import Auth, CertificateGrant, DeclaredToken
from lockd.machine import commands as c
from lockd.machine.outcomes import Refusal, Registered
from tests.machine.driver import Machine, call, free_key, lock, request

SECRET = "lockd_" + "s" * 43  # gitleaks would call it one; it opens nothing
X = c.Mode.EXCLUSIVE


def hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def declared(name="ann", role="admin", *, secret=SECRET, prefixes=()):
    return DeclaredToken(name=name, role=role, prefixes=prefixes, sha256=hashed(secret))


def authority_of(*tokens, certificates=(), machine=None):
    state = (machine or Machine()).state
    return Authority(Auth(tokens=tokens, certificates=certificates), lambda: state)


def created(machine, secret, *, name="ci", role=c.Role.LOCK, prefixes=("ci/",)):
    ask = c.CreateCredential(
        call=call(), request=request(), name=name, role=role, prefixes=prefixes, sha256=hashed(secret)
    )
    return machine.run(ask).id


# -- who


def test_a_declared_token_gives_its_name():
    authority = authority_of(declared("ops"), declared("ci", secret="t" * 40))
    assert authority.of_secret(SECRET).name == "ops"
    assert authority.of_secret("t" * 40).name == "ci"


def test_a_token_of_the_log_gives_its_name_until_it_is_revoked():
    machine = Machine()
    id = created(machine, SECRET)
    authority = authority_of(machine=machine)
    assert authority.of_secret(SECRET) == Identity("ci", f"token:{id}")
    assert authority.knows(f"token:{id}")
    machine.run(c.RevokeCredential(call=call(), id=id))
    assert not authority.knows(f"token:{id}")
    with pytest.raises(Refused, match="revoked") as refused:
        authority.of_secret(SECRET)
    assert refused.value.reason is Reason.UNAUTHENTICATED


@pytest.mark.parametrize("secret", ["", "wrong", SECRET + "x", SECRET[:-1], "\udcff", hashed(SECRET).hex()])
def test_another_secret_is_not_known_and_not_repeated(secret):
    with pytest.raises(Refused) as refused:
        authority_of(declared()).of_secret(secret)
    assert refused.value.reason is Reason.UNAUTHENTICATED
    assert not secret or secret not in str(refused.value)


def test_a_declared_token_that_is_taken_out_is_not_known_any_more():
    authority = authority_of(declared())
    credential = authority.of_secret(SECRET).credential
    authority.declare(Auth(tokens=(declared(secret="n" * 40),)))
    assert not authority.knows(credential)
    assert authority.of_secret("n" * 40).name == "ann"


def test_a_certificate_gives_its_name_where_it_is_granted_something():
    authority = authority_of(certificates=(CertificateGrant(name="backup", role="lock"),))
    assert authority.of_certificate("backup") == Identity("backup", "cert:backup")
    with pytest.raises(Refused, match=r"auth.certificates .* has no stranger"):
        authority.of_certificate("stranger")


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "-dash", "a\nb"])
def test_a_certificate_whose_name_is_no_identity_is_refused(name):
    with pytest.raises(Refused, match="cannot be an identity"):
        Authority(None, lambda: Machine().state).of_certificate(name)


# -- what

READING: list[c.Command] = [
    c.IsLocked(call=call(), name="ci/a"),
    c.Get(call=call(), name="ci/a"),
    c.ListHolds(call=call(), prefix="ci/"),
    c.CheckToken(call=call(), name="ci/a", token=1),
    c.ListHolds(call=call(), token=1),
    c.ListRegistered(call=call(), kind=c.Kind.CLIENT, name="db/ann"),
    c.ListRegistered(call=call(), kind=c.Kind.RESOURCE, name="ci/a"),
    c.ListRegistered(call=call(), kind=c.Kind.RESOURCE),
]
LOCKING: list[c.Command] = [
    lock("ci/a", "ci/b"),
    c.Release(call=call(), request=request(), token=1),
    c.Release(call=call(), request=request(), name="ci/a", by_name=True),
    c.Cancel(call=call(), key=request().key),
    c.Renew(call=call(), caller="ann", token=1, ttl_ms=5_000),
    c.OpenSession(call=call(), request=request(), ttl_ms=5_000),
    c.KeepAlive(call=call(), caller="ann", session=1),
    c.CloseSession(call=call(), caller="ann", session=1),
    c.Register(call=call(), kind=c.Kind.CLIENT, name="db/ann"),
    c.Register(call=call(), kind=c.Kind.RESOURCE, name="ci/a"),
    c.Unregister(call=call(), kind=c.Kind.CLIENT, id=99),
]
BREAKING: list[c.Command] = [c.Release(call=call(), request=request(), token=1, name="ci/a", force=True)]
MANAGING: list[c.Command] = [
    c.CreateCredential(call=call(), request=request(), name="new", role=c.Role.READ, sha256=b"h" * 32),
    c.RevokeCredential(call=call(), id=1),
    c.ListCredentials(call=call()),
]
OUTSIDE = [
    c.IsLocked(call=call(), name="ci"),
    c.Get(call=call(), name="db/a"),
    c.ListHolds(call=call(), prefix="c"),
    c.ListHolds(call=call()),
    c.CheckToken(call=call(), name="db/a", token=1),
    lock("ci/a", "db/a"),
    c.Release(call=call(), request=request(), name="db/a", by_name=True),
    c.ListHolds(call=call(), token=1, prefix="db/"),
    c.Register(call=call(), kind=c.Kind.RESOURCE, name="db/a"),
    c.ListRegistered(call=call(), kind=c.Kind.RESOURCE, name="db/a"),
]


def denied(authority, command):
    credential = authority.of_secret(SECRET).credential
    try:
        authority.check(credential, command)
    except Refused as refused:
        assert authority.judge(credential, command) is Refusal.DENIED, "a leader says the same"
        return refused.reason
    assert authority.judge(credential, command) is None
    return None


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        ("read", READING, LOCKING + BREAKING + MANAGING),
        ("lock", READING + LOCKING, BREAKING + MANAGING),
        ("admin", READING + LOCKING + BREAKING + MANAGING, []),
    ],
)
def test_each_role_may_do_what_it_is_for_and_no_more(role, allowed, refused):
    authority = authority_of(declared(role=role))
    assert {denied(authority, command) for command in allowed} == {None}
    assert {denied(authority, command) for command in refused} <= {Reason.PERMISSION_DENIED}


OF_OTHERS: list[c.Command] = [
    lock("a", req=request(free_key(caller="eve"))),
    c.Release(call=call(), request=request(free_key(caller="eve")), token=1),
    c.OpenSession(call=call(), request=request(free_key(caller="eve")), ttl_ms=5_000),
    c.Cancel(call=call(), key=free_key(caller="eve")),
    c.Renew(call=call(), caller="eve", token=1, ttl_ms=5_000),
    c.KeepAlive(call=call(), caller="eve", session=1),
    c.CloseSession(call=call(), caller="eve", session=1),
]


@pytest.mark.parametrize("command", OF_OTHERS, ids=lambda each: type(each).__name__)
def test_a_command_in_another_name_is_denied(command):
    """As no node makes it."""
    assert denied(authority_of(declared()), command) is Reason.PERMISSION_DENIED


NODES_OWN = {c.OpenNode, c.Withdraw, c.Barrier, c.Deny}


@pytest.mark.parametrize("kind", get_args(c.Command))
def test_what_callers_ask_takes_a_credential_and_what_nodes_ask_takes_none(kind):
    ask = object.__new__(kind)
    if kind is c.Release:
        object.__setattr__(ask, "force", False)
    expected = None if kind in NODES_OWN else Refusal.UNKNOWN_CALLER
    assert authority_of(declared()).judge("", ask) is expected


@pytest.mark.parametrize("command", OUTSIDE, ids=lambda each: type(each).__name__)
def test_prefixes_bound_the_names(command):
    machine = Machine()
    machine.hold("ci/a")
    authority = authority_of(declared(role="admin", prefixes=("ci/", "x")), machine=machine)
    assert denied(authority, command) is Reason.PERMISSION_DENIED
    assert {denied(authority, each) for each in READING + LOCKING + BREAKING} == {None}
    assert {denied(authority, each) for each in MANAGING} == {Reason.PERMISSION_DENIED}


def test_an_admin_with_prefixes_breaks_no_hold_that_spans_other_names():
    machine = Machine()
    token = machine.hold("ci/a", "db/a")
    authority = authority_of(declared(prefixes=("ci/",)), machine=machine)
    ask = c.Release(call=call(), request=request(), token=token, force=True)
    assert denied(authority, ask) is Reason.PERMISSION_DENIED
    assert denied(authority_of(declared(), machine=machine), ask) is None


def test_an_admin_with_prefixes_breaks_no_hold_that_is_still_to_be_granted():
    """Tokens are numbers in a row: the next one may be that of any lock by the time the command is applied."""
    machine = Machine()
    ended = machine.hold("db/a")
    machine.run(c.Release(call=call(), request=request(), token=ended, force=True))
    authority = authority_of(declared(prefixes=("ci/",)), machine=machine)
    for name in ("", "ci/a"):
        ask = c.Release(call=call(), request=request(), token=ended + 1, name=name, force=True)
        assert denied(authority, ask) is Reason.PERMISSION_DENIED
        assert denied(authority_of(declared(), machine=machine), ask) is None
    assert denied(authority, c.Release(call=call(), request=request(), token=ended, force=True)) is None


def test_a_refusal_to_break_a_hold_tells_no_name_that_the_caller_did_not_give():
    machine = Machine()
    token = machine.hold("ci/a", "db/a")
    authority = authority_of(declared(prefixes=("ci/",)), machine=machine)
    ask = c.Release(call=call(), request=request(), token=token, name="ci/a", force=True)
    with pytest.raises(Refused, match=f"^hold {token} is outside of the prefixes of ann: 'ci/'$"):
        authority.check(authority.of_secret(SECRET).credential, ask)


def registered(machine, *names, kind=c.Kind.RESOURCE):
    """Their ids."""
    return [machine.run(c.Register(call=call(), kind=kind, name=name)).entries[0][0] for name in names]


def unregister(id, kind=c.Kind.RESOURCE):
    return c.Unregister(call=call(), kind=kind, id=id)


def test_prefixes_bound_the_resources_that_may_be_taken_out():
    machine = Machine()
    inside, outside = registered(machine, "ci/a", "db/a")
    authority = authority_of(declared(role="lock", prefixes=("ci/",)), machine=machine)
    assert denied(authority, unregister(inside)) is None
    assert denied(authority, unregister(outside)) is Reason.PERMISSION_DENIED
    assert denied(authority, unregister(outside, c.Kind.CLIENT)) is None, "there is no such client"
    assert denied(authority_of(declared(role="lock"), machine=machine), unregister(outside)) is None
    with pytest.raises(Refused, match=f"^resource {outside} is outside of the prefixes of ann: 'ci/'$"):
        authority.check(authority.of_secret(SECRET).credential, unregister(outside))


def test_a_resource_that_is_still_to_be_registered_is_not_taken_out_by_whoever_is_bound_to_prefixes():
    """As with tokens: the next id may be that of any name by the time the command is applied."""
    machine = Machine()
    (last,) = registered(machine, "ann", kind=c.Kind.CLIENT)
    authority = authority_of(declared(role="lock", prefixes=("ci/",)), machine=machine)
    assert denied(authority, unregister(last + 1)) is Reason.PERMISSION_DENIED
    machine.run(unregister(last, c.Kind.CLIENT))
    assert denied(authority, unregister(last)) is None, "ids are not used again"


def shown(authority, machine, command):
    return authority.shown(authority.of_secret(SECRET).credential, command, machine.run(command))


@pytest.mark.parametrize(("prefixes", "seen"), [(("ci/",), ["ci/a"]), ((), ["ci/a", "db/a"]), (("x",), [])])
def test_of_a_hold_that_is_found_by_its_token_the_names_within_the_prefixes_are_shown(prefixes, seen):
    machine = Machine()
    token = machine.hold("db/a", "ci/a")
    authority = authority_of(declared(prefixes=prefixes), machine=machine)
    page = shown(authority, machine, c.ListHolds(call=call(), token=token, limit=1))
    assert ([holder.name for holder in page.holders], page.next) == (seen, "")


def test_of_a_list_of_resources_those_within_the_prefixes_are_shown_and_of_clients_all():
    machine = Machine()
    registered(machine, "db/a", "ci/a", "db/b")
    registered(machine, "db/ann", kind=c.Kind.CLIENT)
    authority = authority_of(declared(prefixes=("ci/",)), machine=machine)
    page = shown(authority, machine, c.ListRegistered(call=call(), kind=c.Kind.RESOURCE, limit=2))
    assert page == Registered(c.Kind.RESOURCE, ((2, "ci/a"),), next=2)
    page = shown(authority, machine, c.ListRegistered(call=call(), kind=c.Kind.RESOURCE, after=2))
    assert page == Registered(c.Kind.RESOURCE, ())
    page = shown(authority, machine, c.ListRegistered(call=call(), kind=c.Kind.RESOURCE, id=1))
    assert page == Registered(c.Kind.RESOURCE, ())
    page = shown(authority, machine, c.ListRegistered(call=call(), kind=c.Kind.CLIENT))
    assert page == Registered(c.Kind.CLIENT, ((4, "db/ann"),))


def test_watching_takes_the_role_and_the_prefix():
    authority = authority_of(declared(role="read", prefixes=("ci/",)))
    credential = authority.of_secret(SECRET).credential
    authority.check_watch(credential, "ci/a")
    with pytest.raises(Refused, match="outside of the prefixes"):
        authority.check_watch(credential, "")
    assert authority.sees(credential, "ci/a")
    assert not authority.sees(credential, "db/a")


@pytest.mark.parametrize(
    "credential",
    ["", "token:1", "token:", "token:x", "token:" + "9" * 5000, "file:" + "0" * 32, "cert:eve", "nonsense"],
)
def test_who_is_not_known_may_do_nothing(credential):
    authority = authority_of(declared())
    assert authority.judge(credential, READING[0]) is Refusal.UNKNOWN_CALLER
    with pytest.raises(Refused) as refused:
        authority.check_known(credential)
    assert refused.value.reason is Reason.UNAUTHENTICATED


def test_what_a_refusal_says_names_the_role_or_the_prefixes():
    authority = authority_of(declared("ci", "read", prefixes=("ci/",)))
    credential = authority.of_secret(SECRET).credential
    with pytest.raises(Refused, match="^ci has the role read; this takes lock$"):
        authority.check(credential, lock("ci/a"))
    with pytest.raises(Refused, match="^'db/a' is outside of the prefixes of ci: 'ci/'$"):
        authority.check(credential, c.IsLocked(call=call(), name="db/a"))


def test_where_nobody_is_asked_everybody_may_do_everything():
    authority = Authority(None, lambda: Machine().state)
    for command in [*READING, *LOCKING, *BREAKING, *MANAGING]:
        authority.check("", command)
        assert authority.judge("", command) is None
    authority.check_watch("", "")
    assert authority.sees("", "anything")
