"""Files that went wrong once, planned and split as they were (`reported/`): what is refused, recorded and sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.plan_count import Figures, PlanJob, count
from tests.toy.toy_batch import ToyBatch

FOLDER = Path(__file__).parent / "reported"
CHAT = "/v1/chat/completions"
SCHEMA = "response_format.json_schema.schema"
TOLD = "response_format=told, not enforced"


class Made(NamedTuple):
    """What a plan says of a file, and the native requests of its one job, by ordinal."""

    figures: Figures
    requests: list[dict[str, Any]]

    @property
    def refused(self) -> list[str | None]:
        return [param for _, param, _ in self.figures.refusals]


def made(tmp_path: Path, name: str, provider: str, *, drop: bool = False) -> Made:
    """Plan a file and split it: a plan and a run say the same."""
    lines = (FOLDER / f"{name}.jsonl").read_bytes().splitlines()
    batch = ToyBatch(tmp_path, lines, (TargetSpec("account", provider, drop_params=drop),), CHAT)
    figures = count(PlanJob(batch.split_job(), frozenset({CHAT})))
    manifest = batch.split()
    assert (figures.placed, figures.refused) == (manifest.total - manifest.rejected, manifest.rejected)
    text = b"".join(batch.document(part) for part in manifest.parts)
    if provider == "openai":
        return Made(figures, [json.loads(line)["body"] for line in text.splitlines()])
    return Made(figures, [each["params"] for each in json.loads(text or b'{"requests":[]}')["requests"]])


@pytest.mark.parametrize("name", ["line-01-three-plain", "line-11-two-lines"])
def test_plain_lines_go_as_they_are(tmp_path: Path, name: str) -> None:
    found = made(tmp_path, name, "openai")
    given = [json.loads(line)["body"] for line in (FOLDER / f"{name}.jsonl").read_bytes().splitlines()]
    assert (found.requests, found.refused, found.figures.dropped) == (given, [], ())


def test_half_a_character_does_not_take_its_job_with_it(tmp_path: Path) -> None:
    found = made(tmp_path, "line-02-cut-emoji", "anthropic")
    said = [request["messages"][0]["content"] for request in found.requests]
    assert said == ["q0", "q1", "q2", "q3", "great \ufffd"]
    assert found.figures.dropped == (("messages[].content=U+FFFD", 1),)


def test_a_dictionary_is_never_closed(tmp_path: Path) -> None:
    assert made(tmp_path / "a", "line-04-dict-field", "anthropic").refused == [
        f"{SCHEMA}.properties.additionalProperties"
    ]
    found = made(tmp_path / "b", "line-04-dict-field", "anthropic", drop=True)
    (request,) = found.requests
    assert "output_config" not in request
    assert '"additionalProperties":{"type":"number"}' in request["system"]
    assert found.figures.dropped == ((TOLD, 1),)


def test_schemas_that_claude_refuses_are_refused_by_name(tmp_path: Path) -> None:
    found = made(tmp_path, "line-06-schemas-claude-refuses", "anthropic")
    assert (found.figures.placed, found.figures.refused) == (0, 8)
    kinds = ("$ref", "uniqueItems", "enum", "pattern", "patternProperties", "$ref", "", "oneOf")
    params = [fault.param or "" for fault in found.figures.refused_lines]
    assert all(param.startswith(SCHEMA) and param.endswith(kind) for param, kind in zip(params, kinds, strict=True))
    assert [fault.message.partition(":")[0] for fault in found.figures.refused_lines] == params


def test_schemas_that_claude_refuses_are_rewritten_or_told_under_the_switch(tmp_path: Path) -> None:
    found = made(tmp_path, "line-06-schemas-claude-refuses", "anthropic", drop=True)
    assert (found.figures.placed, found.figures.refused) == (8, 0)
    enforced = ["output_config" in request for request in found.requests]
    assert enforced == [False, True, False, True, False, False, False, True]
    assert dict(found.figures.dropped)[TOLD] == enforced.count(False)
    words = json.dumps(found.requests)
    assert not any(f'"{word}":' in words for word in ("uniqueItems", "pattern", "oneOf"))


def test_a_plan_names_every_parameter(tmp_path: Path) -> None:
    found = made(tmp_path / "a", "line-09-many-params", "anthropic")
    assert found.refused == ["logit_bias", "presence_penalty", "top_p"]
    assert all(name in found.figures.refused_lines[0].message for name in found.refused if name)
    dropped = made(tmp_path / "b", "line-09-many-params", "anthropic", drop=True).figures.dropped
    assert {name for name, _ in dropped} == {
        *("logit_bias", "presence_penalty", "top_p", "seed", "store", "metadata", "messages[].name", TOLD),
    }


def test_the_providers_own_fields_run(tmp_path: Path) -> None:
    found = made(tmp_path, "line-10-thinking", "anthropic")
    thinking, effort, searching = found.requests
    assert thinking["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert effort["output_config"] == {"effort": "low"}
    assert searching["tools"][0]["name"] == "web_search"
    assert found.figures.dropped == (("web_search_options.search_context_size", 1),)


def test_every_file_is_planned() -> None:
    code = Path(__file__).read_text()
    assert all(f'"{path.stem}"' in code for path in FOLDER.glob("*.jsonl"))
