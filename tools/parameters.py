"""What becomes of each parameter of a chat body in each format: `python -m tools.tables` writes it to `parameters.md`.

Nothing is claimed here. Each cell is what the translator did with a probe: which members of the native body are new or
changed, or that the line was refused, or what was left out where a route allows that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import LineIn, LineRejected, Target
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.bedrock.invoke import to_converse, to_invoke
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.hints import HINTS
from proxy_plugin.providers.formats.losses import TOLD
from proxy_plugin.providers.formats.mistral.chat import to_mistral
from proxy_plugin.providers.formats.shapes import Translated

Json = dict[str, Any]
DROPPED, REFUSED = "dropped with a switch", "refused"

TOOL: Json = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SCHEMA: Json = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
PNG, PDF = "data:image/png;base64,iVBORw0KGgo=", "data:application/pdf;base64,JVBERi0xLjc="
CSV = "data:text/csv;base64,YSxi"
SETTING: Json = {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}
TEXT: Json = {"type": "text", "text": "hi"}
WORDS: list[Json] = [{"role": "user", "content": "hi"}]
CALLED: list[Json] = [*WORDS, {"role": "assistant", "tool_calls": [CALL]}]
ANSWERED: list[Json] = [*CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "r"}]


@dataclass(frozen=True, slots=True)
class Format:
    """One native format, and the model whose facts are asked: other models of the format may accept less or more."""

    title: str
    model: str
    translate: Callable[..., Translated]


@dataclass(frozen=True, slots=True)
class Probe:
    """What is added to a body, and the body that it is added to."""

    name: str
    adds: Json
    given: Json = field(default_factory=dict)


CHAT = "/v1/chat/completions"
STRANGE: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "of_nobody": [1]}


def of_lane(name: str) -> Format:
    """Return what a lane makes of a body that it puts into a line whose member it is, model or not."""
    lane = catalog.load(name)

    def translate(body: bytes, *, model: str, drop_params: bool) -> Translated:
        made = lane.translate(LineIn("id", CHAT, body, model), Target(drop_params=drop_params))
        return Translated(json.dumps(json.loads(made.data)["body"]).encode(), made.dropped)

    return Format(lane.capabilities.title, "m", translate)


def _hands_on(name: str) -> bool:
    """Tell whether a lane hands on a member that nobody knows, and all others."""
    try:
        made = json.loads(of_lane(name).translate(json.dumps(STRANGE).encode(), model="m", drop_params=False).body)
    except (LineRejected, LookupError, TypeError):
        return False
    return bool({**made, "model": "m"} == STRANGE)


HANDING_ON = tuple(name for name in catalog.names() if _hands_on(name))
FORMATS = (
    replace(of_lane("openai"), title="handed on"),
    Format("Anthropic", "claude-sonnet-4-5", to_messages),
    Format("Bedrock: Claude", "anthropic.claude-sonnet-4-5-20250929-v1:0", to_invoke),
    Format("Bedrock: Converse", "amazon.nova-pro-v1:0", to_converse),
    Format("Bedrock: Nova", "amazon.nova-pro-v1:0", to_invoke),
    Format("Bedrock: Llama", "meta.llama3-3-70b-instruct-v1:0", to_invoke),
    Format("Bedrock: gpt-oss", "openai.gpt-oss-120b-1:0", to_invoke),
    Format("Gemini", "gemini-2.5-flash", to_generate_content),
    Format("Vertex: Gemini", "gemini-2.5-flash", partial(to_generate_content, vertex=True)),
    Format("Mistral", "mistral-small-latest", to_mistral),
)


def _asked(*parts: Json) -> Json:
    return {"messages": [{"role": "user", "content": [TEXT, *parts]}]}


def _formed(kind: str, **more: object) -> Json:
    return {"response_format": {"type": kind, **more}}


def _fed_back(**more: object) -> Json:
    return {"messages": [*WORDS, {"role": "assistant", "content": "a", **more}, *WORDS]}


# Members that group what a caller sets.
GROUPS = (
    *("generationConfig", "inferenceConfig", "additionalModelRequestFields"),
    *("output_config", "metadata", "requestMetadata"),
)
PARTED = _asked()
TOOLED: Json = {"tools": [TOOL]}
PARAMETERS = (
    Probe("`max_completion_tokens`", {"max_completion_tokens": 77}),
    Probe("`max_tokens`", {"max_tokens": 77}),
    Probe("`temperature` 0.2", {"temperature": 0.2}),
    Probe("`temperature` 1.5", {"temperature": 1.5}),
    Probe("`top_p`", {"top_p": 0.5}),
    Probe("`top_k` (extension)", {"top_k": 7}),
    Probe("`stop`", {"stop": ["END"]}),
    Probe("`seed`", {"seed": 7}),
    Probe("`frequency_penalty`", {"frequency_penalty": 0.5}),
    Probe("`presence_penalty`", {"presence_penalty": 0.5}),
    Probe("`logit_bias`", {"logit_bias": {"50256": -100}}),
    Probe("`n` 2", {"n": 2}),
    Probe("`logprobs`", {"logprobs": True}),
    Probe("`top_logprobs`", {"top_logprobs": 3}, {"logprobs": True}),
    Probe("`tools`", TOOLED),
    Probe("`tools[].function.strict`", {"tools": [{**TOOL, "function": {**TOOL["function"], "strict": True}}]}, TOOLED),
    Probe("`functions` (older form)", {"functions": [TOOL["function"]]}),
    Probe("`tool_choice` none", {"tool_choice": "none"}, TOOLED),
    Probe("`tool_choice` required", {"tool_choice": "required"}, TOOLED),
    Probe("`tool_choice` a function", {"tool_choice": {"type": "function", "function": {"name": "f"}}}, TOOLED),
    Probe("`parallel_tool_calls` false", {"parallel_tool_calls": False}, TOOLED),
    Probe("`response_format` json_object", _formed("json_object")),
    Probe("`response_format` json_schema", _formed("json_schema", json_schema={"name": "a", "schema": SCHEMA})),
    Probe(
        "`response_format` json_schema, strict",
        _formed("json_schema", json_schema={"name": "a", "schema": SCHEMA, "strict": True}),
    ),
    Probe("`reasoning_effort` none", {"reasoning_effort": "none"}),
    Probe("`reasoning_effort` high", {"reasoning_effort": "high"}),
    Probe("`verbosity`", {"verbosity": "low"}),
    Probe("`user`", {"user": "jane"}),
    Probe("`safety_identifier`", {"safety_identifier": "jane"}),
    Probe("`metadata`", {"metadata": {"a": "b"}}),
    Probe("`store`", {"store": True}),
    Probe("`service_tier` flex", {"service_tier": "flex"}),
    Probe("`stream`", {"stream": True}),
    Probe("`modalities` with audio", {"modalities": ["text", "audio"]}),
    Probe("`audio`", {"audio": {"voice": "alloy", "format": "wav"}}),
    Probe("`prediction`", {"prediction": {"type": "content", "content": "x"}}),
    Probe("`web_search_options`", {"web_search_options": {}}),
    Probe("`prompt_cache_key`", {"prompt_cache_key": "k"}),
    Probe(
        "`safety_settings` (extension)",
        {"safety_settings": [SETTING]},
    ),
    Probe("`cache_control` (extension)", {"cache_control": {"type": "ephemeral"}}),
    Probe("`thinking` (extension)", {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 9000}),
    Probe("`output_config` (extension)", {"output_config": {"effort": "low"}}),
    Probe("`system` (extension)", {"system": "s"}),
    Probe("`stop_sequences` (extension)", {"stop_sequences": ["END"]}),
)
CONTENTS = (
    Probe("system message", {"messages": [{"role": "system", "content": "s"}, *WORDS]}),
    Probe("developer message", {"messages": [{"role": "developer", "content": "s"}, *WORDS]}),
    Probe("later system message", {"messages": [*WORDS, {"role": "system", "content": "s"}]}),
    Probe("answer fed back: `reasoning_content`", _fed_back(reasoning_content="hm"), _fed_back()),
    Probe("answer fed back: `annotations`", _fed_back(annotations=[{"type": "url_citation"}]), _fed_back()),
    Probe(
        "answer fed back: `images`", _fed_back(images=[{"type": "image_url", "image_url": {"url": PNG}}]), _fed_back()
    ),
    Probe("`name` of a message", {"messages": [{**WORDS[0], "name": "jane"}]}),
    Probe(
        "image as data",
        _asked({"type": "image_url", "image_url": {"url": PNG}}),
        PARTED,
    ),
    Probe(
        "`detail` of an image",
        _asked({"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}),
        _asked({"type": "image_url", "image_url": {"url": PNG}}),
    ),
    Probe("image by URL", _asked({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}), PARTED),
    Probe(
        "PDF as data",
        _asked({"type": "file", "file": {"file_data": PDF}}),
        PARTED,
    ),
    Probe("CSV as data", _asked({"type": "file", "file": {"file_data": CSV, "filename": "a.csv"}}), PARTED),
    Probe("PDF by URL", _asked({"type": "file", "file": {"file_url": "https://example.com/a.pdf"}}), PARTED),
    Probe("file by id", _asked({"type": "file", "file": {"file_id": "file-1"}}), PARTED),
    Probe("audio", _asked({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}), PARTED),
    Probe("tool call and result", {"messages": ANSWERED}, TOOLED),
    Probe("last message of the assistant's", {"messages": [*WORDS, {"role": "assistant", "content": "So"}]}),
    Probe("`refusal` of the assistant's", {"messages": [*WORDS, {"role": "assistant", "refusal": "no"}, *WORDS]}),
)
_HEAD = """\
# Parameters by format

