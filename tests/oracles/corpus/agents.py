"""Shapes of agents: tools, histories of calls and results, answers fed back as clients feed them."""

from __future__ import annotations

import json
from typing import Any

from tests.oracles.corpus.words import (
    ASKED,
    CALLS,
    IDS,
    PNG,
    SAID,
    THOUGHTS,
    TOOLS,
    Dice,
    Json,
    picture,
    strict,
    system,
    user,
    warmth,
)


def tools(dice: Dice) -> Json:
    """A first turn with tools."""
    chosen = dice.sample(TOOLS, k=dice.randint(1, 4))
    body: Json = {"messages": [system(dice), user(dice)], "tools": chosen}
    if dice.random() < 0.4:
        body["tool_choice"] = dice.choice(("auto", "auto", "required", "none"))
    if dice.random() < 0.15:
        body["tool_choice"] = {"type": "function", "function": {"name": chosen[0]["function"]["name"]}}
    if dice.random() < 0.2:
        body["parallel_tool_calls"] = dice.random() < 0.75
    return body | warmth(dice) | dice.choice(({}, {}, {"max_tokens": 1500}))


def history(dice: Dice) -> Json:
    """An agent in the middle of its work, as common kits write it."""
    made = dice.sample(TOOLS, k=3)
    kit = [strict(tool) for tool in made] if dice.random() < 0.2 else made
    messages = [system(dice), user(dice)]
    for turn in range(dice.randint(1, 4)):
        messages += _turn(dice, made, turn)
    if dice.random() < 0.3:
        messages += [{"role": "assistant", "content": dice.choice(SAID)}, user(dice)]
    body: Json = {"messages": messages, "tools": kit}
    extras: tuple[Json, ...] = (
        {},
        {"tool_choice": "auto"},
        {"parallel_tool_calls": True},
        {"store": False},
        {"max_tokens": 4096},
        {"max_completion_tokens": 8000},
        {"stream": False, "n": 1, "tool_choice": "auto"},
    )
    return body | dice.choice(extras)


def _turn(dice: Dice, kit: list[Json], turn: int) -> list[Json]:
    chosen = dice.sample(kit, k=dice.choice((1, 1, 1, 2)))
    names = [tool["function"]["name"] for tool in chosen]
    ids = [f"{dice.choice(IDS)}{turn}{at}" for at, _ in enumerate(names)]
    calls = [
        {"id": given, "type": "function", "function": {"name": name, "arguments": CALLS[name][0]}}
        for given, name in zip(ids, names, strict=True)
    ]
    said: Json = {"role": "assistant", "content": dice.choice((None, "", dice.choice(SAID))), "tool_calls": calls}
    named = dice.random() < 0.3
    results = [
        {"role": "tool", "tool_call_id": given, "content": CALLS[name][1], **({"name": name} if named else {})}
        for given, name in zip(ids, names, strict=True)
    ]
    return [said, *results]


def fed_back(dice: Dice) -> Json:
    """A talk whose earlier answers come back with all that clients keep of them."""
    messages = [system(dice), user(dice)]
    for _ in range(dice.randint(1, 2)):
        messages += [_kept(dice), user(dice)]
    return {"messages": messages, **dice.choice(({}, {}, {"max_completion_tokens": 2000}))}


def _kept(dice: Dice) -> Json:
    said: Json = {"role": "assistant", "content": dice.choice(SAID)}
    source = {"type": "url_citation", "url_citation": {"url": "https://birds.example/kestrel", "title": "Kestrel",
              "start_index": 0, "end_index": 5}}  # fmt: skip
    kept: tuple[Json, ...] = (
        {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None},
        {"refusal": None, "annotations": [source]},
        {"reasoning_content": dice.choice(THOUGHTS), "refusal": None},
        {"reasoning": dice.choice(THOUGHTS), "reasoning_details": [{"type": "reasoning.text", "text": THOUGHTS[0]}]},
        {"provider_specific_fields": {"citations": None, "thinking_blocks": None}, "thinking_blocks": None},
        {"citations": [{"cited_text": "06:40", "document_index": 0}], "native_finish_reason": "end_turn"},
        {"images": [picture("png", PNG)]},
        {"reasoning_content": dice.choice(THOUGHTS), "thinking_blocks": [{"type": "thinking",
         "thinking": THOUGHTS[1], "signature": "c2lnbmF0dXJl"}]},
        {"name": "clerk"},
    )  # fmt: skip
    return said | dice.choice(kept)


