"""Every provider the suite runs for. A new provider adds one `Case` to `CASES`, and nothing else changes here.

The facts of a provider that its stand-in knows stand in the stand-in's record. A vendor that copies an API has a record
too, in `copies.py` beside that API's stand-in, and with it its case.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.azure_openai.stand_in import ENTRA
from proxy_plugin.providers.sandbox.claude_platform_aws.stand_in import SIGNED
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn, copies, find
from tests.toy.toy_service import answer_text
from tests.whole.contract.client import Client, Keeper
from tests.whole.contract.sandbox_wire import SandboxWire
from tests.whole.contract.toy_wire import TOY, ToyWire
from tests.whole.contract.wire import FOREIGN, Wire

Odd = Literal["error", "missing", "duplicate", "foreign"]
"""How a provider may answer a line: with an error, not at all, twice, with a foreign row (`FOREIGN`) beside it."""
HALF = re.compile("[\ud800-\udfff]")
Wires = Mapping[str, Wire]
"""The stand-ins by provider."""
UNLABELLED = dict.fromkeys(
    (
        "test_a_batch_whose_create_is_lost_is_cancelled_when_it_is_found",
        "test_a_stranger_in_the_account_is_not_cancelled",
    ),
    "without a label a lost job is known as ours, and may be cancelled, only when it has ended",
)


def respond(model: str, text: str) -> dict[str, Any]:
    """Return the body of a line of the Responses API."""
    return {"model": model, "input": [{"role": "user", "content": text}]}


UNCOUNTED = dict.fromkeys(
    (
        "test_results_that_stay_empty_are_read_so_often_and_no_more",
        "test_a_result_that_never_comes_is_said_to_have_been_announced",
    ),
    "jobs tell no counts, so no result is announced",
)


def chat(model: str, text: str) -> dict[str, Any]:
    """Return the body of a chat line."""
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def embed(model: str, text: str) -> dict[str, Any]:
    """Return the body of a line of embeddings."""
    return {"model": model, "input": text}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the suite must know about one provider beyond the record of its stand-in."""

    stand_in: StandIn
    wire: Callable[[StandIn, Sandbox], Wire] = SandboxWire  # the stand-in as the suite uses it, not started
    write: Callable[[str, str], dict[str, Any]] = chat  # the body of a line: model and user text
    answer: Callable[[Mapping[str, Any]], str] | None = None  # the text that must come back for a body
    wrong: Mapping[str, Any] = field(default_factory=lambda: {"api_key": "sk-nobody-has-this-58c1"})  # nobody's key
    half: str | None = None  # what half a character becomes on the way; None: it arrives as it is
    error_code: str = "400"  # of the row of a line that is answered with an error
    apart: Mapping[str, Any] = field(default_factory=dict)  # body members that put a line into another job
    whole: bool = False  # does the suite run all tests for it? See slices.py
    pythonpath: Path | None = None  # of an adapter from outside the tree
    skips: Mapping[str, str] = field(default_factory=dict)  # test name -> reason, never empty

    @property
    def name(self) -> str:
        """The provider's name, as virtual keys have it."""
        return self.stand_in.provider

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why the provider lacks a test, by test name."""
        own = {**UNLABELLED, **self.skips} if not self.stand_in.labelled else self.skips
        return own if self.stand_in.counted else {**UNCOUNTED, **own}

    def body(self, text: str, odd: Odd | None = None) -> dict[str, Any]:
        """Return the body of a line with this user text that is to be answered so."""
        return self.write(self.stand_in.model, marked(text, odd))

    def expected(self, body: Mapping[str, Any]) -> str:
        """Return the text that must come back for a body."""
        if self.answer is not None:
            return self.answer(body)
        if self.half is not None:
            body = json.loads(HALF.sub(self.half, json.dumps(body, ensure_ascii=False)))
        return expected_text(self.stand_in.endpoint, body, self.stand_in.answers)

    def virtual_keys(self, wire: Wire) -> dict[str, dict[str, Any]]:
        """Return the virtual keys for the provider's account, by slug."""
        more = {"listed": {"models": [self.stand_in.model]}, "wrong": self.wrong}
        return {f"{self.name}-{slug}": wire.virtual_key(**options) for slug, options in {**KEYS, **more}.items()}


