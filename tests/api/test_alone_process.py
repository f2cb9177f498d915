"""The process that makes the calls: started by the first of them, again when it has died, and nobody's but its own."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

from tests.support.served import WHO, running
from tests.support.talker import KEY, Talker, talking
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
HI = {"model": "@a/m", "messages": [{"role": "user", "content": "hi"}]}
KEYS = WHO | {"Content-Type": "application/json"}


def children() -> set[int]:
    """The processes that this one has spawned, on whichever of its threads."""
    found = set[int]()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if b"spawn_main" in _told(pid)}


def _told(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def sockets() -> set[Path]:
    """The sockets on which calls are taken."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return {Path(line.split()[-1]) for line in lines if "/proxy-plugin-calls-" in line and line.endswith("/calls")}


async def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    a, before, others = Talker("a"), children(), sockets()
    async with talking(a):
        keys = {"a": {"provider": "openai", "api_key": KEY, "custom_host": a.url}}
        async with running(tmp_path, virtual_keys=keys, server={"custom_hosts": ["127.0.0.1"]}) as served:
            assert children() <= before, "nothing runs before it is needed"
            assert (await served.call("POST", CHAT, HI, KEYS))[0] == 200
            (pid,) = children() - before
            _is_private(pid)
            (socket,) = sockets() - others
            assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
            a.hangs = True
            calls = [asyncio.create_task(served.call("POST", CHAT, HI, KEYS)) for _ in range(2)]
            await eventually(lambda: len(a.seen) == 3)
            os.kill(pid, signal.SIGKILL)
            for status, answer, headers in await asyncio.gather(*calls):
                assert (status, answer["error"]["code"]) == (502, "provider_outcome_unknown")
                assert headers["x-portkey-trace-id"]
            a.hangs = False
            status, answer, _ = await served.call("POST", CHAT, HI, KEYS)
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "a: hi")
            (again,) = children() - before
    assert again != pid
    assert not Path(f"/proc/{again}").exists(), "it ends with its gateway"
    assert not sockets() - others
    assert not socket.parent.exists()


def _is_private(pid: int) -> None:
    process = Path(f"/proc/{pid}")
    assert KEY.encode() not in _told(pid)
    assert int((process / "stat").read_text().rpartition(")")[2].split()[16]) > 0, "it makes way for the gateway"
    assert "0077" in (process / "status").read_text().partition("Umask:")[2].partition("\n")[0]
