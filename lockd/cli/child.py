"""The process that `lockd run` looks after.

It is forked before anything else, while this process has one thread and has not loaded gRPC, and waits to be told to
become the command. It has a process group of its own, so that all of it can be ended, and the terminal, where the
command has one: job control is passed on both ways.
"""

import contextlib
import ctypes
import os
import signal
import stat
import struct
import sys
from collections.abc import Mapping
from typing import NoReturn

from lockd.escape import escaped

CANNOT_RUN = 126
NOT_FOUND = 127
BY_SIGNAL = 128  # above it: which one ended the command

_PR_SET_PDEATHSIG = 1
_ENVIRONMENT_MAX = 1 << 20
_LEFT_TO_PYTHON = (signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE))  # which ignores them; a command must not


class Child:
    """command: not empty."""

    def __init__(self, command: list[str]) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some parents leave it, no exit code would be kept
        self._terminal = next((fd for fd in (0, 1, 2) if os.isatty(fd)), None)
        self._wants_terminal = not (_is_pipe(0) or _is_pipe(1))  # who is at the other end, as a pager, may need it too
        self._waits, self._go = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            _become(command, self._waits, parent)
        os.close(self._waits)
        with contextlib.suppress(OSError):  # it was quicker, or has ended
            os.setpgid(self.pid, self.pid)
        self.runs = False
        self.is_stopped = False
        self.code: int | None = None

    def go(self, environment: Mapping[str, str]) -> None:
        """environment: in addition to this process's."""
        self.runs = True
        if self._wants_terminal:
            self._give_terminal()
        text = b"".join(_packed(part) for pair in environment.items() for part in pair)
        with contextlib.suppress(BrokenPipeError), open(self._go, "wb") as go:  # ended by a signal before it began
            go.write(text + _packed(""))

    def give_up(self) -> None:
        """It ends without having become the command."""
        os.close(self._go)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def signal(self, number: int) -> bool:
        """To its whole group. False where that is not allowed: a command may have become another user's."""
        try:
            os.killpg(self.pid, number)
        except PermissionError:
            return False
        except ProcessLookupError:  # it has ended
            pass
        return True

    def look(self) -> bool:
        """True where it was stopped from the terminal, as by Ctrl-Z. Then, and once it has ended, this process has the
        terminal; `code` is what the command ended with.
        """
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED) if self.code is None else (0, 0)
        if not pid:
            return False
        if os.WIFSTOPPED(status):
            self.is_stopped = True
            return self._was_stopped(os.WSTOPSIG(status))
        ended = os.waitstatus_to_exitcode(status)
        self.code = ended if ended >= 0 else BY_SIGNAL - ended
        self._take_terminal()
        return False

    def stop(self) -> None:
        """Its whole group, whatever that does with signals."""
        self.signal(signal.SIGSTOP)
        self._take_terminal()

    def resume(self) -> None:
        """After it was stopped."""
        if self._wants_terminal:
            self._give_terminal()
        self._continue()

    def lend_terminal(self) -> bool:
        """To others of this process's job, until the command asks for it. Whether it had it."""
        if not self._take_terminal():
            return False
        self._wants_terminal = False
        return True

    def _continue(self) -> None:
        self.is_stopped = False
        self.signal(signal.SIGCONT)

    # ---- the terminal

    def _was_stopped(self, number: int) -> bool:
        if number == signal.SIGSTOP:  # not by job control: whoever has it go on may tell it alone
            return False
        if number in (signal.SIGTTIN, signal.SIGTTOU):  # it asks for it
            self._wants_terminal = True
            if self._terminal is None:
                self._terminal = _controlling_terminal()  # which it has opened by itself, as for a password
            if self._give_terminal():
                self._continue()
                return False
        self._take_terminal()
        return self._terminal is not None

    def _give_terminal(self) -> bool:
        """Whether this process had it to give."""
        if self._foreground() != os.getpgrp():
            return False
        self._set_foreground(self.pid)
        return True

    def _take_terminal(self) -> bool:
        """Whether the command had it."""
        if self._foreground() != self.pid:
            return False
        self._set_foreground(os.getpgrp())
        return True

    def _foreground(self) -> int | None:
        """The group that has the terminal; None: there is none, it is another session's, or it was hung up."""
        try:
            return None if self._terminal is None else os.tcgetpgrp(self._terminal)
        except OSError:
            return None

    def _set_foreground(self, group: int) -> None:
        """Who is in the background may do it only where this signal is blocked."""
        assert self._terminal is not None
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        with contextlib.suppress(OSError):  # the group, or the terminal, has gone
            os.tcsetpgrp(self._terminal, group)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:  # it is closed
        return False


def _controlling_terminal() -> int | None:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:  # there is none
        return None


def _packed(part: str) -> bytes:
    text = os.fsencode(part)
    return struct.pack("!I", len(text)) + text


def _unpacked(text: bytes) -> list[str]:
    parts, at = [], 0
    while at < len(text):
        (length,) = struct.unpack_from("!I", text, at)
        parts.append(os.fsdecode(text[at + 4 : at + 4 + length]))
        at += 4 + length
    return parts


# ---- in the child


def _become(command: list[str], waits: int, parent: int) -> NoReturn:
    try:
        _detach(parent)
        with open(waits, "rb") as told:
            parts = _unpacked(told.read(_ENVIRONMENT_MAX))
        if not parts:  # it was never told
            os._exit(0)
        os.environ.update(zip(parts[:-1:2], parts[1:-1:2], strict=True))
        _exec(command)
    except BaseException as error:  # noqa: BLE001  # nothing of the parent's may run here
        _end(escaped(repr(error)), CANNOT_RUN)


def _detach(parent: int) -> None:
    os.setpgid(0, 0)
    for number in _LEFT_TO_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":  # who cannot be told that the lock is lost must not go on
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(CANNOT_RUN)


def _exec(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)  # noqa: S606  # what the user asked for
    except FileNotFoundError:
        why, code = "not found", NOT_FOUND
    except OSError as error:
        why, code = error.strerror or str(error), CANNOT_RUN
    _end(f"{escaped(command[0])}: {why}", code)


def _end(why: str, code: int) -> NoReturn:
    try:
        os.write(2, f"lockd: {why}\n".encode())
    finally:  # stderr may be closed, full or hung up
        os._exit(code)