<!-- made by `make docs` from what the translators do with probes -->

Lanes of OpenAI's own format hand a body on as it came, but for the model: {handing}. {unlike}
What becomes of a chat body in each format:

- **sent**: with the members of the native body that are new or changed;
- **hint**: promises nothing about the answer; the line runs without it, or with the nearest that there is (then the
  members are shown), and that is recorded in the ledger; refused where `strict_params` is set;
- **told**: not enforced but asked for in the system text, recorded as "told, not enforced"; refused where
  `strict_params` is set;
- **dropped with a switch**: refused, unless `drop_params` is set; then the line runs without it, or with the value
  shown, and that is recorded in the ledger;
- **refused**: the line becomes an error row that names the field, whatever the route says;
- **no trace**: taken, with the same native body as without it: it asks for what happens anyway.

`drop_params` and `strict_params` stand in a config object (`x-portkey-config`, or saved under `configs`) or in a
virtual key; `drop_params` also in `litellm_settings`, in `litellm_params` of a `model_list` entry, and as
`--drop-params` of `proxy-plugin batch submit` and `plan`. The nearest to the batch counts: config, virtual key,
`litellm_settings`. Where both are set at one level, `drop_params` wins. A plan names every parameter that is left out,
changed or refused, and spends nothing.

Where `n` above 1, a list of prompts of `/v1/completions` or a list of inputs of `/v1/embeddings` is refused,
`fan_out: true` at the top of a config object has each answer asked for as a request of its own: up to 128 answers to a
prompt and 1,000 of a line. One row of the line has all of them and the sum of their usage; a line that lacks one is an
error row that says how many were answered, and its usage is in the ledger. Each answer is paid with its prompt. With a
`seed` the second answer has the next seed, and so on. `best_of` is refused where it is more than `n`.

