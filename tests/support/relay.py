"""A line to a server that can be cut at a chosen moment: TCP, one thread for each direction."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PASS, CUT_BEFORE, CUT_AFTER, HANG_UP = "pass", "cut before", "cut after", "hang up"
Watch = Callable[[bytes], str]


class Relay:
    """Passes bytes on to `port`. `watch` is shown what clients send, and says what becomes of it:

    PASS        the server gets it, the client gets the answer
    CUT_BEFORE  the server does not get it, and both see the end of the connection
    CUT_AFTER   the server gets it, the client does not get the answer, and both see the end
    HANG_UP     the server does not get it and sees nothing, as if the client had been stopped; the client sees the end
    """

    def __init__(self, port: int) -> None:
        self._to, self._listener = port, socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.watch: Watch = lambda _: PASS
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def act(self, *plan: tuple[bytes, str]) -> threading.Event:
        """Do one after the other to the next bytes with a part in them; the event is set when all is done."""
        left, done = list(plan), threading.Event()

        def watch(data: bytes) -> str:
            if not left or left[0][0] not in data:
                return PASS
            _, action = left.pop(0)
            if not left:
                done.set()
            return action

        self.watch = watch
        return done

    def close(self) -> None:
        """End everything."""
        for each in (self._listener, *self._open):
            _end(each)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._to))
                except OSError:  # it is being restarted
                    _end(client)
                    continue
                self._open += [client, server]
                lost = threading.Event()
                threading.Thread(target=self._up, args=(client, server, lost), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server, lost), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                action = self.watch(data)
                if action == CUT_AFTER:
                    lost.set()
                if action in {CUT_BEFORE, HANG_UP}:
                    if action == CUT_BEFORE:
                        _end(server)
                    break
                server.sendall(data)
            else:
                _end(server)
        _end(client)

    @staticmethod
    def _down(client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while (data := server.recv(65536)) and not lost.is_set():
                client.sendall(data)
        if lost.is_set():
            _end(server)
        _end(client)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextmanager
def relayed(url: str) -> Iterator[tuple[str, Relay]]:
    """Yield the URL of a database as it is behind a relay, and that."""
    before, _, rest = url.rpartition("@")
    place, _, name = rest.partition("/")
    relay = Relay(int(place.rpartition(":")[2]))
    try:
        yield f"{before}@127.0.0.1:{relay.port}/{name}", relay
    finally:
        relay.close()
