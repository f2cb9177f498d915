"""The judge compares what is left when our own instructions are taken out: exactly the body without them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.providers.formats.bedrock.invoke import to_converse, to_invoke
from tests.oracles.told import untold

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FORMS: list[Any] = [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}]
MODELS = [
    (to_invoke, "meta.llama3-3-70b-instruct-v1:0"),
    (to_invoke, "meta.llama4-scout-17b-instruct-v1:0"),
    (to_invoke, "mistral.mistral-7b-instruct-v0:2"),
    (to_invoke, "us.deepseek.r1-v1:0"),
    (to_invoke, "mistral.mistral-large-2407-v1:0"),
    (to_invoke, "amazon.nova-pro-v1:0"),
    (to_converse, "amazon.nova-pro-v1:0"),
    (to_converse, "mistral.mistral-7b-instruct-v0:2"),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["type"])
@pytest.mark.parametrize(("translate", "model"), MODELS, ids=lambda each: str(getattr(each, "__name__", each)))
@pytest.mark.parametrize("system", [True, False])
def test_nothing_is_left_of_an_instruction(translate: Any, model: str, form: Any, system: bool) -> None:
    if system and "mistral-7b" in model:
        pytest.skip("it has no system messages")
    words = [{"role": "system", "content": "Be brief."}] if system else []
    body = {"model": model, "messages": [*words, {"role": "user", "content": "hi\n\nthere <| you"}]}

    def native(given: Any) -> Any:
        return translate(json.dumps(given).encode(), model=model, drop_params=False)

    told = native({**body, "response_format": form})
    bare, dropped = untold(json.loads(told.body), told.dropped)
    assert bare == json.loads(native(body).body)
    assert dropped == ("response_format",)
