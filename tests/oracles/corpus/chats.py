"""Shapes of chat bodies without tools: talks, labels, extraction, pictures, documents, evaluation runs."""

from __future__ import annotations

from typing import Any

from tests.oracles.corpus.words import (
    ASKED,
    CSV,
    JPEG,
    LABELS,
    LOOSE,
    NAMES,
    OPEN,
    PDF,
    PNG,
    SAID,
    SCHEMAS,
    SYSTEMS,
    WAV,
    Dice,
    Json,
    picture,
    system,
    text,
    user,
    warmth,
)


def plain(dice: Dice) -> Json:
    """One question, with what a quick script sets."""
    body: Json = {"messages": [system(dice), user(dice)] if dice.random() < 0.7 else [user(dice)]}
    if dice.random() < 0.8:
        body[dice.choice(("max_tokens", "max_completion_tokens"))] = dice.choice((64, 256, 1024, 4096))
    body |= warmth(dice)
    if dice.random() < 0.15:
        body["top_p"] = dice.choice((1, 1.0))
    if dice.random() < 0.05:
        body["user"] = dice.choice(("tenant-12", "6f1c"))
    if dice.random() < 0.1:
        body["stop"] = dice.choice(("\n\n", ["END", "###"]))
    return body


def talk(dice: Dice) -> Json:
    """Several turns, some of named speakers."""
    messages = [system(dice, dice.choice(("system", "developer")))]
    for _ in range(dice.randint(1, 3)):
        named = {"name": dice.choice(NAMES)} if dice.random() < 0.1 else {}
        messages += [user(dice, **named), {"role": "assistant", "content": dice.choice(SAID)}]
    messages.append(user(dice))
    more = dice.choice(({}, {}, {"max_tokens": 500}, {"max_tokens": 300}, {"metadata": {"run": "7"}}, {"store": True}))
    return {"messages": messages, **more, **warmth(dice)}


def labels(dice: Dice) -> Json:
    """A classification, made to repeat."""
    body: Json = {
        "messages": [
            {"role": "system", "content": f"Answer with one word of: {', '.join(LABELS)}."},
            user(dice),
        ],
        dice.choice(("max_tokens", "max_completion_tokens")): dice.choice((1, 5, 16)),
        **warmth(dice, 0.1),
    }
    if dice.random() < 0.6:
        body["seed"] = dice.choice((0, 7, 42, 1234))
    if dice.random() < 0.15:
        body["top_p"] = 1
    if dice.random() < 0.1:
        body |= {"logprobs": True, "top_logprobs": 3}
    elif dice.random() < 0.1:
        body["logprobs"] = False
    if dice.random() < 0.06:
        body["logit_bias"] = {"1904": 5, "3763": 5}
    if dice.random() < 0.1:
        body["user"] = "batch-labels"
    return body


def extraction(dice: Dice) -> Json:
    """Facts by a schema, as the SDKs write it from a class."""
    shape = dice.choice(SCHEMAS) if dice.random() < 0.9 else dice.choice((*LOOSE, OPEN))
    form: Json = {"name": dice.choice(("letter", "facts", "Sighting")), "schema": shape}
    if shape in SCHEMAS and dice.random() < 0.6:
        form["strict"] = True
    elif dice.random() < 0.3:
        form["strict"] = False
    body: Json = {"messages": [system(dice), user(dice)], **warmth(dice, 0.05)}
    body["response_format"] = {"type": "json_schema", "json_schema": form}
    if dice.random() < 0.1:
        body["seed"] = 1
    if dice.random() < 0.3:
        body["max_completion_tokens"] = 800
    return body


def json_mode(dice: Dice) -> Json:
    """JSON without a schema."""
    asked = {"role": "user", "content": f"{dice.choice(ASKED)}\nReply as JSON with the keys a and b."}
    body: Json = {"messages": [system(dice), asked], "response_format": {"type": "json_object"}}
    return body | warmth(dice, 0.06) | dice.choice(({}, {}, {}, {"seed": 3}, {"max_tokens": 500}))


def pictures(dice: Dice) -> Json:
    """Pictures, mostly as data, with the detail that the documentation's samples show."""
    parts: list[Json] = [text(dice.choice(("What does the dial show?", "Describe both clocks in one sentence.")))]
    for _ in range(dice.choice((1, 1, 2))):
        kind = dice.choice((("png", PNG), ("jpeg", JPEG)))
        detail = dice.choice(({}, {}, {"detail": "auto"}, {"detail": "low"}, {"detail": "high"}))
        if dice.random() < 0.06:
            parts.append({"type": "image_url", "image_url": {"url": "https://museum.example/clock.jpg", **detail}})
        else:
            parts.append(picture(*kind, **detail))
    return {
        "messages": [system(dice), {"role": "user", "content": parts}],
        "max_tokens": dice.choice((100, 300)),
        **warmth(dice),
    }


