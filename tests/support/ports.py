"""Ports that stay free until they are listened on, however many test processes look for one at the same time."""

from __future__ import annotations

import random
import socket
from collections import deque
from contextlib import suppress

FIRST, BEHIND = 12_000, 32_000  # below the range from which the kernel takes the ports of outgoing connections
KEPT = 400  # ports that one process holds at a time; no gateway of a test waits for 400 others
_CLAIMS: deque[socket.socket] = deque()


def free_port() -> int:
    """Return a loopback port on which nobody listens, and that no other test process is given.

    A port of the kernel's choice may be chosen once more before its gateway listens; then a second gateway ends, and
    its test talks to the first one. The claim is the UDP port of the same number, which nothing here uses.
    """
    for port in random.SystemRandom().sample(range(FIRST, BEHIND), 1000):
        with suppress(OSError):
            _claim(port)
            return port
    raise OSError("of 1,000 ports none is free")


def _claim(port: int) -> None:
    claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        claim.bind(("127.0.0.1", port))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        raise
    _CLAIMS.append(claim)
    while len(_CLAIMS) > KEPT:
        _CLAIMS.popleft().close()