def fed_back_calls(dice: Dice) -> Json:
    """An agent's history with thoughts, annotations and marks on its calls."""
    body = history(dice)
    for message in body["messages"]:
        if message["role"] == "assistant" and message.get("tool_calls"):
            kept: tuple[Json, ...] = (
                {"reasoning_content": dice.choice(THOUGHTS)},
                {"refusal": None, "annotations": [], "audio": None, "function_call": None},
                {"refusal": None, "reasoning": dice.choice(THOUGHTS)},
            )
            message.update(dice.choice(kept))
            if dice.random() < 0.4:
                message["tool_calls"] = [{**call, "index": at} for at, call in enumerate(message["tool_calls"])]
    return body


def older(dice: Dice) -> Json:
    """The form before tools."""
    functions = [tool["function"] for tool in dice.sample(TOOLS, k=2)]
    name = functions[0]["name"]
    messages = [user(dice)]
    if dice.random() < 0.5:
        call = {"name": name, "arguments": CALLS[name][0]}
        messages += [
            {"role": "assistant", "content": None, "function_call": call},
            {"role": "function", "name": name, "content": CALLS[name][1]},
        ]
    return {"messages": messages, "functions": functions, **dice.choice(({}, {"function_call": "auto"}))}


def own_words(dice: Dice) -> Json:
    """Fields of the providers themselves, as proxies let them through."""
    fields: tuple[Json, ...] = (
        {"top_k": 40},
        {"extra_headers": None, "top_k": 5},
        {"max_tokens": 2000, "temperature": 1},
    )
    return {"messages": [{"role": "user", "content": dice.choice(ASKED)}], **dice.choice(fields)}


AGENTS: dict[str, tuple[Any, int]] = {
    "tools": (tools, 46),
    "agent's history": (history, 60),
    "answers fed back": (fed_back, 36),
    "calls fed back": (fed_back_calls, 20),
    "functions": (older, 5),
    "providers' own words": (own_words, 6),
}


# ---- Responses ----


def response(dice: Dice) -> Json:
    """A turn of an agent kit over the Responses API, with the items of its earlier answers."""
    chosen = dice.sample(TOOLS, k=2)
    items: list[Json] = [{"role": "user", "content": [{"type": "input_text", "text": dice.choice(ASKED)}]}]
    for at in range(dice.randint(0, 2)):
        name = chosen[at % 2]["function"]["name"]
        arguments, result = CALLS[name]
        thoughts = dice.choice(([], [{"type": "summary_text", "text": dice.choice(THOUGHTS)}]))
        items += [
            {"type": "reasoning", "id": f"rs_{at}", "summary": thoughts, "encrypted_content": "ZW5j"},
            {"type": "function_call", "id": f"fc_{at}", "call_id": f"call_{at}", "name": name, "arguments": arguments,
             "status": "completed"},
            {"type": "function_call_output", "call_id": f"call_{at}", "output": result},
        ]  # fmt: skip
    if len(items) > 1 and dice.random() < 0.5:
        part = {"type": "output_text", "text": dice.choice(SAID), "annotations": [], "logprobs": []}
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]})
        items.append({"role": "user", "content": dice.choice(ASKED)})
    body: Json = {"input": items, "instructions": "You are a careful clerk.", "store": dice.random() < 0.5}
    body["tools"] = [{"type": "function", **tool["function"]} for tool in chosen]
    body |= dice.choice(
        (
            {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "medium", "summary": "auto"}},
            {"include": ["reasoning.encrypted_content"], "parallel_tool_calls": True, "tool_choice": "auto"},
            {"metadata": {"trace": "t"}, "truncation": "disabled", "max_output_tokens": 3000},
            {"prompt_cache_key": "k", "service_tier": "auto", "text": {"format": {"type": "text"}}},
            {"user": "u", "max_output_tokens": 2000, **warmth(dice)},
        )
    )
    return json.loads(json.dumps(body))  # type: ignore[no-any-return]  # no two bodies share an object


RESPONSES: dict[str, tuple[Any, int]] = {"agent over Responses": (response, 40)}
