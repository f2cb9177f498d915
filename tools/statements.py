"""Every statement that this version sends to its database, written down: `python -m tools.statements`.

Gateways of two versions run side by side while a service is upgraded, so the version before goes on with a schema that
the next one has changed. `tests/unit/storage/test_upgrades.py` holds its statements against that schema. They are what
the tests below make it say, in their own process and in those of gateways that they start.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests" / "unit" / "storage" / "statements"
INTO = "PROXY_PLUGIN_STATEMENTS"
TESTS = (
    *("tests/unit/storage", "tests/unit/engine", "tests/unit/direct", "tests/api"),
    *("tests/whole/test_window.py", "tests/whole/test_clearing.py", "tests/whole/test_costs.py"),
    *("tests/whole/test_running_batches.py", "tests/whole/test_kept_answers.py", "tests/whole/test_batch_retry.py"),
    *("tests/whole/test_webhooks.py", "tests/whole/test_spend.py", "tests/whole/direct"),
)
_OURS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
_FOREIGN = re.compile(r"\b(Cache|Settings|sqlite_\w+)\b")  # of kept answers, and of SQLite
_MANY = re.compile(r"(\([?, ]+\)|\?)(, (\([?, ]+\)|\?))+")


class Recording(sqlite3.Connection):
    """A connection that writes its statements down."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Run one."""
        _note(sql)
        return super().execute(sql, *values)

    def executemany(self, sql: str, values: Iterable[Any]) -> sqlite3.Cursor:
        """Run one for each row."""
        _note(sql)
        return super().executemany(sql, values)


_seen: set[str] = set()


def _note(sql: str) -> None:
    if sql not in _seen and _OURS.match(sql) and not _FOREIGN.search(sql):
        _seen.add(sql)
        with Path(os.environ[INTO]).open("a") as file:
            file.write(json.dumps(sql) + "\n")


def record() -> None:
    """Let every connection of this process be one that records."""
    plain: Any = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> Any:
        return plain(*arguments, **({"factory": Recording} | options))

    setattr(sqlite3, "connect", connect)  # noqa: B010 - whoever looks it up by its name gets this one


def version() -> int:
    """Return the newest schema of this version."""
    folder = resources.files("proxy_plugin.storage") / "sql"
    return len([each for each in folder.iterdir() if re.fullmatch(r"\d{4}\.sql", each.name)])


def main() -> int:
    """Run the tests, and keep what was said in the place of what the version before said."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text("import tools.statements\ntools.statements.record()\n")
        into = Path(folder) / "statements"
        environ = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}", INTO: str(into)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
        code = subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode  # noqa: S603 - our own
        said = {json.loads(line) for line in into.read_text().splitlines()}
    for earlier in KEPT.glob("*.jsonl"):
        earlier.unlink()
    KEPT.mkdir(exist_ok=True)
    lines = [json.dumps(sql, ensure_ascii=False) + "\n" for sql in sorted(once(said))]
    (KEPT / f"{version():04}.jsonl").write_text("".join(lines))
    return code


def once(said: Iterable[str]) -> list[str]:
    """Return the statements, one of those that differ in how many values they take."""
    return list({_MANY.sub(r"\1", sql): sql for sql in sorted(said, reverse=True)}.values())


if __name__ == "__main__":
    sys.exit(main())
