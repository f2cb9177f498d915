"""One gateway for all processes of a LiteLLM, whichever of them dies: with processes that do nothing but keep one."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin.inside.keeper import LAST_PAUSE, SERVED_PAUSE, pause
from proxy_plugin.inside.words import Beside, listens
from tests.support.waiting import until

KEEPER = """
import sys, time
from pathlib import Path
from proxy_plugin.inside.keeper import GatewayKeeper
from proxy_plugin.inside import keeper
keeper.LOOK_SECONDS = 0.02
socket, gateway = map(Path, sys.argv[1:])
GatewayKeeper(socket, [sys.executable, "-S", str(gateway), str(socket)]).start()
time.sleep(600)
"""
GATEWAY = """
import fcntl, os, socket, sys, time
path = sys.argv[1]
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(100)
with open(path + ".lives", "a") as lives:
    print(os.getpid(), file=lives)
users = open(path.removesuffix(".sock") + ".users")
while True:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.02)
    else:
        os.unlink(path)
        break
"""


class House:
    """Keepers and the lives of their gateway."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "data" / "gateway.sock"
        self.gateway = folder / "gateway.py"
        self.gateway.write_text(GATEWAY)
        self.keepers: list[subprocess.Popen[bytes]] = []

    def keep(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", KEEPER, str(self.socket), str(self.gateway)]
        self.keepers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return self.keepers[-1]

    def lives(self) -> list[int]:
        """Return the process ids of all gateways that there were."""
        path = Path(f"{self.socket}.lives")
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def life(self, number: int) -> int:
        """Return the process id of the so-manieth gateway, when it listens."""
        until(lambda: len(self.lives()) >= number and listens(self.socket), f"gateway {number}")
        assert len(self.lives()) == number
        return self.lives()[-1]

    def end(self) -> None:
        for each in self.keepers:
            each.kill()
            each.wait()
        until(lambda: not any(map(runs, self.lives())), "the end of all gateways")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def house() -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="keeper-"))
    found = House(folder)
    yield found
    found.end()
    shutil.rmtree(folder)


def test_several_keep_one_gateway_that_outlives_each_of_them_and_none_of_it_all(house: House) -> None:
    one, two = house.keep(), house.keep()
    first = house.life(1)
    assert house.socket.parent.stat().st_mode & 0o777 == 0o700
    os.kill(first, signal.SIGKILL)
    second = house.life(2)
    keeper = next(each for each in (one, two) if _is_parent(each.pid, second))
    keeper.kill()
    keeper.wait()
    assert house.life(2) == second, "the other one is served by it"
    os.kill(second, signal.SIGKILL)
    third = house.life(3)
    house.end()
    assert not runs(third)
    assert not listens(house.socket)


def test_a_gateway_that_was_there_before_is_used(house: House) -> None:
    house.socket.parent.mkdir(mode=0o700)
    users = os.open(Beside.of(house.socket).users, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(users, fcntl.LOCK_SH)
        with subprocess.Popen([sys.executable, "-S", str(house.gateway), str(house.socket)]) as before:
            assert house.life(1) == before.pid
            keeper = house.keep()
            until(Beside.of(house.socket).keeper.exists, "the keeper")
            before.kill()
        assert _is_parent(keeper.pid, house.life(2))
    finally:
        os.close(users)


def test_one_that_served_is_missed_and_one_that_cannot_start_is_not_hurried() -> None:
    """Whoever kills it time and again waits for its start each time, and not for growing pauses."""
    assert [pause(early, served=True) for early in range(1, 11)] == [0, *[SERVED_PAUSE] * 9]
    failing = [pause(early, served=False) for early in range(1, 11)]
    assert failing == sorted(failing)
    assert (failing[0], failing[-1]) == (0, LAST_PAUSE)


def _is_parent(pid: int, child: int) -> bool:
    return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1] == str(pid)
