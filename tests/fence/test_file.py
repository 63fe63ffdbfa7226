"""FileFence: a mark beside a file, and who may be inside at a time."""

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lockd_client import InvalidArgument
from lockd_client.fence import DamagedMark, FenceBusy, StaleToken
from lockd_client.fence.file import FileFence, FileMarks
from tests.integration.cluster import ROOT

WITHIN_S = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.csv"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "report.csv.fence"


def test_a_lower_token_is_refused_before_the_body_runs(path):
    with FileFence(path).write(7) as file:
        file.write_text("by 7")
    with pytest.raises(StaleToken, match="token 5, the highest seen is 7") as refused, FileFence(path).write(5):
        path.write_text("by 5")
    assert (refused.value.name, refused.value.token, refused.value.highest) == (str(path), 5, 7)
    assert path.read_text() == "by 7"


def test_the_same_token_passes_again_and_a_higher_one_always(path):
    fence = FileFence(path)
    for token in (3, 3, 4, 2**53 - 1, 2**53 - 1):
        fence.check(token)


def test_a_body_that_fails_leaves_the_mark_since_it_may_have_written(path):
    with pytest.raises(ZeroDivisionError), FileFence(path).write(7):
        raise ZeroDivisionError
    with pytest.raises(StaleToken):
        FileFence(path).check(5)


def test_a_readers_token_is_compared_and_leaves_no_mark(path, mark):
    fence = FileFence(path)
    fence.check(8, shared=True)
    assert not mark.exists()
    fence.check(5)
    with fence.read(9) as file:
        assert file == path
    fence.check(6)
    with pytest.raises(StaleToken), fence.read(5):
        pass


@pytest.mark.parametrize("token", [0, -1, 2**53, True, 1.0, "5", None])
def test_what_is_no_token_is_refused(path, token):
    for is_shared in (False, True):
        with pytest.raises(InvalidArgument, match="a number from 1 to 9007199254740991"):
            FileFence(path).check(token, shared=is_shared)


# ---- the mark


def test_a_mark_is_a_line_of_text(path, mark):
    FileFence(path).check(7)
    assert mark.read_bytes() == b"lockd-fence 1 7 6abf4a82\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 32,
        b"lockd-fence 1 7 ",
        b"lockd-fence 1 7 6abf4a82",
        b"lockd-fence 1 70 6abf4a82\n",
        b"lockd-fence 1 07 6abf4a82\n",
        b"lockd-fence 2 7 6abf4a82\n",
        b"7\n",
    ],
)
def test_a_mark_that_cannot_be_read_lets_nobody_in(path, mark, content):
    mark.write_bytes(content)
    for is_shared in (False, True):
        with pytest.raises(DamagedMark, match=f"then delete the mark.* {mark}") as damaged:
            FileFence(path).check(9, shared=is_shared)
        assert damaged.value.path == str(mark)
    assert mark.read_bytes() == content


def test_no_single_changed_byte_of_a_mark_goes_unseen(path, mark):
    FileFence(path).check(123456)
    whole = mark.read_bytes()
    for place in range(len(whole)):
        for other in (whole[place] ^ 1, whole[place] ^ 128, ord("9")):
            if other != whole[place]:
                mark.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
                with pytest.raises(DamagedMark):
                    FileFence(path).check(2**53 - 1)
        mark.write_bytes(whole[:place])
        with pytest.raises(DamagedMark):
            FileFence(path).check(2**53 - 1)


def test_a_mark_that_is_no_file_lets_nobody_in(path, mark):
    mark.mkdir()
    for is_shared in (False, True):
        with pytest.raises(IsADirectoryError):
            FileFence(path).check(9, shared=is_shared)


def test_a_mark_that_is_deleted_begins_anew(path, mark):
    FileFence(path).check(7)
    mark.unlink()
    FileFence(path).check(5)


def test_a_mark_that_was_not_finished_is_as_if_it_had_not_been_begun(path, tmp_path):
    FileFence(path).check(7)
    (tmp_path / "report.csv.fence-new").write_bytes(b"lockd-fen")
    with pytest.raises(StaleToken):
        FileFence(path).check(5)
    FileFence(path).check(8)


def test_a_mark_that_cannot_be_written_lets_nobody_in(path, mark):
    FileFence(path).check(7)
    path.with_name("report.csv.fence-new").mkdir()
    with pytest.raises(OSError), FileFence(path).write(8):  # noqa: PT011  which one is the system's business
        path.write_text("by 8")
    assert not path.exists()
    FileFence(path).check(7)


