"""A real server of S3 that checks signatures: `rclone serve s3`, whose buckets are folders."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests.support.ports import free_port
from tests.support.waiting import until

COMMAND = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")


@contextmanager
def serving(folder: Path, key: str, secret: str) -> Iterator[str]:
    """Serve a folder; yield the URL. Files that others put into a folder that it has listed are seen a second late."""
    assert COMMAND is not None
    address = f"127.0.0.1:{free_port()}"
    told = [COMMAND, "serve", "s3", str(folder), "--addr", address, "--auth-key", f"{key},{secret}", "--config", ""]
    told += ["--dir-cache-time", "1s"]  # with 0 it hangs
    with subprocess.Popen(told, stderr=subprocess.DEVNULL) as server:
        try:
            until(lambda: _answers(f"http://{address}"), "rclone to listen")
            yield f"http://{address}"
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except HTTPError:
        return True
    except URLError:
        return False
