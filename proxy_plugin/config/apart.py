"""A configuration read by a process of its own, with the environment that the gateway has taken the secrets out of.

There variables may be set for a while, as adapters need them, and a long file holds nothing up.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

from proxy_plugin.config.read import load
from proxy_plugin.config.sections import Config
from proxy_plugin.ground.errors import ConfigError

SECONDS = 60.0
_REFUSED = 3


async def read_apart(path: Path, environ: Mapping[str, str]) -> Config:
    """Return the configuration of a file. Raises ConfigError with all problems, one a line."""
    pipe = asyncio.subprocess.PIPE
    reader = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy_plugin.config.apart", str(path)), env=dict(environ), stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(SECONDS):
            found, problems = await reader.communicate()
    except TimeoutError:
        raise ConfigError(f"{path}: could not be read within {SECONDS:.0f} s") from None
    finally:
        if reader.returncode is None:
            reader.kill()
    if reader.returncode == _REFUSED:
        raise ConfigError(problems.decode(errors="replace").strip())
    if reader.returncode != 0:
        raise ConfigError(f"{path}: could not be read (exit code {reader.returncode})")
    config = pickle.loads(found)  # noqa: S301 - of a process that we have started, over a pipe of its own
    assert isinstance(config, Config)
    return config


def main(path: Path) -> int:
    """Read a file and write what it says, or its problems."""
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    sys.stdout.buffer.write(pickle.dumps(config))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
