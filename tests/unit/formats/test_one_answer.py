"""Bodies that are handed on as they are, and what asks in them for more than a lane gives."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.openai.carried import require_one_answer, require_one_prompt


@pytest.mark.parametrize("body", [b'{"n":2}', b'{"\\u006e":2}', b'{"n" : "2"}', b'{"n":1,"n":3}', b'{"n":0}'])
def test_a_service_of_one_answer_refuses_several_by_name(body: bytes) -> None:
    with pytest.raises(LineRejected, match="n: Groq gives one answer") as refused:
        require_one_answer(body, "Groq")
    assert refused.value.param == "n"


@pytest.mark.parametrize("body", [b"{}", b'{"n":1}', b'{"n": null}', b'{"a":{"n":2}}', b'{"a":"\\"n\\": 2"}'])
def test_a_service_of_one_answer_takes_what_asks_for_one(body: bytes) -> None:
    require_one_answer(body, "Groq")


@pytest.mark.parametrize("body", [b'{"prompt":["a","b"]}', b'{"pr\\u006fmpt": [ "a" , "b" ]}'])
def test_several_prompts_are_refused_by_name(body: bytes) -> None:
    with pytest.raises(LineRejected, match="prompt: Ollama takes one prompt") as refused:
        require_one_prompt(body, "Ollama")
    assert refused.value.param == "prompt"


@pytest.mark.parametrize("body", [b"{}", b'{"prompt":"a"}', b'{"prompt":["a"]}', b'{"prompt":[1,2]}', b'{"prompt":[]}'])
def test_one_prompt_is_taken(body: bytes) -> None:
    require_one_prompt(body, "Ollama")
