"""The processes of a run hold on to each other, so that none waits for ever for one that is gone.

The connections over which they met (`rendezvous.py`) stay open, one from each process to
process 0. The system closes that of a process that dies; one that is frozen, or whose machine is
down, falls silent. Process 0 tells the others, and all end with a message and a status of their
own. Without it a collective operation waits for the lost one, and JAX's service, which notices
after a while, aborts the process in a way that no scheduler can tell from a fault.
"""

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jaxlt.errors import LOST, SAVED, HostGone

GRACE_S = 10.0  # that a process has to end by itself after another has ended in an error


class _Line:
    """The connection with one other process."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard = time.monotonic()
        self.unread = b""
        self.ended: int | None = None  # the status with which it says that it ends

    def lines(self) -> list[bytes] | None:
        """What has arrived; None where nothing more will."""
        try:
            chunk = self.sock.recv(1 << 16)
        except OSError:
            chunk = b""
        if not chunk:
            return None
        self.heard = time.monotonic()
        *whole, self.unread = (self.unread + chunk).split(b"\n")
        return [line for line in whole if line]  # an empty one is a sign of life


class Lifeline:
    """Watches the other processes from a thread; ends this process when one of them is gone."""

    def __init__(
        self,
        process: int,
        processes: int,
        connections: Mapping[int, socket.socket],
        lost_after_s: float,
        on_end: Callable[[HostGone], object],
    ) -> None:
        """connections: those of `meet`. on_end: says why; this process then ends at once.

        lost_after_s: how long another may be silent.
        """
        self._process, self._processes = process, processes
        self._lost_after_s, self._on_end = lost_after_s, on_end
        self._lines = {who: _Line(sock) for who, sock in connections.items()}
        for line in self._lines.values():
            line.sock.settimeout(5.0)
        self._news: HostGone | None = None
        self._told = threading.Event()
        self._deadline: float | None = None  # to end by itself, after news that are no hurry
        self._alone = threading.Event()
        self._sending, self._ending = threading.Lock(), threading.Lock()
        self._status: int | None = None  # once this process ends by itself
        _hold_aborts()
        threading.Thread(target=self._watch, name="jaxlt-lifeline", daemon=True).start()

    def leave(self, status: int) -> None:
        """Tells the others that this process ends; does not return where `status` is an error.

        After an error JAX's own way to leave would wait for processes that wait for this one.
        """
        if self._status is not None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        self._status = status
        self._send({"ended": status, "who": self._process})
        if status in (0, SAVED):
            return
        if self._process == 0:  # the others' JAX aborts them when its service goes
            self._alone.wait(GRACE_S + 5)
        os._exit(status)

    def hear_out(self, seconds: float = 5.0) -> None:
        """Returns if an operation failed for a reason of its own, and not as another is gone."""
        if self._told.wait(seconds) and self._news is not None:
            self._end(self._news)

    def _watch(self) -> None:
        beat = min(self._lost_after_s / 4, 5.0)
        beaten = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for who, line in self._lines.items():
                selector.register(line.sock, selectors.EVENT_READ, who)
            while self._lines or self._deadline is not None:
                for key, _ in selector.select(min(beat, 0.5 if self._deadline else beat)):
                    self._hear(key.data, selector)
                now = time.monotonic()
                if now - beaten >= beat:
                    beaten = now
                    self._send(None)
                for who, line in list(self._lines.items()):
                    if now - line.heard > self._lost_after_s:
                        self._lost(who, f"it has been silent for {self._lost_after_s:g} s")
                if self._news is not None and self._deadline is not None and now > self._deadline:
                    self._end(self._news)
        self._alone.set()

    def _hear(self, who: int, selector: selectors.BaseSelector) -> None:
        line = self._lines[who]
        lines = line.lines()
        if lines is None:
            selector.unregister(line.sock)
            del self._lines[who]
            line.sock.close()
            if line.ended is None:
                self._lost(who, "its connection was closed")
            return
        for text in lines:
            said = json.loads(text)
            if "ended" in said:
                line.ended = said["ended"]
                if line.ended not in (0, SAVED):
                    self._failed(said["who"], line.ended)
            else:
                self._learn(HostGone(said["text"], said["status"]), said["at_once"])

    def _lost(self, who: int, how: str) -> None:
        text = (
            f"Process {who} of {self._processes} is gone: {how}. This process ends with it. What "
            "is saved is whole: start the same command again on all hosts, or on those that are "
            "left, and it goes on from the newest checkpoint."
        )
        self._learn(HostGone(text, LOST), at_once=True)

    def _failed(self, who: int, status: int) -> None:
        text = (
            f"Process {who} of {self._processes} has ended in an error (status {status}), which "
            "its own message tells; this process ends with it."
        )
        self._learn(HostGone(text, status), at_once=False)

    def _learn(self, news: HostGone, at_once: bool) -> None:
        """Takes the first news, and hands them on; ends now or, if it does not itself, later."""
        if self._news is None:
            self._news = news
            if self._process == 0:
                self._send({"text": str(news), "status": news.status, "at_once": at_once})
            self._deadline = time.monotonic() + GRACE_S
            self._told.set()
            if at_once:
                self._end(news)

    def _end(self, news: HostGone) -> None:
        if not self._ending.acquire(blocking=False):
            time.sleep(GRACE_S)  # another thread is about it
        if self._status is None:
            self._on_end(news)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(news.status if self._status is None else self._status)

    def _send(self, message: dict[str, Any] | None) -> None:
        data = b"\n" if message is None else json.dumps(message).encode() + b"\n"
        with self._sending:
            for line in list(self._lines.values()):
                try:
                    line.sock.sendall(data)
                except OSError:  # the end of that connection is met where it is read
                    continue


def _hold_aborts() -> None:
    """Has an abort of this process wait for some seconds, in which the lifeline can speak.

    When process 0 is gone JAX's service is, and JAX aborts the others from a thread in C++, at the
    same moment as they hear of it here. `sleep` is its own handler: it may be called in one, and
    the number of the signal that it is given is the seconds. The abort then goes on.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))