Models differ within a format. Asked were:

{models}
"""


_HINTS = """\
## What only hints

Left out and recorded without a switch, where a format has no place for it. In the ledger such a path has no numbers.
A limit above the model's own (`max_tokens`, `max_completion_tokens`) is a hint too: the model's own is sent.
"""
_LIMITS = {"max_tokens", "max_completion_tokens"}


def markdown() -> str:
    """Return the whole document."""
    models = "\n".join(f"- `{each.model}` for {each.title}" for each in FORMATS[1:])
    titles = ", ".join(of_lane(name).title for name in HANDING_ON)
    parts = [
        _HEAD.format(models=models, handing=titles, unlike=" ".join(_unlike())),
        "## Parameters\n",
        *_table(PARAMETERS),
    ]
    parts += ["", "## Messages and their parts\n", *_table(CONTENTS), "", _HINTS, *_hints()]
    return "\n".join(parts) + "\n"


def _unlike() -> Iterator[str]:
    """Yield a sentence for each lane that hands on, but for some probe, what the others do."""
    for name in HANDING_ON:
        lane = of_lane(name)
        found = {each.name: outcome(each, lane) for each in PARAMETERS + CONTENTS}
        odd = [each.name for each in PARAMETERS + CONTENTS if found[each.name] != outcome(each, FORMATS[0])]
        refused = [name for name in odd if found[name] == REFUSED]
        if refused:
            yield f"{lane.title} refuses {', '.join(refused)}."
        if left := [name for name in odd if name not in refused]:
            yield f"{lane.title} leaves out {', '.join(left)}."


def _table(probes: tuple[Probe, ...]) -> Iterator[str]:
    yield f"| | {' | '.join(each.title for each in FORMATS)} |"
    yield "|---" * (len(FORMATS) + 1) + "|"
    for probe in probes:
        yield f"| {probe.name} | {' | '.join(outcome(probe, each) for each in FORMATS)} |"


def _hints() -> Iterator[str]:
    """Yield lists of what only hints: parameters, then members by their place."""
    places: dict[str, list[str]] = {}
    for path in sorted(HINTS - _LIMITS):
        place, _, name = path.rpartition("[].")
        places.setdefault(place and f"{place}[]", []).append(name)
    for place, names in places.items():
        yield f"- {f'of `{place}`: ' if place else ''}{', '.join(f'`{name}`' for name in names)}"


def outcome(probe: Probe, form: Format) -> str:
    """Return what becomes of a probe, in one cell."""
    base: Json = {"messages": WORDS, **probe.given}
    try:
        native, noted = _native(form, {**base, **probe.adds})
    except LineRejected:
        return _lost(probe, form, base)
    try:
        before, earlier = _native(form, base)
    except LineRejected:  # what the probe stands on is refused itself, and goes in with it
        before, earlier = _native(form, {"messages": WORDS})
    names = [f"`{each}`" for each in dict.fromkeys(changes(before, native))]
    gone = [f"without `{each}`" for each in before if each not in native]
    lost = [each for each in noted if each not in earlier]
    if any(each.endswith(TOLD) for each in lost):
        return "told"
    word, places = "hint" if lost else "sent", ", ".join([*names, *gone])
    return f"{word}: {places}" if places else "hint" if lost else "no trace"


def _lost(probe: Probe, form: Format, base: Json) -> str:
    try:
        made = form.translate(_body(form, {**base, **probe.adds}), model=form.model, drop_params=True)
    except LineRejected:
        return REFUSED
    added = {key for key in probe.adds if base.get(key) != probe.adds[key]}
    values = [name.partition("=")[2] for name in made.dropped if name.partition("=")[0] in added]
    if values and values[0] == TOLD:
        return f"{DROPPED}: told"
    return f"{DROPPED}: {values[0]}" if values and values[0] else DROPPED


def _native(form: Format, body: Json) -> tuple[Json, tuple[str, ...]]:
    made = form.translate(_body(form, body), model=form.model, drop_params=False)
    return json.loads(made.body), made.dropped


def _body(form: Format, body: Json) -> bytes:
    return json.dumps({"model": form.model, **body}).encode()


def changes(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the path of each member of `after` that is new or changed: the highest, inside of what only groups."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in after.items():
            inner = f"{path}.{key}" if path else key
            if key not in before and key in GROUPS:
                yield from changes({}, value, inner)
            elif key not in before:
                yield inner
            elif value != before[key]:
                yield from changes(before[key], value, inner)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_changes(before, after, f"{path}[]")
    else:
        yield path


def _list_changes(before: list[Any], after: list[Any], path: str) -> Iterator[str]:
    if len(before) == len(after):
        for one, two in zip(before, after, strict=True):
            if one != two:
                yield from changes(one, two, path)
    else:
        yield from (_kind(each, path) for each in after if each not in before)


def _kind(element: object, path: str) -> str:
    if not isinstance(element, dict):
        return path
    word = element.get("type") or element.get("role")
    return f"{path} {word}" if isinstance(word, str) else f"{path}.{next(iter(element))}"
