"""Chat bodies as Converse requests and as Nova's own format: every row of the mapping."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.providers.formats.bedrock.converse import to_converse, to_nova
from proxy_plugin.providers.formats.bedrock.invoke import to_invoke
from tests.unit.formats.anthropic_lines import HELLO, PDF, PNG, SCHEMA, TOOL, call, calling, result, text, user
from tests.unit.formats.bedrock_lines import (
    CLAUDE,
    FILE,
    GEMMA,
    GPT_OSS,
    IMAGE,
    LLAMA_3,
    MICRO,
    MIXTRAL,
    NOVA,
    NOVA_2,
    QWEN,
    QWEN_VL,
    R1,
    Json,
    body,
    converse,
    invoke,
    noted,
    refused,
)

SAID = [{"role": "user", "content": [{"text": "hi"}]}]
SPEC: Json = {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}}
POINT = {"cachePoint": {"type": "default"}}
MARK = {"type": "ephemeral"}


def blocks(*parts: object, model: str = NOVA) -> Any:
    return converse(model, user(*parts))["messages"][0]["content"]


def test_the_plainest_line() -> None:
    assert converse(LLAMA_3) == {"messages": SAID}
    assert invoke(NOVA) == {"schemaVersion": "messages-v1", "messages": SAID}


def test_system_messages_are_hoisted_in_order() -> None:
    messages = [{"role": "system", "content": "a"}, *HELLO, {"role": "developer", "content": [text("b"), text(" ")]}]
    native = converse(LLAMA_3, messages, lost=("messages[]=first",))
    assert native == {"messages": SAID, "system": [{"text": "a"}, {"text": "b"}]}
    first = [messages[0], messages[2], *HELLO]
    assert converse(LLAMA_3, first) == native
    late = [*HELLO, {"role": "system", "content": "b"}]
    for model in (NOVA, QWEN, "amazon.nova-3-pro-v1:0"):
        assert to_converse(body(late), model=model, drop_params=False).dropped == ("messages[]=first",)


def test_turns_of_one_role_are_one_message() -> None:
    told = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [text("b")]},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        *HELLO,
    ]
    assert converse(LLAMA_3, told)["messages"] == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        {"role": "assistant", "content": [{"text": "c"}, {"text": "no"}]},
        *SAID,
    ]


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp"])
def test_images(kind: str) -> None:
    url = f"data:image/{kind};base64,AA"
    assert blocks({"type": "image_url", "image_url": {"url": url}}) == [
        {"image": {"format": kind, "source": {"bytes": "AA"}}}
    ]


def test_objects_of_the_batchs_bucket() -> None:
    image = {"type": "image_url", "image_url": "s3://bucket-1/a b/c.JPG"}
    paper = {"type": "file", "file": {"file_data": "s3://bucket-1/c.docx"}}
    assert blocks(image, text("a"), paper) == [
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket-1/a b/c.JPG"}}}},
        {"text": "a"},
        {"document": {"format": "docx", "name": "document", "source": {"s3Location": {"uri": "s3://bucket-1/c.docx"}}}},
    ]


def test_documents_get_names_that_the_service_takes() -> None:
    names = ["a_b.pdf", "a b.pdf", None, "報告書.pdf", "x" * 300, f"{'y' * 189} z.pdf", "(1) [a]-b.tar.gz", "..."]
    parts = [{"type": "file", "file": {"file_data": PDF, **({"filename": name} if name else {})}} for name in names]
    found = [block["document"] for block in blocks(text("a"), *parts)[1:]]
    assert [each["name"] for each in found] == [
        "a b", "a b 2", "document", "document 2", "x" * 190, "y" * 189, "(1) [a]-b tar", "document 3",
    ]  # fmt: skip
    assert {each["format"] for each in found} == {"pdf"}
    assert {each["source"]["bytes"] for each in found} == {"JVBERi0xLjc="}


def test_other_documents() -> None:
    for media, kind in {"text/csv": "csv", "text/plain": "txt", "application/msword": "doc"}.items():
        part = {"type": "file", "file": {"file_data": f"data:{media};base64,AA"}}
        assert blocks(text("a"), part)[1]["document"]["format"] == kind


def test_calls_and_results() -> None:
    long = "x" * 65
    told = [
        *HELLO,
        calling(call('{"a": 1}', "a"), call("", long), content="look"),
        result(long, [text("x"), IMAGE]),
        {"role": "system", "content": "now"},
        result("a", ""),
        {"role": "user", "content": "go"},
    ]
    native = invoke(NOVA, told, tools=[TOOL], lost=("messages[]=first",))
    (first, second), answers = native["messages"][1]["content"][1:], native["messages"][2]["content"]
    assert native["messages"][1]["content"][0] == {"text": "look"}
    assert first == {"toolUse": {"toolUseId": "a", "name": "f", "input": {"a": 1}}}
    assert second["toolUse"]["input"] == {}
    hashed = second["toolUse"]["toolUseId"]
    assert len(hashed) == 37
    image = {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    assert answers == [
        {"toolResult": {"toolUseId": hashed, "content": [{"text": "x"}, image]}},
        {"toolResult": {"toolUseId": "a", "content": []}},
        {"text": "go"},
    ]


CHOICES: list[tuple[Json, Json | None]] = [
    ({}, None),
    ({"tool_choice": "auto"}, {"auto": {}}),
    ({"tool_choice": "required"}, {"any": {}}),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"tool": {"name": "f"}}),
]


@pytest.mark.parametrize(("choice", "native"), CHOICES)
@pytest.mark.parametrize("model", [NOVA, CLAUDE])
def test_tools(choice: Json, native: Json | None, model: str) -> None:
    config = converse(model, tools=[TOOL], **choice)["toolConfig"]
    assert config == {"tools": [SPEC], **({"toolChoice": native} if native else {})}
    if model == NOVA:
        assert invoke(NOVA, tools=[TOOL], **choice)["toolConfig"] == config


@pytest.mark.parametrize("model", [QWEN, LLAMA_3, GEMMA])
def test_which_tool_is_said_to_claude_and_nova_only(model: str) -> None:
    named = {"type": "function", "function": {"name": "f"}}
    config = converse(model, tools=[TOOL], tool_choice=named, lost=("tool_choice=auto",))["toolConfig"]
    assert config == {"tools": [SPEC], "toolChoice": {"auto": {}}}
    config = converse(model, tools=[TOOL], tool_choice="required")["toolConfig"]
    assert config == {"tools": [SPEC], "toolChoice": {"any": {}}}


def test_forbidden_tools_are_left_out() -> None:
    assert noted(to_converse, QWEN, tools=[TOOL], tool_choice="none") == ({"messages": SAID}, ("tools",))
    function: Any = TOOL["function"]
    strict: Json = {"type": "function", "function": {**function, "strict": True}}
    assert noted(to_converse, QWEN, tools=[strict], tool_choice="none") == ({"messages": SAID}, ("tools",))
    older: Json = {"functions": [TOOL["function"]], "function_call": "none"}
    assert noted(to_converse, QWEN, **older) == ({"messages": SAID}, ("functions",))
    assert converse(QWEN, tools=[], tool_choice="none") == {"messages": SAID}
    history = [*HELLO, calling(call()), result()]
    told = converse(QWEN, history, tools=[TOOL], tool_choice="none", lost=("tool_choice=auto",))
    assert told["toolConfig"] == {"tools": [SPEC]}
    bare = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
    assert converse(QWEN, history, lost=("tools",))["toolConfig"] == {"tools": [bare]}


def test_strict_tools() -> None:
    function: Any = TOOL["function"]
    strict = {"type": "function", "function": {**function, "strict": True}}
    spec = {"toolSpec": {**SPEC["toolSpec"], "strict": True}}
    for model in (CLAUDE, QWEN):
        assert converse(model, tools=[strict])["toolConfig"]["tools"] == [spec]
    assert invoke(NOVA, tools=[strict], lost=("tools[].function.strict",))["toolConfig"]["tools"] == [SPEC]


def test_inference_options() -> None:
    given: Json = {"max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.1, "stop": ["a", "", " "]}
    native = converse(QWEN, lost=("stop=without empty ones",), **given)
    assert native["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 0.1, "stopSequences": ["a", " "]}
    assert converse(QWEN, stop=[], temperature=None, n=1, seed=None, frequency_penalty=0) == {"messages": SAID}
    assert converse(QWEN, stop="", lost=("stop=without empty ones",)) == {"messages": SAID}


def test_what_one_family_takes() -> None:
    assert converse(NOVA, top_k=3)["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 3}}
    assert invoke(NOVA, top_k=3, max_tokens=4)["inferenceConfig"] == {"maxTokens": 4, "topK": 3}
    thinks = {"type": "enabled", "maxReasoningEffort": "low"}
    native = converse(NOVA_2, reasoning_effort="minimal", lost=("reasoning_effort=low",))
    assert native["additionalModelRequestFields"] == {"reasoningConfig": thinks}
    assert invoke(NOVA_2, reasoning_effort="low")["reasoningConfig"] == thinks
    assert invoke(NOVA_2, reasoning_effort="none") == invoke(NOVA_2)
    native = converse(GPT_OSS, reasoning_effort="high", seed=7, logit_bias={"1": -1.5}, presence_penalty=1)
    assert native["additionalModelRequestFields"] == {
        "reasoning_effort": "high", "seed": 7, "logit_bias": {"1": -1.5}, "presence_penalty": 1,
    }  # fmt: skip


def test_the_end_user_is_a_pseudonym() -> None:
    ours = converse(QWEN, user="ada@example.com")["requestMetadata"]["user_id"]
    assert len(ours) == 64
    assert converse(CLAUDE, user="ada@example.com")["requestMetadata"] == {"user_id": ours}


def test_schemas_of_answers() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": SCHEMA}}
    form = converse(QWEN, response_format=wanted)["outputConfig"]["textFormat"]
    definition = form["structure"]["jsonSchema"]
    assert (form["type"], definition["name"], definition["description"]) == ("json_schema", "n", "d")
    assert json.loads(definition["schema"]) == SCHEMA
    assert "outputConfig" not in converse(QWEN, response_format={"type": "text"})


def test_cache_points() -> None:
    marked = [
        {"role": "system", "content": "a", "cache_control": MARK},
        *user(text("b"), {**text("c"), "cache_control": {**MARK, "ttl": "1h"}}),
    ]
    native = invoke(NOVA, marked, tools=[{**TOOL, "cache_control": MARK}])
    assert native["system"] == [{"text": "a"}, POINT]
    hour = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert native["messages"][0]["content"] == [{"text": "b"}, {"text": "c"}, hour]
    assert native["toolConfig"]["tools"] == [SPEC, POINT]
    assert converse(CLAUDE, cache_control=MARK)["messages"] == [{"role": "user", "content": [{"text": "hi"}, POINT]}]
    assert converse(CLAUDE, tools=[{**TOOL, "cache_control": MARK}])["toolConfig"]["tools"] == [SPEC, POINT]
    assert converse(QWEN, cache_control=MARK, lost=("cache_control",)) == {"messages": SAID}


def test_claude_in_converse() -> None:
    model = "anthropic.claude-opus-4-6-v1"
    native = converse(model, reasoning_effort="max", max_tokens=5000, stop="a")
    assert native == {
        "messages": SAID,
        "inferenceConfig": {"maxTokens": 5000, "stopSequences": ["a"]},
        "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
        "outputConfig": {"effort": "max"},
    }
    native = converse(CLAUDE, top_k=4, temperature=0.5)
    assert native["additionalModelRequestFields"] == {"top_k": 4}
    assert native["inferenceConfig"] == {"maxTokens": 64_000, "temperature": 0.5}
    wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    definition = converse(CLAUDE, response_format=wanted)["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert json.loads(definition["schema"]) == SCHEMA


AT = "messages[].content[].image_url"
LOST: list[tuple[str, Json, str]] = [
    (QWEN, {"top_k": 4}, "top_k"),
    (QWEN, {"seed": 4}, "seed"),
    (QWEN, {"temperature": 1.5}, "temperature=1"),
    (QWEN, {"reasoning_effort": "low"}, "reasoning_effort"),
    (R1, {"reasoning_effort": "none"}, "reasoning_effort"),
    (QWEN, {"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
    (CLAUDE, {"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
    (
        LLAMA_3,
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": True}}},
        "response_format=told, not enforced",
    ),
    (NOVA, {"max_tokens": 10_001}, "max_tokens=10000"),
    (NOVA_2, {"reasoning_effort": "xhigh"}, "reasoning_effort=high"),
    (NOVA_2, {"reasoning_effort": "high", "max_tokens": 9}, "reasoning_effort=medium"),
    (GPT_OSS, {"reasoning_effort": "none"}, "reasoning_effort=low"),
    (NOVA, {"messages": user({"type": "image_url", "image_url": {"url": PNG, "detail": "low"}})}, f"{AT}.detail"),
    (QWEN, {"metadata": {"a": "b"}}, "metadata"),
    (QWEN, {"service_tier": "flex"}, "service_tier"),
    (QWEN, {"web_search_options": {}}, "web_search_options"),
    (QWEN, {"messages": [{**HELLO[0], "name": "ada"}]}, "messages[].name"),
]


@pytest.mark.parametrize(("model", "given", "lost"), LOST, ids=[f"{lost}-{model}" for model, _, lost in LOST])
def test_losses_are_refused_or_recorded(model: str, given: Json, lost: str) -> None:
    native = converse(model, lost=(lost,), **given)
    if "messages" not in given:
        assert native["messages"] == SAID


def test_nova_itself_has_no_place_for_the_end_user() -> None:
    assert invoke(NOVA, user="ada", lost=("user",)) == invoke(NOVA)


PREFILL = [*HELLO, {"role": "assistant", "content": "{"}]
BMP = "data:image/bmp;base64,Qk0="
SVG = "data:image/png;base64,PHN2ZyB4bWxucz0="  # its bytes say so
ZIP = "data:application/pdf;base64,UEsDBBQAAAA="
MISTAKEN = [
    ("data:image/png;base64,/9j/4AAQSkZJRg==", "jpeg"),
    ("data:image/jpeg;base64,iVBORw0KGgo=", "png"),
    ("data:image/png;base64,R0lGODlhAQAB", "gif"),
    ("data:image/gif;base64,UklGRiQAAABXRUJQVlA4IA==", "webp"),
    ("data:image/bmp;base64,iVBORw0KGgo=", "png"),
    ("data:application/octet-stream;base64,iVBORw0KGgo=", "png"),
    ("data:image/svg+xml;base64,/9j/4AAQSkZJRg==", "jpeg"),
    ("data:text/plain;base64,R0lGODlhAQAB", "gif"),
]


@pytest.mark.parametrize(("url", "form"), MISTAKEN)
@pytest.mark.parametrize("model", [NOVA, CLAUDE, "amazon.nova-3-pro-v1:0"])
def test_the_type_of_the_first_bytes_is_sent_and_noted(model: str, url: str, form: str) -> None:
    line = body(user({"type": "image_url", "image_url": {"url": url}}))
    translated = to_converse(line, model=model, drop_params=False)
    assert json.loads(translated.body)["messages"][0]["content"][0]["image"]["format"] == form
    assert translated.dropped == (f"messages[].content[].image_url.url=image/{form}",)
    again = to_invoke(line, model=QWEN_VL, drop_params=False)
    sent = json.loads(again.body)["messages"][0]["content"][0]["image_url"]["url"]
    assert (sent, again.dropped) == (f"data:image/{form};base64,{url.partition(',')[2]}", translated.dropped)


DOCUMENTS = [
    ("text/csv", "a.csv", "csv", ()),
    ("application/csv", "a.csv", "csv", ()),
    ("text/markdown", "a.md", "md", ()),
    ("text/x-markdown", "a.md", "md", ()),
    ("text/html", "a.html", "html", ()),
    ("text/plain", "a.txt", "txt", ()),
    ("application/octet-stream", "A.CSV", "csv", ()),
    ("application/octet-stream", "a.htm", "html", ()),
    ("application/octet-stream", "a.docx", "docx", ()),
    ("application/octet-stream", "a.json", "txt", ()),
    ("application/json", "a.json", "txt", ("messages[].content[].file.file_data=text/plain",)),
    ("text/xml", "a.xml", "txt", ("messages[].content[].file.file_data=text/plain",)),
    ("application/yaml", "a.yaml", "txt", ("messages[].content[].file.file_data=text/plain",)),
    ("text/tab-separated-values", "a.tsv", "txt", ("messages[].content[].file.file_data=text/plain",)),
]


@pytest.mark.parametrize(("media", "name", "form", "noted_"), DOCUMENTS)
@pytest.mark.parametrize("model", [NOVA, CLAUDE])
def test_texts_are_documents(model: str, media: str, name: str, form: str, noted_: tuple[str, ...]) -> None:
    file: Json = {"type": "file", "file": {"file_data": f"data:{media};base64,YSxiCjEsMg==", "filename": name}}
    made = to_converse(body(user(text("look"), file)), model=model, drop_params=False)
    assert json.loads(made.body)["messages"][0]["content"][1]["document"]["format"] == form
    assert made.dropped == noted_


BARE = [("a.csv", "csv"), ("A.MD", "md"), ("a.txt", "txt"), ("a.html", "html"), ("a.docx", "docx"), ("a.json", "txt")]


@pytest.mark.parametrize(("name", "form"), BARE)
def test_a_document_without_a_uri_goes_by_its_name(name: str, form: str) -> None:
    file: Json = {"type": "file", "file": {"file_data": "UEsDBA==" if form == "docx" else "YSxi", "filename": name}}
    assert converse(NOVA, user(text("look"), file))["messages"][0]["content"][1]["document"]["format"] == form


@pytest.mark.parametrize("name", [None, "a", "a.exe", "a.mp4", "csv.zip"])
@pytest.mark.parametrize("data", ["data:application/octet-stream;base64,YQ==", "YQ==", "iVBORw0KGgo="])
def test_what_nothing_tells_the_type_of_is_refused(name: str | None, data: str) -> None:
    file: Json = {"type": "file", "file": {"file_data": data, "filename": name}}
    assert refused(to_converse, NOVA, user(text("look"), file)).param == "messages[0].content[1].file.file_data"


def test_documents_in_the_results_of_tools() -> None:
    told = [*HELLO, calling(call()), result("call_1", [FILE])]
    native = converse(CLAUDE, told, tools=[TOOL])
    assert "document" in native["messages"][2]["content"][0]["toolResult"]["content"][0]


NEAREST = [
    (GPT_OSS, "minimal", "low"), (GPT_OSS, "xhigh", "high"), (GPT_OSS, "max", "high"),
    (NOVA_2, "minimal", "low"), (NOVA_2, "xhigh", "high"), (NOVA_2, "max", "high"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "level", "nearest"), NEAREST)
def test_the_nearest_level_is_noted(model: str, level: str, nearest: str) -> None:
    for to in (to_converse, to_invoke):
        translated = to(body(reasoning_effort=level), model=model, drop_params=False)
        assert translated.dropped == (f"reasoning_effort={nearest}",)
        assert nearest in translated.body.decode()


@pytest.mark.parametrize("model", [GEMMA, "nvidia.nemotron-nano-12b-v2", "nvidia.nemotron-nano-9b-v2"])
def test_gemma_and_nemotron_take_schemas(model: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    assert "textFormat" in converse(model, response_format=wanted)["outputConfig"]


REFUSED: list[tuple[str, Json, str]] = [
    (QWEN, {"n": 2}, "n"),
    (QWEN, {"stream": True}, "stream"),
    (QWEN, {"logprobs": True}, "logprobs"),
    (QWEN, {"audio": {"voice": "x"}}, "audio"),
    (QWEN, {"modalities": ["audio"]}, "modalities"),
    (QWEN, {"max_tokens": 0}, "max_tokens"),
    (QWEN, {"temperature": "0"}, "temperature"),
    (QWEN, {"top_k": 1.5}, "top_k"),
    (QWEN, {"stop": [1]}, "stop"),
    (GPT_OSS, {"seed": "a"}, "seed"),
    (GPT_OSS, {"logit_bias": {"1": "x"}}, "logit_bias"),
    (GPT_OSS, {"logit_bias": [1]}, "logit_bias"),
    (GPT_OSS, {"frequency_penalty": 3}, "frequency_penalty"),
    (QWEN, {"messages": []}, "messages"),
    (QWEN, {"messages": PREFILL}, "messages"),
    (NOVA, {"messages": [*HELLO, {"role": "assistant", "content": "a "}]}, "messages"),
    (QWEN, {"messages": [{"role": "assistant", "content": "a"}, *HELLO]}, "messages"),
    (QWEN, {"messages": [{"role": "user", "content": " \n"}]}, "messages[0].content"),
    (MIXTRAL, {"messages": [{"role": "system", "content": "a"}, *HELLO]}, "messages[0]"),
    (QWEN, {"messages": user(IMAGE)}, "messages[0].content[0]"),
    (MICRO, {"messages": user(text("a"), FILE)}, "messages[0].content[1]"),
    (NOVA, {"messages": user(FILE)}, "messages[0].content"),
    (NOVA, {"messages": user(text("a"), {"type": "file", "file": {"file_id": "file-1"}})}, "messages[0].content[1]"),
    (NOVA, {"messages": user({"type": "image_url", "image_url": {"url": "https://x/y.png"}})}, "image_url.url"),
    (NOVA, {"messages": user({"type": "image_url", "image_url": {"url": "s3://bucket/y.bmp"}})}, "image_url.url"),
    (NOVA, {"messages": user({"type": "image_url", "image_url": {"url": "s3://b/"}})}, "image_url.url"),
    (NOVA, {"messages": user({"type": "image_url", "image_url": {"url": BMP}})}, "image_url.url"),
    (NOVA, {"messages": user({"type": "image_url", "image_url": {"url": SVG}})}, "image_url.url"),
    (NOVA, {"messages": [*HELLO, calling(call()), result("call_1", [FILE])]}, "messages[2].content[0]"),
    (NOVA, {"messages": user(text("a"), {"type": "file", "file": {"file_url": "https://a/b.pdf"}})}, "file.file_url"),
    (NOVA, {"messages": user(text("a"), {"type": "file", "file": {"file_data": ZIP}})}, "file.file_data"),
    (NOVA, {"messages": user({"type": "input_audio", "input_audio": {}})}, "messages[0].content[0]"),
    (NOVA, {"messages": [*HELLO, calling(call())]}, "messages[1].tool_calls[0]"),
    (NOVA, {"messages": [*HELLO, calling(call(name="x" * 65)), result()]}, "messages[1].tool_calls[0].function.name"),
    (NOVA, {"messages": [*HELLO, calling(call("[1]")), result()]}, "messages[1].tool_calls[0].function.arguments"),
    (NOVA, {"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    (NOVA, {"messages": user(text("a"), {"type": "file", "file": {"file_data": PNG}})}, "file.file_data"),
    (NOVA, {"messages": user(text("a"), {"type": "file", "file": {"file_data": PDF, "filename": 7}})}, "file.filename"),
    (NOVA, {"messages": [*HELLO, {"role": "assistant", "audio": {"id": "x"}}]}, "messages[1].audio"),
    (NOVA, {"tool_choice": "required"}, "tool_choice"),
    (NOVA, {"cache_control": {"type": "x"}}, "cache_control"),
    (CLAUDE, {"messages": [*HELLO, {"role": "assistant", "content": "a "}]}, "messages"),
    ("anthropic.claude-opus-4-6-v1", {"messages": PREFILL}, "messages"),
]


@pytest.mark.parametrize(("model", "given", "param"), REFUSED, ids=range(len(REFUSED)))
def test_no_setting_lets_these_through(model: str, given: Json, param: str) -> None:
    refusal = refused(to_converse, model, **given)
    assert str(refusal.param).startswith(param) or str(refusal.param).endswith(param)
    if model == NOVA:
        assert str(refused(to_nova, model, **given).param) == refusal.param


def test_an_answer_can_begin_with_the_lines_last_message() -> None:
    assert invoke(NOVA, PREFILL)["messages"][1] == {"role": "assistant", "content": [{"text": "{"}]}
    assert converse(CLAUDE, PREFILL)["messages"][1] == {"role": "assistant", "content": [{"text": "{"}]}


def test_images_of_open_models() -> None:
    assert "image" in blocks(IMAGE, model=QWEN_VL)[0]
