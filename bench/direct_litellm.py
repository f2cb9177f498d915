"""LiteLLM's side of `bench direct`, in an environment of its own: all lines of a file through its Router.

    python -m bench.direct_litellm < ORDER     {"file": path, "base": url, "key": key, "concurrency": n}

prints `{"version", "seconds", "cpu", "peak"}`; the answers go into one file as they come, unsynced.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import litellm  # type: ignore[import-not-found, unused-ignore] # in an environment of its own


def main() -> int:
    """Do what the order says."""
    order = json.loads(sys.stdin.readline())
    print(json.dumps(asyncio.run(_answered(order))), flush=True)
    return 0


async def _answered(order: dict[str, Any]) -> dict[str, Any]:
    source = Path(order["file"])
    with source.open("rb") as lines:  # noqa: ASYNC230 - nothing else runs here
        model = json.loads(next(lines))["body"]["model"]
    told = {"model": f"openai/{model}", "api_base": order["base"], "api_key": order["key"]}
    router = litellm.Router(model_list=[{"model_name": model, "litellm_params": told}], num_retries=5)
    began, cpu = time.monotonic(), time.process_time()
    with source.open("rb") as lines, Path(f"{source}.answers").open("wb") as answers:  # noqa: ASYNC230 - as above
        await asyncio.gather(*(_hand(router, lines, answers) for _ in range(order["concurrency"])))
    return {
        "version": metadata.version("litellm"),
        "seconds": time.monotonic() - began,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


async def _hand(router: Any, lines: Any, answers: Any) -> None:
    for line in lines:
        read = json.loads(line)
        answer = await router.acompletion(**read["body"])
        answers.write(json.dumps({"custom_id": read["custom_id"], "body": answer.model_dump()}).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
