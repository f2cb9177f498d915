"""What the plugin in LiteLLM's processes and the gateway behind its socket have to call the same."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from pathlib import Path

SOCKET = "gateway.sock"  # in data_dir
MOST_PATH = 107  # bytes that the kernel takes for the path of a socket (unix(7))
IDENTITY = "x-proxy-plugin-identity"  # base64 of JSON: who LiteLLM says is calling
SECRET = "x-proxy-plugin-secret"  # noqa: S105 - the name of the header; it proves that LiteLLM's process says so
PREFIX = "x-proxy-plugin-"


@dataclass(frozen=True, slots=True)
class Beside:
    """The files that belong to a socket, all of mode 0600 and in its folder.

    `facts` is JSON, written anew at each start of the gateway and each reload: `secret`, and `keys`, the hex SHA-256 of
    every key of the gateway's own. Each process of LiteLLM's holds a shared lock on `users` as long as it lives, and
    one of them the exclusive one on `keeper`: it starts the gateway.
    """

    facts: Path
    users: Path
    keeper: Path

    @classmethod
    def of(cls, socket: Path) -> Beside:
        """Return those of this socket."""
        return cls(*(socket.with_suffix(end) for end in (".facts", ".users", ".keeper")))


def listens(path: Path) -> bool:
    """Tell whether somebody accepts connections at a socket, or has a queue of them. Does not wait, costs 20 µs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        return client.connect_ex(str(path)) in (0, errno.EAGAIN)
