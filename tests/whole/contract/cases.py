"""Every provider the suite runs for. A new provider adds one `Case` to `CASES`, and nothing else changes here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from proxy_plugin.providers.sandbox.answers import expected_text
from tests.toy.toy_service import answer_text
from tests.whole.contract.sandbox_wire import SandboxWire
from tests.whole.contract.toy_wire import ToyWire
from tests.whole.contract.wire import FOREIGN, Wire

CHAT = "/v1/chat/completions"
Odd = Literal["error", "missing", "duplicate", "foreign"]
"""How a provider may answer a line: with an error, not at all, twice, with a foreign row (`FOREIGN`) beside it."""
Keys = Mapping[str, Mapping[str, Any]]
"""Options of virtual keys by slug."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything the suite must know about one provider. The gateway under test has no other provider at all."""

    name: str  # as virtual keys name it
    wire: Callable[[], Wire]  # makes a stand-in, not started
    body: Callable[[str, Odd | None], dict[str, Any]]  # of a line with this user text that is to be answered so
    expected: Callable[[Mapping[str, Any]], str]  # the text that must come back for a body
    wrong: Mapping[str, Any]  # credentials that nobody has
    endpoint: str = CHAT
    error_code: str = "400"  # of the row of a line that is answered with an error
    apart: Mapping[str, Any] = field(default_factory=dict)  # body members that put a line into another job
    errors_run: bool = True  # is a line that is answered with an error paid for?
    partial: bool = True  # does a job that is cancelled half-way keep the answers it has?
    pythonpath: Path | None = None  # of an adapter from outside the tree
    skips: Mapping[str, str] = field(default_factory=dict)  # test name -> reason, never empty

    def environment(self) -> dict[str, str]:
        """Return what the gateway's process gets: this provider alone is registered."""
        found = {"PROXY_PLUGIN_ONLY_PROVIDERS": self.name}
        if self.pythonpath is not None:
            found["PYTHONPATH"] = os.pathsep.join([str(self.pythonpath), *filter(None, [os.environ.get("PYTHONPATH")])])
        return found


def marked(text: str, odd: Odd | None) -> str:
    """Return a user text with the marker that our stand-ins obey."""
    values = {"error": "=400", "foreign": f"={FOREIGN}"}
    return text if odd is None else f"{text} [[sandbox:{odd}{values.get(odd, '')}]]"


def chat_body(model: str) -> Callable[[str, Odd | None], dict[str, Any]]:
    """Return a maker of chat bodies for this model."""
    return lambda text, odd: {"model": model, "messages": [{"role": "user", "content": marked(text, odd)}]}


CASES = [
    Case(
        name="openai",
        wire=lambda: SandboxWire(
            "openai",
            calls=[
                *("files.create", "files.list", "files.retrieve", "files.content", "files.delete"),
                *("batches.create", "batches.list", "batches.retrieve", "batches.cancel"),
            ],
            create="batches.create",
            cancel="batches.cancel",
            results="files.content",
        ),
        body=chat_body("gpt-4.1-nano"),
        expected=lambda body: expected_text(CHAT, body),
        wrong={"api_key": "sk-nobody-has-this-58c1"},
        apart={"model": "gpt-4o-mini"},  # one model a job
    ),
    Case(
        name="anthropic",
        wire=lambda: SandboxWire(
            "anthropic",
            calls=["batches.create", "batches.list", "batches.retrieve", "batches.cancel", "batches.results"],
            create="batches.create",
            cancel="batches.cancel",
            results="batches.results",
            mark=lambda record: record["mark"],
            quick={"run_seconds": 0.05, "cancel_seconds": 0.05, "answers": "echo"},
            settings={"on_unknown": "resend"},
        ),
        body=chat_body("claude-haiku-4-5"),
        expected=lambda body: expected_text(CHAT, body, style="echo"),
        wrong={"api_key": "sk-nobody-has-this-58c1"},
        errors_run=False,
        skips=dict.fromkeys(
            (
                "test_a_batch_whose_create_is_lost_is_cancelled_when_it_is_found",
                "test_a_stranger_in_the_account_is_not_cancelled",
            ),
            "without a label a lost job is known as ours, and may be cancelled, only when it has ended",
        ),
    ),
    Case(
        name="toy",
        wire=ToyWire,
        body=chat_body("wool-1"),
        expected=lambda body: answer_text(body["model"], body["messages"][-1]["content"]),
        wrong={"api_key": "toy-nobody-has-this-58c1"},
        apart={"max_tokens": 2000},  # long answers have a queue of their own
        partial=False,
        pythonpath=Path(__file__).parents[2] / "toy",
    ),
]