def test_the_mark_is_on_the_disk_before_the_body_runs(path, mark, monkeypatch):
    done: list[str] = []
    synced = os.fsync

    def fsync(descriptor: int) -> None:
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with FileFence(path).write(7):
        assert done == ["report.csv.fence-new", path.parent.name]
        assert mark.exists()
    with FileFence(path).write(7):
        assert len(done) == 2, "an equal token has its mark"


# ---- paths


def test_a_folder_has_its_mark_beside_it(tmp_path):
    (tmp_path / "data").mkdir()
    FileFence(f"{tmp_path}/data/").check(7)
    with pytest.raises(StaleToken):
        FileFence(tmp_path / "data").check(5)
    assert list((tmp_path / "data").iterdir()) == []


def test_linked_and_relative_folders_lead_to_the_same_mark(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    relative = FileFence("real/file")
    monkeypatch.chdir("/")
    relative.check(7)
    with pytest.raises(StaleToken):
        FileFence(tmp_path / "link" / "file").check(5)


def test_the_root_has_nothing_beside_it():
    with pytest.raises(InvalidArgument, match="needs a folder beside it"):
        FileFence("/")


def test_marks_for_middleware_are_one_a_lock_whatever_its_name(tmp_path):
    for name in ("a", "A", "a/b", "../a", "x" * 512, "é" * 256):
        FileMarks(tmp_path).check(name, 7)
        FileMarks(tmp_path).check(name, 9, shared=True)
        with pytest.raises(StaleToken, match=f"'{name}': token 5"):
            FileMarks(tmp_path).check(name, 5)
    with pytest.raises(InvalidArgument):
        FileMarks(tmp_path).check("", 7)


# ---- who is inside


def test_while_one_writes_no_other_token_is_checked(path):
    with FileFence(path).write(7):
        for token, is_shared in ((5, False), (9, False), (9, True)):
            with pytest.raises(FenceBusy):
                FileFence(path).check(token, shared=is_shared, wait=0)
    FileFence(path).check(9, wait=0)


def test_readers_are_inside_together_and_keep_writers_out(path):
    with FileFence(path).read(7), FileFence(path).read(8), pytest.raises(FenceBusy):
        FileFence(path).check(9, wait=0.05)


@pytest.mark.parametrize("wait", [None, WITHIN_S])
def test_one_that_waited_is_compared_with_what_it_waited_for(path, wait):
    with ThreadPoolExecutor(1) as pool:
        with FileFence(path).write(7):
            begun = threading.Event()

            def come_late() -> None:
                begun.set()
                FileFence(path).check(5, wait=wait)

            stale = pool.submit(come_late)
            assert begun.wait(WITHIN_S)
        with pytest.raises(StaleToken):
            stale.result(WITHIN_S)


def run(program: str, path: Path) -> "subprocess.Popen[str]":
    """In an interpreter of its own: this one may have threads, and is not to be forked."""
    opening = "import os, signal, sys\nfrom lockd_client.fence.file import *\nfence = FileFence(sys.argv[1])\n"
    command = [sys.executable, "-c", opening + textwrap.dedent(program), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_writer_that_is_killed_leaves_its_mark_and_lets_the_next_one_in(path):
    program = """
        with fence.write(7):
            print("inside", flush=True)
            signal.pause()
        """
    with run(program, path) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "inside\n"
        with pytest.raises(FenceBusy):
            FileFence(path).check(9, wait=0)
        writer.kill()
        writer.wait(WITHIN_S)
    with pytest.raises(StaleToken):
        FileFence(path).check(5, wait=0)
    FileFence(path).check(9, wait=0)


def test_a_child_that_was_forked_inside_neither_frees_the_fence_nor_keeps_it(path):
    program = """
        with fence.write(7):
            if os.fork() == 0:
                sys.exit()  # by way of the `with`
            os.wait()
            try:
                fence.check(8, wait=0)
            except FenceBusy:
                print("not freed", flush=True)
            child = os.fork()
            if child == 0:
                signal.pause()
        try:
            fence.check(8, wait=0)
            print("not kept", flush=True)
        finally:
            os.kill(child, signal.SIGKILL)
        """
    with run(program, path) as process:
        assert process.communicate(timeout=WITHIN_S)[0].splitlines() == ["not freed", "not kept"]
