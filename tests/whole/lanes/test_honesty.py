"""What Anthropic cannot honour is refused by name or recorded, and what it says of a line late is handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import jsonl
from tests.toy.toy_batch import ToyBatch
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import Line, account, chat

NOTED = "messages[].content[].image_url.detail"
IMAGE = "data:image/png;base64,iVBORw0KGgo="


def _picture(detail: str) -> Line:
    line = chat(f"detail {detail}", "")
    image = {"type": "image_url", "image_url": {"url": IMAGE, "detail": detail}}
    line["body"]["messages"][0]["content"] = [{"type": "text", "text": "look"}, image]
    return line


# Lines, the parameter that a refusal names and what its message must tell, what the ledger records where it is allowed.
UNFIT: list[tuple[Line, str, str, list[str]]] = [
    (chat("a", "x", temperature=1.5), "temperature", "Send 1 at most", ["temperature=1"]),
    (chat("b", "x", logit_bias={"5": 1}), "logit_bias", "Remove it", ["logit_bias"]),
    (chat("c", "x", frequency_penalty=0.5), "frequency_penalty", "Remove it", ["frequency_penalty"]),
]
# Lines that run without a switch, and what the ledger records.
HINTED: list[tuple[Line, list[str]]] = [
    (chat("h", "x", max_tokens=64_001), ["max_tokens=64000"]),
    (chat("i", "x", max_completion_tokens=10**6), ["max_completion_tokens=64000"]),
    (chat("d", "x", seed=7), ["seed"]),
    (chat("j", "x", response_format={"type": "json_object"}), ["response_format=told, not enforced"]),
    (chat("k", "x", metadata={"a": "b"}, store=True), ["metadata", "store"]),
]
PICTURED: list[tuple[Line, list[str]]] = [(_picture("high"), [NOTED]), (_picture("low"), [NOTED])]
FIT = [chat("e", "y", max_tokens=64_000), chat("f", "y", temperature=1), chat("g", "y", n=1, frequency_penalty=0)]


def test_lines_are_refused_by_name_and_the_rest_runs(sandbox: Sandbox, gateway: Client) -> None:
    sandbox.control.reset()
    fit = [*(line for line, _ in HINTED), *FIT]
    lines = [*(line for line, *_ in UNFIT), *fit]
    batch = gateway.run(lines, "anthropic")
    assert batch["status"] == "completed"
    assert account(gateway, batch, lines) == {"unsupported_parameter": len(UNFIT), "ok": len(fit)}
    for row, (_, param, remedy, _) in zip(gateway.rows(batch["error_file_id"]), UNFIT, strict=True):
        assert row["error"] is None
        message = row["response"]["body"]["error"]["message"]
        assert message.startswith(f"{param}: ")
        assert remedy in message
        assert "drop_params" in message
    assert [entry["lines"] for entry in sandbox.control.log()] == [len(fit)]


def test_a_picture_whose_detail_is_left_to_the_model_is_taken(sandbox: Sandbox, gateway: Client) -> None:
    sandbox.control.reset()
    batch = gateway.run([_picture("auto"), *(line for line, _ in PICTURED)], "anthropic")
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


def test_allowed_losses_are_in_the_ledger(tmp_path: Path) -> None:
    lines = [line for line, *_ in UNFIT] + [line for line, _ in HINTED] + FIT
    target = TargetSpec(slug="claude", provider="anthropic", drop_params=True)
    noted = _noted(tmp_path, lines, target)
    assert noted == [*(names for *_, names in UNFIT), *(names for _, names in HINTED), *[None] * len(FIT)]


def test_hints_are_in_the_ledger_without_a_switch_and_refused_by_the_strict_one(tmp_path: Path) -> None:
    hinted = HINTED + PICTURED
    lines = [line for line, _ in hinted] + FIT
    noted = _noted(tmp_path / "lax", lines, TargetSpec(slug="claude", provider="anthropic"))
    assert noted == [*(names for _, names in hinted), *[None] * len(FIT)]
    strict = TargetSpec(slug="claude", provider="anthropic", strict_params=True)
    batch = ToyBatch(tmp_path / "strict", jsonl(lines).splitlines(), (strict,))
    (part,) = batch.split().parts
    assert part.lines == len(FIT)


def _noted(folder: Path, lines: list[Line], target: TargetSpec) -> list[object]:
    batch = ToyBatch(folder, jsonl(lines).splitlines(), (target,))
    (part,) = batch.split().parts
    assert part.lines == len(lines)
    batch.merge()
    return [entry.get("dropped") for entry in batch.merged("ledger.jsonl")]


# Markers, and what becomes of them: the status of the row, the words of the provider.
LATE: dict[str, tuple[int, str, str]] = {
    "error=400": (400, "invalid_request_error", "The request asked the sandbox for an error 400."),
    "error=413": (413, "request_too_large", "The request asked the sandbox for an error 413."),
    "error=429": (429, "rate_limit_error", "The request asked the sandbox for an error 429."),
    "error=500": (500, "api_error", "The request asked the sandbox for an error 500."),
    "error=529": (529, "overloaded_error", "The request asked the sandbox for an error 529."),
    "timeout": (504, "timeout_error", "The model did not answer in time."),
}


def test_errors_that_come_with_the_results_keep_status_and_words(sandbox: Sandbox, gateway: Client) -> None:
    sandbox.control.reset()
    lines = [chat("good", "hi"), *(chat(name, f"[[sandbox:{name}]]") for name in LATE)]
    batch = gateway.run(lines, "anthropic")
    assert batch["status"] == "completed"
    statuses = {str(status): 1 for status, _, _ in LATE.values()}
    assert account(gateway, batch, lines) == {"ok": 1} | statuses
    for row in gateway.rows(batch["error_file_id"]):
        status, kind, words = LATE[row["custom_id"]]
        assert row["error"] is None
        assert (row["response"]["status_code"], row["response"]["request_id"]) == (status, "")
        assert row["response"]["body"] == {"error": {"message": words, "type": kind, "param": None, "code": kind}}


def test_parameters_that_only_the_provider_judges_come_back_as_its_errors(sandbox: Sandbox, gateway: Client) -> None:
    """The stand-in's model allows less than the table says: the create is accepted, the line fails at the end."""
    sandbox.control.reset()
    sandbox.control.options("anthropic", model_output_tokens={"claude-haiku-4-5": 100})
    lines = [chat("over", "x", max_tokens=101), chat("under", "x", max_tokens=100)]
    batch = gateway.run(lines, "anthropic")
    assert (batch["status"], account(gateway, batch, lines)) == ("completed", {"400": 1, "ok": 1})
    (row,) = gateway.rows(batch["error_file_id"])
    error: dict[str, Any] = row["response"]["body"]["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("max_tokens: 101 > 100")


@pytest.mark.parametrize("model", ["claude-3-haiku-20240307", "claude-opus-4-6"])
def test_the_maximum_is_the_models_own(model: str, sandbox: Sandbox, gateway: Client) -> None:
    sandbox.control.reset()
    sandbox.control.options("anthropic", max_output_tokens=128_000)
    most = {"claude-3-haiku-20240307": 4096, "claude-opus-4-6": 128_000}[model]
    lines = [chat("at", "x", max_tokens=most, model=model), chat("above", "x", max_tokens=most + 1, model=model)]
    batch = gateway.run(lines, "anthropic")  # the stand-in refuses a line above its model's own limit
    assert account(gateway, batch, lines) == {"ok": 2}
