"""LiteLLM's side of `bench peers`, in an environment of its own: one file up, one batch created, as its SDK does it.

    python -m bench.peers_litellm < ORDER     {"file": path, "upload": {...}, "create": {...}}, then one more line

prints `{"version"}` when it has imported LiteLLM, waits for the second line, and prints `{"upload", "create", "cpu"}`
in seconds when the job is accepted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import litellm  # type: ignore[import-not-found, unused-ignore] # in an environment of its own


def main() -> int:
    """Do what the order says."""
    order = json.loads(sys.stdin.readline())
    print(json.dumps({"version": metadata.version("litellm")}), flush=True)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(_submit(order))), flush=True)
    sys.stdin.readline()  # what it holds is seen until it is let go
    return 0


async def _submit(order: dict[str, Any]) -> dict[str, float]:
    began, cpu = time.monotonic(), time.process_time()
    with Path(order["file"]).open("rb") as file:  # noqa: ASYNC230 - nothing else runs here
        stored = await litellm.acreate_file(file=file, purpose="batch", **order["upload"])
    uploaded = time.monotonic()
    if order["create"] is not None:
        asked = {"completion_window": "24h", "endpoint": "/v1/chat/completions", "input_file_id": stored.id}
        await litellm.acreate_batch(**asked, **order["create"])
    created = time.monotonic()
    return {"upload": uploaded - began, "create": created - uploaded, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    sys.exit(main())
