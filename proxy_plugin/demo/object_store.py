"""An object store of one's own, for a demo or for tests: `rclone serve s3`, which checks signatures.

Its buckets are folders, its objects files in them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from proxy_plugin.demo.servers import HOST, ServerFailed, ServerProcess, free_port, listens

NEEDED = "an object store is needed: pip install 'proxy-plugin[replicas-demo]', or have rclone 1.65 in the PATH"
REGION = "us-east-1"


class ObjectStore(ServerProcess):
    """The server of a folder, with one key. The port stays the same over restarts."""

    def __init__(self, folder: Path, key: str = "key-of-the-demo", secret: str = "secret-of-the-demo") -> None:  # noqa: S107
        super().__init__("rclone", folder.with_name(f"{folder.name}.log"))
        self.folder, self.port = folder, free_port()
        self.key, self.secret = key, secret

    @property
    def endpoint(self) -> str:
        """The URL under which its buckets are."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> ObjectStore:
        """Return when it listens. Raises ServerFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
        if command is None:
            raise ServerFailed(NEEDED)
        told = ["--addr", f"{HOST}:{self.port}", "--auth-key", f"{self.key},{self.secret}", "--config", ""]
        told += ["--dir-cache-time", "1s"]  # with 0 it hangs
        self.run([command, "serve", "s3", self.folder, *told], lambda: listens(self.port))
        return self

    def bucket(self, name: str) -> str:
        """Make a bucket and return its URL."""
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return f"s3://{name}"

    @property
    def options(self) -> Mapping[str, str]:
        """How the store is reached and who asks, as `blob_options` has it."""
        return options(self.endpoint, self.key, self.secret)


def options(endpoint: str, key: str, secret: str) -> Mapping[str, str]:
    """Return the options of an S3 that is not Amazon's."""
    return {
        "endpoint": endpoint,
        "access_key_id": key,
        "secret_access_key": secret,
        "region": REGION,
        "allow_http": "true",
    }
