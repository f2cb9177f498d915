"""What one run of the demo does, and the two files that it starts from: lines and configuration."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy_plugin.demo.lines import write_input
from proxy_plugin.demo.screen import DemoFailed
from proxy_plugin.demo.servers import HOST, free_port
from proxy_plugin.providers.catalog import canonical
from proxy_plugin.providers.sandbox import virtual_keys

SLUG = "demo"
INPUT, OUTPUT, ERRORS = "input.jsonl", "output.jsonl", "error.jsonl"
JOB_SHARE = 0.3  # of the lines in one native job: four jobs
JOBS_AT_ONCE = 2  # so that some wait for others, as under a real quota


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run of the demo does, and where. `home` is temporary, `output` stays."""

    provider: str
    model: str
    endpoint: str
    lines: int
    output: Path
    home: Path
    port: int
    key: str
    keep: bool
    replicas: int  # gateways over one database and one store, behind a front; 0: one that has its own

    @property
    def url(self) -> str:
        """The gateway's base URL, as an SDK takes it."""
        return f"http://{HOST}:{self.port}/v1"


def planned(args: argparse.Namespace, home: Path) -> Plan:
    """Return the plan that a command line asks for. Raises DemoFailed for a provider that has no stand-in."""
    provider = canonical(args.provider)
    try:
        model, endpoint = virtual_keys.model_and_endpoint(provider)
    except LookupError as error:
        raise DemoFailed(str(error)) from error
    return Plan(
        provider=provider,
        model=model,
        endpoint=endpoint,
        lines=args.lines,
        output=Path(args.output),
        home=home,
        port=free_port(),
        key=f"demo-{secrets.token_hex(12)}",
        keep=args.keep,
        replicas=args.replicas,
    )


def write_lines(plan: Plan) -> int:
    """Write the input file and return its bytes; what an earlier run left is removed. Raises OSError."""
    plan.output.mkdir(parents=True, exist_ok=True)
    for name in (OUTPUT, ERRORS):  # of an earlier run
        (plan.output / name).unlink(missing_ok=True)
    return write_input(plan.output / INPUT, plan.lines, plan.model, plan.endpoint)


def write_config(plan: Plan, sandbox_url: str, name: str = "gateway", **sections: Mapping[str, Any]) -> Path:
    """Write a gateway's configuration and return its path; `sections` replace what it has. Raises OSError."""
    limits = {"max_lines_per_job": max(1, round(plan.lines * JOB_SHARE)), "max_jobs_in_flight": JOBS_AT_ONCE}
    ours = {
        "server": {"host": HOST, "port": plan.port},
        "storage": {"data_dir": str(plan.home / "var")},
        "api_keys": [{"name": SLUG, "key": plan.key, "workspace": SLUG, "virtual_keys": [SLUG]}],
        "virtual_keys": {SLUG: virtual_keys.virtual_key(plan.provider, sandbox_url) | limits},
        "engine": {"poll_seconds_first": 0.5, "poll_seconds_max": 5},
    }
    path = plan.home / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"proxy_plugin": ours | sections}, sort_keys=False), encoding="utf-8")
    return path
