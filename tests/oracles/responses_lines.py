"""Varied Responses bodies from one seed, and chat completions that answer them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.openai.responses_chat import to_chat
from tests.oracles.lines import ARGUMENTS, NAMES, PDF, PNG, RESULTS, SCHEMAS, TEXTS
from tests.oracles.meaning import Json
from tests.oracles.open_judge import chat_results

Dice = random.Random


def bodies(count: int, seed: int) -> Iterator[Json]:
    """Yield bodies: of each kind of input and each option several, alone and beside others."""
    dice = random.Random(seed)
    for number in range(count):
        talk = CONVERSATIONS[number % len(CONVERSATIONS)]
        body: Json = {"input": talk(dice)}
        if talk in (_called, _called_twice) or dice.random() < 0.2:
            body["tools"] = [_tool(dice, name) for name in NAMES]
        for option in dice.sample(OPTIONS, k=dice.choice((0, 0, 1, 1, 2, 3))):
            body |= option(dice, body)
        yield body


def encoded(body: Json, model: str) -> bytes:
    """Return a body as a client would send it."""
    return json.dumps({"model": model, **body}, ensure_ascii=len(body) % 2 == 0).encode()


def results(count: int, seed: int) -> Iterator[Json]:
    """Yield completions, each with the body that it answers: one that can be answered."""
    asking = filter(_is_taken, bodies(3 * count, seed + 1))
    for asked, completion in zip(asking, chat_results(count, seed), strict=False):
        completion["choices"][0]["message"].setdefault("refusal", None)
        yield {"completion": completion, "request": {"model": "m", **asked}}
    yield from _refusals(seed)


def _is_taken(body: Json) -> bool:
    try:
        to_chat(encoded(body, "m"), drop_params=True)
    except LineRejected:
        return False
    return True


def _refusals(seed: int) -> Iterator[Json]:
    for asked, completion in zip(filter(_is_taken, bodies(60, seed)), chat_results(20, seed), strict=False):
        message = {"role": "assistant", "content": None, "refusal": "I cannot do that."}
        completion["choices"][0] = {"index": 0, "message": message, "finish_reason": "stop"}
        yield {"completion": completion, "request": {"model": "m", **asked}}


# ---- inputs ----


def _words(dice: Dice) -> str:
    return dice.choice(TEXTS)


def _user(dice: Dice) -> Json:
    message = {"role": "user", "content": dice.choice((_words(dice), [{"type": "input_text", "text": _words(dice)}]))}
    return {"type": "message", **message} if dice.random() < 0.5 else message


def _said(dice: Dice) -> Json:
    part = {"type": "output_text", "text": dice.choice(TEXTS[:7]), "annotations": []}
    message = {"role": "assistant", "content": dice.choice(([part], part["text"]))}
    if dice.random() < 0.5:
        return {"type": "message", "id": "msg_1", "status": "completed", **message}
    return message


def _plain(dice: Dice) -> str:
    return _words(dice)


def _asked(dice: Dice) -> list[Json]:
    return [_user(dice)]


def _instructed(dice: Dice) -> list[Json]:
    return [{"role": dice.choice(("system", "developer")), "content": _words(dice)}, _user(dice)]


def _long(dice: Dice) -> list[Json]:
    return [*(turn for _ in range(dice.randint(1, 3)) for turn in (_user(dice), _said(dice))), _user(dice)]


def _shown(dice: Dice) -> list[Json]:
    image: Json = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    if dice.random() < 0.5:
        image["detail"] = dice.choice(("auto", "low", "high"))
    return [{"role": "user", "content": [{"type": "input_text", "text": _words(dice)}, image]}]


def _filed(dice: Dice) -> list[Json]:
    file = dice.choice(
        (
            {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "report.pdf"},
            {"file_id": "file-1"},
            {"file_url": "https://127.0.0.1:9/report.pdf"},
        )
    )
    return [{"role": "user", "content": [{"type": "input_file", **file}, {"type": "input_text", "text": _words(dice)}]}]


def _call(dice: Dice, number: int) -> Json:
    call = {"type": "function_call", "call_id": f"call_{number}", "name": dice.choice(NAMES)}
    return {**call, "arguments": dice.choice(ARGUMENTS), "id": f"fc_{number}", "status": "completed"}


def _output(dice: Dice, number: int) -> Json:
    text = dice.choice(RESULTS[:4])
    given = dice.choice((text, [{"type": "input_text", "text": text}, {"type": "input_text", "text": "."}]))
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": given}


def _called(dice: Dice) -> list[Json]:
    numbers = range(dice.choice((1, 1, 2)))
    said = [_said(dice)] if dice.random() < 0.3 else []
    return [_user(dice), *said, *(_call(dice, at) for at in numbers), *(_output(dice, at) for at in numbers)]


def _called_twice(dice: Dice) -> list[Json]:
    rounds = [[_call(dice, at), _output(dice, at)] for at in range(2)]
    return [_user(dice), *rounds[0], *rounds[1], _said(dice), _user(dice)]


def _declined(dice: Dice) -> list[Json]:
    part = {"type": "refusal", "refusal": "I cannot do that."}
    return [_user(dice), {"type": "message", "role": "assistant", "content": [part]}, _user(dice)]


def _reasoned(dice: Dice) -> list[Json]:
    thought: Json = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    if dice.random() < 0.3:
        thought["encrypted_content"] = "AAAA"
    return dice.choice(
        ([_user(dice), thought, _said(dice), _user(dice)], [_user(dice), thought, _call(dice, 0), _output(dice, 0)])
    )


def _referred(dice: Dice) -> list[Json]:
    return [_user(dice), {"type": "item_reference", "id": "msg_1"}, _user(dice)]


def _empty(dice: Dice) -> Any:
    return dice.choice(([], [{"role": "system", "content": _words(dice)}]))


CONVERSATIONS: tuple[Callable[[Dice], Any], ...] = (
    _plain, _asked, _instructed, _long, _shown, _filed, _called, _called_twice, _declined, _reasoned, _referred,
    _empty, _plain, _asked, _long, _called,
)  # fmt: skip


# ---- options ----


def _tool(dice: Dice, name: str) -> Json:
    tool: Json = {"type": "function", "name": name, "parameters": dice.choice(SCHEMAS)}
    if dice.random() < 0.8:
        tool["description"] = dice.choice(TEXTS[:4])
    if dice.random() < 0.5:
        tool["strict"] = dice.choice((True, False, None))
    return tool


def _tools(dice: Dice, _body: Json) -> Json:
    return {"tools": [_tool(dice, name) for name in NAMES[: dice.randint(1, 5)]]}


def _choice(dice: Dice, body: Json) -> Json:
    tools = body.get("tools") or [_tool(dice, "f")]
    named = {"type": "function", "name": tools[0]["name"]}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [named]}
    return {"tools": tools, "tool_choice": dice.choice(("auto", "none", "required", named, allowed))}


def _hosted(dice: Dice, _body: Json) -> Json:
    return {"tools": [dice.choice(({"type": "web_search"}, {"type": "code_interpreter", "container": {}}))]}


def _format(dice: Dice, _body: Json) -> Json:
    strict = dice.choice(({"strict": True}, {"strict": False}, {}))
    schema = {"type": "json_schema", "name": "answer", "schema": SCHEMAS[1], **strict}
    form = dice.choice((schema, {"type": "json_object"}, {"type": "text"}))
    return {"text": dice.choice(({"format": form}, {"format": form, "verbosity": "low"}))}


def _reasoning(dice: Dice, _body: Json) -> Json:
    reasoning: Json = {"effort": dice.choice(("none", "low", "high"))}
    if dice.random() < 0.3:
        reasoning["summary"] = dice.choice(("auto", "detailed"))
    return {"reasoning": reasoning}


OPTIONS: tuple[Callable[[Dice, Json], Json], ...] = (
    _tools,
    _choice,
    _hosted,
    _format,
    _reasoning,
    lambda dice, _: {"instructions": _words(dice)},
    lambda dice, _: {"max_output_tokens": dice.choice((1, 256))},
    lambda dice, _: {"temperature": dice.choice((0, 0.2, 2))},
    lambda dice, _: {"top_p": dice.choice((0.1, 1))},
    lambda dice, body: {"parallel_tool_calls": dice.choice((True, False)), **_tools(dice, body)},
    lambda _, __: {"parallel_tool_calls": False},
    lambda _, __: {"user": "user-17"},
    lambda _, __: {"safety_identifier": "user-17"},
    lambda _, __: {"metadata": {"run": "7"}},
    lambda dice, _: {"service_tier": dice.choice(("auto", "flex"))},
    lambda dice, _: {"store": dice.choice((True, False))},
    lambda dice, _: {"truncation": dice.choice(("auto", "disabled"))},
    lambda dice, _: {"include": [dice.choice(("reasoning.encrypted_content", "message.output_text.logprobs"))]},
    lambda dice, _: {"top_logprobs": dice.choice((0, 3))},
    lambda _, __: {"previous_response_id": "resp_1"},
    lambda _, __: {"prompt_cache_key": "a"},
    lambda _, __: {"background": False},
)
