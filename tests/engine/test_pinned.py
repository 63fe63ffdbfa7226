"""What lockd/raft/engine.py takes for granted about the installed PySyncObj. An upgrade is read against this."""

import importlib.metadata
import inspect
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.poller
import pysyncobj.syncobj as library
import pysyncobj.version
import pytest
from pysyncobj import SyncObj
from pysyncobj.transport import Transport

from lockd.raft import engine
from lockd.raft.engine import Timing
from tests.engine.rig import HandClock, Ours, Plain, append, entries

SOURCE = inspect.getsource(engine)
ROOT = Path(__file__).resolve().parents[2]


def names(pattern: str) -> list[str]:
    return sorted(set(re.findall(pattern, SOURCE)))


def test_the_version_is_the_pinned_one():
    assert pysyncobj.version.VERSION == importlib.metadata.version("pysyncobj") == "0.3.17"


@pytest.mark.parametrize("timing", [(0.05, 0.051, 0.016), (599.999, 600.0, 60.0), (60.0, 600.0, 0.01)])
def test_the_library_takes_every_timing_that_a_cluster_may_have(timing: tuple[float, float, float], clock: HandClock):
    Ours(clock, timing=Timing(*timing))


@pytest.mark.parametrize("name", names(r"_SyncObj__\w+"))
def test_the_library_has_the_private_name(name: str, clock: HandClock):
    assert hasattr(Plain(), name)


@pytest.mark.parametrize("name", names(r"_raft\.([a-zA-Z]\w*|_[a-z]\w*)"))
def test_the_library_or_our_subclass_has_the_name(name: str, clock: HandClock):
    assert hasattr(Plain(), name) or name in vars(engine._Raft)


@pytest.mark.parametrize("name", names(r"mailbox\.(_on\w+)"))
def test_the_transport_has_the_name(name: str):
    assert callable(getattr(Transport, name))


REPLACED = sorted(name for name in vars(engine._Raft) if name.startswith("_SyncObj__"))


def test_four_methods_are_replaced():
    assert REPLACED == [
        "_SyncObj__applyLogEntries",
        "_SyncObj__loadDumpFile",
        "_SyncObj__sendAppendEntries",
        "_SyncObj__tryLogCompaction",
    ]


@pytest.mark.parametrize("name", REPLACED)
def test_a_replaced_method_takes_what_the_librarys_takes(name: str):
    ours, theirs = getattr(engine._Raft, name), getattr(SyncObj, name)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


@pytest.mark.parametrize("name", engine._PATCHED)
def test_the_library_reads_the_module_global(name: str):
    source = inspect.getsource(library)
    assert re.search(rf"^(import|from) .*\b{name}$|^    from .* import {name}$", source, re.MULTILINE)
    assert re.search(rf"\b{name}[.(]", source)


def test_with_no_engine_seated_the_library_is_as_it_was(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(engine._plain, "monotonicTime", lambda: 7.0)
    assert library.monotonicTime() == 7.0
    random.seed(5)
    expected = random.random()
    random.seed(5)
    assert library.random.random() == expected
    assert type(library.createJournal(None)) is pysyncobj.journal.MemoryJournal
    poller = library.createPoller("auto")
    assert isinstance(poller, pysyncobj.poller.Poller)
    notifier = library.PipeNotifier(poller)
    assert isinstance(notifier, engine._plain["PipeNotifier"])
    assert library.pickle.loads(library.pickle.dumps((0, b"x"))) == (0, b"x")
    assert engine._plain["pickle"] is pysyncobj.pickle


def test_engines_and_plain_nodes_do_not_mix(clock: HandClock):
    plain, ours, other = Plain(), Ours(HandClock()), Ours(HandClock())
    for node in (plain, ours):
        node.receives(2, append(1, 1, 0, entries(2, 4, 1)))
    clock.go(5.0)
    for node in (ours, other):
        node.engine.tick()
    plain.doTick(0.0)
    assert plain.private("raftState") == 1  # its clock alone was moved
    assert (ours.engine.role, other.engine.role) == ("follower", "follower")
    assert (ours.end, other.end) == (4, 1)
    assert engine._seated == []


def test_nobody_is_seated_after_a_failure(clock: HandClock):
    ours = Ours(clock, fails_at=2)
    ours.receives(2, append(1, 1, 0, entries(2, 2, 1), commit=2))
    with pytest.raises(ZeroDivisionError):
        ours.ticks()
    assert engine._seated == []


TRACE = """
import hashlib
from tests.simulation.run import Simulation, silence
silence()
simulation = Simulation(7)
print(sorted(simulation.run().items()))
print(hashlib.sha256(repr(sorted(simulation.referee._entries.items())).encode()).hexdigest())
"""


def test_a_schedule_does_not_depend_on_the_hash_seed():
    """PySyncObj walks over sets of nodes; ours have ids that are numbers, and what is sent is sorted."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", TRACE],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    traces = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert "granted" in traces[0]
    assert len(set(traces)) == 1