def documents(dice: Dice) -> Json:
    """Papers beside a question."""
    file = dice.choice(
        (
            {"filename": "minutes.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            {"filename": "offer.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            {"filename": "meter.csv", "file_data": f"data:text/csv;base64,{CSV}"},
        )
    )
    question = text("Which of the points needs a vote?")
    return {"messages": [{"role": "user", "content": [{"type": "file", "file": file}, question]}], "max_tokens": 700}


def sound(_dice: Dice) -> Json:
    """A recording."""
    part = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
    return {"messages": [{"role": "user", "content": [text("What is said?"), part]}]}


def reasoning(dice: Dice) -> Json:
    """A question that is worth thinking about."""
    body: Json = {"messages": [user(dice)], "reasoning_effort": dice.choice(("low", "medium", "high"))}
    body["max_completion_tokens"] = dice.choice((4000, 16_000))
    if dice.random() < 0.1:
        body["reasoning_effort"] = dice.choice(("minimal", "none"))
    if dice.random() < 0.15:
        body["verbosity"] = dice.choice(("medium", "low"))
    return body


def evaluation(dice: Dice) -> Json:
    """A run of a test bench, which writes every default out."""
    body: Json = {
        "messages": [system(dice), user(dice)],
        "temperature": dice.choice((0.0, 1.0, 1.0, 1, 1.0)),
        "top_p": 1.0,
        "max_tokens": 2048,
        "n": 1,
        "stream": False,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "seed": dice.choice((None, None, 1234)),
        "logprobs": False,
        "logit_bias": {},
        "stop": dice.choice((None, [])),
        "user": dice.choice((None, f"eval-{dice.randint(1, 9)}")),
        "service_tier": dice.choice(("auto", "default")),
    }
    for key in dice.sample(sorted(body.keys() - {"messages"}), k=4):
        del body[key]
    return body


def synthetic(dice: Dice) -> Json:
    """Invented data: warm, varied, sometimes with penalties."""
    body: Json = {"messages": [system(dice), user(dice)], "temperature": dice.choice((0.9, 1, 1, 1.0))}
    body["max_tokens"] = 900
    if dice.random() < 0.12:
        body |= {"frequency_penalty": 0.4, "presence_penalty": 0.2}
    if dice.random() < 0.06:
        body["n"] = dice.choice((2, 4))
    if dice.random() < 0.05:
        body["temperature"] = 1.3
    return body


def service(dice: Dice) -> Json:
    """What an application sets for its own books: who, which cache, which tier, what is kept."""
    marks: Json = {
        "user": "u-31",
        "safety_identifier": "s-31",
        "metadata": {"team": "letters", "job": "nightly"},
        "store": dice.choice((True, False)),
        "prompt_cache_key": "letters-v3",
        "service_tier": dice.choice(("auto", "flex", "priority", "default")),
        "seed": 11,
        "prompt_cache_retention": "24h",
    }
    chosen = dice.sample(sorted(marks), k=dice.randint(2, 5))
    return {"messages": [system(dice, "developer"), user(dice)], **{key: marks[key] for key in chosen}}


def late_system(dice: Dice) -> Json:
    """A second instruction in the middle of a talk."""
    later = {"role": "system", "content": dice.choice(SYSTEMS)}
    said = {"role": "assistant", "content": dice.choice(SAID)}
    return {"messages": [system(dice), user(dice), said, later, user(dice)], "max_tokens": 800}


def cached(dice: Dice) -> Json:
    """Marks for a prompt cache, in Anthropic's words as proxies pass them on."""
    mark = {"cache_control": {"type": "ephemeral"}}
    rules = [text(dice.choice(SYSTEMS)), {**text("House rules: " + " ".join(SYSTEMS)), **mark}]
    return {"messages": [{"role": "system", "content": rules}, user(dice)], "max_tokens": 500}


def foresaid(dice: Dice) -> Json:
    """An edit whose result is mostly known."""
    code = "def tokens(text):\n    return text.split()\n"
    asked = {"role": "user", "content": f"Rename tokens to words.\n\n{code}"}
    return {"messages": [asked], "prediction": {"type": "content", "content": code}, "temperature": dice.choice((0, 1))}


def searched(dice: Dice) -> Json:
    """A question to the web."""
    return {"messages": [user(dice)], "web_search_options": dice.choice(({}, {"search_context_size": "low"}))}


def begun(dice: Dice) -> Json:
    """An answer that the caller has begun."""
    return {"messages": [user(dice), {"role": "assistant", "content": '{"label": "'}], "max_tokens": 20, "stop": '"'}


CHATS: dict[str, tuple[Any, int]] = {
    "one question": (plain, 110),
    "talk": (talk, 46),
    "classification": (labels, 34),
    "extraction by a schema": (extraction, 40),
    "JSON mode": (json_mode, 24),
    "pictures": (pictures, 36),
    "documents": (documents, 12),
    "sound": (sound, 1),
    "reasoning": (reasoning, 30),
    "evaluation": (evaluation, 34),
    "invented data": (synthetic, 16),
    "service marks": (service, 16),
    "later instruction": (late_system, 8),
    "prompt cache": (cached, 8),
    "prediction": (foresaid, 3),
    "web search": (searched, 3),
    "begun answer": (begun, 3),
}
