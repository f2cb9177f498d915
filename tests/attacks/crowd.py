"""A crowd of connections that an attacker keeps up: whichever is closed is opened again."""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

TURN_SECONDS = 0.05
AGAIN_A_TURN = 3  # 60 a second; many more would measure what is left of two cores beside the attacker
READ = 65_536


@dataclass(frozen=True)
class Manner:
    """What a connection of the crowd says. `first` once it is open, `then` every half second."""

    first: bytes = b""
    then: bytes = b""
    reads: bool = True
    a_turn: int = 12  # opened at once: 240 a second, of those that ask for work


@dataclass
class Crowd:
    """So many connections to a port, in these manners one after the other."""

    port: int
    many: int
    manners: Sequence[Manner]
    opened: int = 0
    closed: int = 0
    answers: set[bytes] = field(default_factory=set)  # first lines
    _open: dict[socket.socket, tuple[Manner, float]] = field(default_factory=dict)  # and when it speaks next
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def there(self) -> Iterator[Crowd]:
        """Keep it up until the block ends."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
            for each in self._open:
                each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            while not self._stop.is_set():
                begun = time.monotonic()
                self._come(selector)
                self._listen(selector)
                self._speak(selector)
                self._stop.wait(max(0.0, TURN_SECONDS - (time.monotonic() - begun)))

    def _come(self, selector: selectors.BaseSelector) -> None:
        manner = self.manners[self.opened % len(self.manners)]
        rate = manner.a_turn if self.opened < self.many else AGAIN_A_TURN
        for _ in range(min(rate, self.many - len(self._open))):
            manner = self.manners[self.opened % len(self.manners)]
            each = socket.socket()
            each.setblocking(False)
            if not manner.reads:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            if each.connect_ex(("127.0.0.1", self.port)) not in (0, errno.EINPROGRESS):
                each.close()
                return
            self._open[each] = (manner, 0.0)
            if manner.reads:
                selector.register(each, selectors.EVENT_READ)
            self.opened += 1

    def _listen(self, selector: selectors.BaseSelector) -> None:
        for key, _ in selector.select(0):
            each = key.fileobj
            assert isinstance(each, socket.socket)
            try:
                data = each.recv(READ)
            except OSError:
                data = b""
            if data:
                self.answers.add(data.partition(b"\r\n")[0])
            else:
                self._leave(selector, each)

    def _speak(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for each, (manner, due) in list(self._open.items()):
            if due > now:
                continue
            words = manner.then if due else manner.first
            try:
                if words:
                    each.send(words)
                self._open[each] = (manner, now + 0.5 if manner.then else float("inf"))
            except BlockingIOError:
                pass  # not open yet, or full: the next turn
            except OSError:
                self._leave(selector, each)

    def _leave(self, selector: selectors.BaseSelector, each: socket.socket) -> None:
        manner, _ = self._open.pop(each)
        if manner.reads:
            selector.unregister(each)
        each.close()
        self.closed += 1