KEYS: Mapping[str, Mapping[str, Any]] = {  # of every case, by slug
    "lane": {},
    "few": {"max_lines_per_job": 3},
    "four": {"max_lines_per_job": 4},
    "small": {"max_bytes_per_job": 4000},
    "settling": {"settle_seconds": 1.0},
    "one-by-one": {"max_lines_per_job": 6, "max_jobs_in_flight": 1},
    "one-job": {"max_lines_per_job": 3, "max_jobs_in_flight": 1},
    "two-jobs": {"max_lines_per_job": 3, "max_jobs_in_flight": 2},
    "lines-of-two": {"max_lines_per_job": 3, "max_lines_queued": 2 * 3 + 1},
    "lines-of-none": {"max_lines_per_job": 3, "max_lines_queued": 3 - 1},
}


def environment(*cases: Case) -> dict[str, str]:
    """Return what the process of a gateway gets that has the providers of these cases and no other."""
    found = {"PROXY_PLUGIN_ONLY_PROVIDERS": ",".join(case.name for case in cases)}
    if paths := [str(case.pythonpath) for case in cases if case.pythonpath]:
        found["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    return found


def keeper_of(cases: Sequence[Case], wires: Wires, homes: pytest.TempPathFactory) -> Keeper:
    """Return the keeper of a gateway that has the providers of these cases and no other."""

    def make() -> Client:
        keys = {slug: key for case in cases for slug, key in case.virtual_keys(wires[case.name]).items()}
        return Client(homes.mktemp("contract"), keys, env=environment(*cases))

    return Keeper(make)


def marked(text: str, odd: Odd | None) -> str:
    """Return a user text with the marker that our stand-ins obey."""
    values = {"error": "=400", "foreign": f"={FOREIGN}"}
    return text if odd is None else f"{text} [[sandbox:{odd}{values.get(odd, '')}]]"


OPENAI, TOGETHER, FIREWORKS, COHERE = map(find, ("openai", "together-ai", "fireworks-ai", "cohere"))


def _apart(stand_in: StandIn) -> dict[str, Any]:
    return {"apart": {"model": stand_in.models[1]}}


_COPIES: Mapping[str, Mapping[str, Any]] = {  # cases of copies of an API that are not like its own
    "groq": {},  # many models a job
    "perplexity-ai": {"write": respond, **_apart(find("perplexity-ai"))},
}
CASES = [
    Case(stand_in=OPENAI, apart={"model": OPENAI.models[1]}, whole=True),  # one model a job
    *(Case(stand_in=each, **_COPIES.get(name, _apart(each))) for name, each in copies().items()),
    Case(stand_in=find("anthropic"), half="\ufffd", whole=True),
    Case(
        stand_in=find("bedrock"),
        half="\ufffd",
        wrong={"aws_secret_access_key": "nobody-has-this-58c1"},
        **_apart(find("bedrock")),
    ),
    Case(stand_in=COHERE, apart={"model": COHERE.models[1]}),
    Case(stand_in=FIREWORKS, apart={"model": FIREWORKS.models[1]}),
    Case(stand_in=TOGETHER, apart={"model": TOGETHER.models[1]}),
    Case(stand_in=find("voyage"), write=embed, apart={"input_type": "query"}),
    Case(stand_in=find("x-ai"), half="\ufffd", error_code="request_failed"),
    Case(stand_in=find("mistral-ai"), half="\ufffd", apart={"model": find("mistral-ai").models[1]}),
    Case(stand_in=find("google"), apart={"model": find("google").models[1]}),
    Case(
        stand_in=ENTRA,
        wrong={"azure_entra_client_secret": None, "api_key": "sk-nobody-has-this-58c1"},
        **_apart(ENTRA),
    ),
    Case(
        stand_in=SIGNED if find_spec("botocore") else find("claude-platform-aws"),
        half="\ufffd",
        wrong={"aws_secret_access_key": "nobody-has-this-58c1"}
        if find_spec("botocore")
        else {"api_key": "sk-nobody-has-this-58c1"},
    ),
    Case(
        stand_in=find("claude-platform-google"),
        half="\ufffd",
        wrong={
            "vertex_service_account_json": None,
            "api_key": "sk-nobody-has-this-58c1",
        },  # a token, not a key: refused
    ),
    Case(
        stand_in=find("vertex-ai"),
        half="\ufffd",
        wrong={
            "vertex_service_account_json": None,
            "api_key": "sk-nobody-has-this-58c1",
        },  # a token, not a key: refused
        **_apart(find("vertex-ai")),
    ),
    Case(
        stand_in=TOY,
        whole=True,
        wire=ToyWire,
        answer=lambda body: answer_text(body["model"], body["messages"][-1]["content"]),
        apart={"max_tokens": 2000},  # long answers have a queue of their own
        pythonpath=Path(__file__).parents[2] / "toy",
    ),
]
