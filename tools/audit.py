"""`make audit`: known advisories against the locked versions of what the gateway runs with.

Says so, and fails nothing, where no advisory service can be reached. A service counts as reached when it knows what is
public of one old version: mirrors of the package index answer, too, and know of no advisory at all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

LOCKED = Path(__file__).parents[1] / "constraints" / "runtime.txt"
SECONDS = 5.0
ANSWERED = ("CVE-2025-69872",)  # diskcache unpickles what it finds; without a fixed version, and never asked to here
OLD = {"version": "3.9.0", "package": {"name": "aiohttp", "ecosystem": "PyPI"}}  # has advisories since January 2024
SERVICES = {  # by pip-audit's names for them: where they are asked, with what, and where their answer has advisories
    "osv": ("https://api.osv.dev/v1/query", json.dumps(OLD).encode(), "vulns"),
    "pypi": ("https://pypi.org/pypi/aiohttp/3.9.0/json", None, "vulnerabilities"),
}


def knows(url: str, body: bytes | None, member: str) -> bool:
    """Tell whether a service answers, and knows of advisories."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=SECONDS) as answer:
            found: Any = json.load(answer)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and bool(found.get(member))


def main() -> int:
    """Audit with the first service that can be reached; return pip-audit's exit code."""
    service = next((name for name, asked in SERVICES.items() if knows(*asked)), None)
    if service is None:
        print("Not audited: no advisory service can be reached from here (api.osv.dev, pypi.org).")
        return 0
    command = ["pip_audit", "--requirement", str(LOCKED), "--no-deps", "--disable-pip", "--strict"]
    command += [option for each in ANSWERED for option in ("--ignore-vuln", each)]
    whole = [sys.executable, "-m", *command, "--vulnerability-service", service]
    return subprocess.run(whole, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
