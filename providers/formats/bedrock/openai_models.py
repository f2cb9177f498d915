"""Chat bodies for models whose InvokeModel form is a chat body: OpenAI's open models, Qwen, DeepSeek, later Mistrals.

Shapes: Bedrock User Guide, "OpenAI models" (a chat completion's body in which `model` and `stream` may be left out) and
"Mistral AI chat completion" (`tool_choice` auto, any or none; sampling, the limit, nothing else), copies of 2026. For
Qwen and DeepSeek-V3 public examples show the same body; what those services ignore is not known, so only what every
chat service has is passed on.

The body is rebuilt member by member: nothing that is not named here reaches the service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from proxy_plugin.providers.formats.bedrock.converse import (
    NEVER,
    PROVIDER,
    SAMPLING,
    TRANSLATED,
    extra_fields,
    limit_of,
    read_effort,
    read_temperature,
    stops_of,
)
from proxy_plugin.providers.formats.bedrock.models import MODELS, Family, ModelFacts, ModelTable
from proxy_plugin.providers.formats.bedrock.tools import TOOLING
from proxy_plugin.providers.formats.bedrock.turns import real_payload, tool_name
from proxy_plugin.providers.formats.json_text import Raw, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import (
    SAME,
    Choice,
    check_rest,
    flag,
    model_name,
    pseudonym,
    read_chat,
    read_choice,
    read_format,
    read_functions,
    read_limit,
    read_number,
    read_top_k,
    tell_format,
)
from proxy_plugin.providers.formats.openai.turns import (
    Talk,
    is_remote,
    parts_of,
    payload,
    read_calls,
    read_image,
    read_messages,
    read_text,
)
from proxy_plugin.providers.formats.remembered import recall
from proxy_plugin.providers.formats.shapes import Translated

Block = dict[str, Any]

_PLAIN = frozenset({"model", "messages", "max_tokens", "max_completion_tokens"}) | SAMPLING
_TOOLING = frozenset(TOOLING)
_IMAGES = frozenset({"image/jpeg", "image/jpg", "image/png", "image/gif", "image/webp"})


def to_chat(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: ModelTable = MODELS,
) -> Translated:
    """Translate a chat body; `model` replaces its own. Raises LineRejected, for any JSON object nothing else."""
    chat = read_chat(body)
    facts = models.find(model_name(chat, model)).facts
    losses = Losses(allowed=drop_params, strict=strict_params, provider=facts.family.value)
    check_rest(chat, losses, known=TRANSLATED | facts.extra, same=SAME, never=NEVER, provider=PROVIDER)
    talk = read_messages(chat.get("messages"), _Talk(facts, losses))
    native: Block = {"messages": talk.conversation()}
    _add_sampling(native, chat, facts, losses)
    if not chat.keys().isdisjoint(_TOOLING):
        _add_tools(native, chat, facts, losses)
    if not chat.keys() <= _PLAIN:
        _add_options(native, chat, facts, losses)
    return Translated(write(native), losses.settled())


class _Talk(Talk):
    __slots__ = ("facts", "messages")

    def __init__(self, facts: ModelFacts, losses: Losses) -> None:
        super().__init__(losses)
        self.facts = facts
        self.messages: list[Block] = []

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a text; False for any other, and for an empty one."""
        if role not in ("system", "user", "assistant") or not isinstance(content, str) or not content or self.open:
            return False
        self.messages.append({"role": role, "content": content})
        return True

    def content(self, message: Block, path: str, role: str) -> str | list[Block]:
        return _content(self, message, path, _PARTS if role == "user" else _TEXTS)

    def read_system(self, message: Block, path: str) -> None:
        """Add a system message where it stands. One with nothing in it says nothing."""
        self.losses.add_unknown(message, self.SPOKEN, path)
        if content := self.content(message, path, "system"):
            self.messages.append({"role": "system", "content": content})

    def add_user(self, _message: Block, content: str | list[Block], _path: str) -> None:
        self.messages.append({"role": "user", "content": content})

    def add_assistant(self, message: Block, path: str) -> None:
        content = self.content(message, path, "assistant")
        if message.get("refusal") is not None:
            content = _refused(content, read_text(message["refusal"], f"{path}.refusal"))
        said: Block = {"role": "assistant", "content": content}
        calls = [
            {
                "id": self.call(call.key, call.name, call.path),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments.text.decode()},
            }
            for call in read_calls(message, path, self.losses, name=tool_name)
        ]
        if calls:
            said["tool_calls"] = calls
        if content or calls:
            self.messages.append(said)

    def add_result(self, native_id: str, _name: str, message: Block, path: str) -> None:
        content = self.content(message, path, "tool")
        self.messages.append({"role": "tool", "tool_call_id": native_id, "content": content})

    def conversation(self) -> list[Block]:
        self.require_answers()
        if not self.messages:
            raise rejected("messages", "must hold a message that says something")
        if self.facts.family is Family.MISTRAL_CHAT and not any(
            message["role"] in ("user", "tool") for message in self.messages
        ):
            raise rejected("messages", "at least one user message is needed beside system messages")
        if self.messages[-1]["role"] == "assistant":
            raise rejected("messages", "this model cannot continue an assistant's message; end with the user's")
        return self.messages


def _refused(content: str | list[Block], refusal: str) -> str | list[Block]:
    """Return what was said with the refusal behind it: these services have no field of its own for one."""
    if not (content and refusal):
        return content or refusal
    said = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [*said, {"type": "text", "text": refusal}]


def _content(talk: _Talk, message: Block, path: str, readers: dict[str, _PartReader]) -> str | list[Block]:
    """Return the content: a text, also where it stood in one part; else the parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [reader(talk, part, at) for reader, part, at in parts_of(content, path, readers)]
    if all(part["type"] == "text" for part in parts) and len(parts) < 2:
        return str(parts[0]["text"]) if parts else ""
    return parts


def _text_part(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, frozenset({"type", "text"}), path)
    return {"type": "text", "text": read_text(part.get("text"), f"{path}.text")}


def _refusal_part(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, frozenset({"type", "refusal"}), path)
    return {"type": "text", "text": read_text(part.get("refusal"), f"{path}.refusal")}


def _image_part(talk: _Talk, part: Block, path: str) -> Block:
    if not talk.facts.images:
        raise rejected(path, "this model takes no images", "unsupported_parameter")
    url, detail = read_image(part, path, talk.losses)
    if is_remote(url):
        raise rejected(
            f"{path}.image_url.url", "Bedrock fetches no URLs; send a data URI, or set fetch_media in the route"
        )
    said, _ = payload(url, f"{path}.image_url.url")
    media, data = real_payload(url, f"{path}.image_url.url", talk.losses)
    if media not in _IMAGES:
        raise rejected(f"{path}.image_url.url", "must be a JPEG, PNG, GIF or WebP image", "unsupported_value")
    if detail not in (None, "auto"):
        talk.losses.add(f"{path}.image_url.detail", "the model chooses the detail itself", "Send auto")
    return {"type": "image_url", "image_url": {"url": url if media == said else f"data:{media};base64,{data}"}}


_PartReader = Callable[[_Talk, Block, str], Block]
_TEXTS: dict[str, _PartReader] = {"text": _text_part, "refusal": _refusal_part}
_PARTS: dict[str, _PartReader] = {"text": _text_part, "image_url": _image_part}


def _add_sampling(native: Block, chat: Block, facts: ModelFacts, losses: Losses) -> None:
    limit = read_limit(chat)
    if limit is not None:
        # OpenAI's open models are documented with the newer name, all others with the older one.
        name = "max_completion_tokens" if facts.extra else "max_tokens"
        native[name] = limit_of(limit, facts, losses)
    if chat.keys().isdisjoint(SAMPLING):
        return
    mistral = facts.family is Family.MISTRAL_CHAT
    temperature = read_temperature(chat, losses) if mistral else read_number(chat, "temperature", 0, 2)
    if temperature is not None:
        native["temperature"] = temperature
    if (top_p := read_number(chat, "top_p", 0, 1)) is not None:
        native["top_p"] = top_p
    if read_top_k(chat) is not None:
        losses.add("top_k", "this model has no equivalent", "Remove it")
    if stops := stops_of(chat, losses):
        if mistral:
            losses.add("stop", "this model's own format has no stop sequences", "Remove it")
        else:
            native["stop"] = stops


class _Tools(NamedTuple):
    """`tools` and `tool_choice` as JSON; nothing where a line has none."""

    tools: bytes = b""
    choice: bytes = b""


def _add_tools(native: Block, chat: Block, facts: ModelFacts, losses: Losses) -> None:
    given = {key: chat.get(key) for key in TOOLING}

    def make(losses: Losses) -> _Tools:
        return _tools(given, facts, losses)

    # `_tools` looks at no other facts.
    found = recall("tools of chat", [*given.values()], (facts.family, facts.json_schema), losses, make)
    if found.tools:
        native["tools"] = Raw(found.tools)
    if found.choice:
        native["tool_choice"] = Raw(found.choice)


def _tools(chat: Block, facts: ModelFacts, losses: Losses) -> _Tools:
    functions = read_functions(chat, losses, name=tool_name)
    choice = read_choice(chat, [each.name for each in functions], name=tool_name)
    parallel = flag(chat.get("parallel_tool_calls"), "parallel_tool_calls", absent=True)
    if not functions:
        return _Tools()
    tools = []
    for each in functions:
        function: Block = {"name": each.name}
        if each.description:
            function["description"] = each.description
        function["parameters"] = each.parameters or {"type": "object", "properties": {}}
        if each.strict and facts.json_schema:
            function["strict"] = True
        elif each.strict:
            losses.add(f"{each.path}.strict", "this model cannot enforce a schema", "Send false")
        tools.append({"type": "function", "function": function})
    chosen = b"" if choice is None else write(_choice(choice, facts, losses))
    if not parallel:
        losses.add("parallel_tool_calls", "this model has no equivalent", "Remove it")
    return _Tools(write(tools), chosen)


def _choice(choice: Choice, facts: ModelFacts, losses: Losses) -> object:
    if facts.family is not Family.MISTRAL_CHAT:
        return {"type": "function", "function": {"name": choice.name}} if choice.name else choice.word
    if choice.name:
        losses.add(choice.key, "this model can be told to use a tool, but not which", "Send required", instead="any")
    return "any" if choice.forced else choice.word


def _add_options(native: Block, chat: Block, facts: ModelFacts, losses: Losses) -> None:
    """Add what only some of these models have, and refuse the rest."""
    if facts.extra:
        native.update(extra_fields(chat, facts))
    if (level := read_effort(chat, facts, losses)) is not None:
        native["reasoning_effort"] = level
    if chat.get("response_format") is not None:
        _add_format(native, chat["response_format"], losses, enforces=facts.json_schema)
    if pseudonym(chat, losses) is not None:
        losses.add("user", "this model has no equivalent", "Remove it")
    if chat.get("cache_control") is not None:
        losses.add("cache_control", "this model has no prompt cache", "Remove it")


class _Asked(NamedTuple):
    """`response_format` as JSON, or what asks for it in words."""

    written: bytes = b""
    words: str = ""


def _add_format(native: Block, given: object, losses: Losses, *, enforces: bool) -> None:
    def make(losses: Losses) -> _Asked:
        return _asked(given, losses, enforces=enforces)

    asked = recall("form of chat's answer", [given], enforces, losses, make)
    if asked.written:
        native["response_format"] = Raw(asked.written)
    if asked.words:
        _instruct(native["messages"], asked.words)


def _asked(given: object, losses: Losses, *, enforces: bool) -> _Asked:
    wanted = read_format({"response_format": given}, losses)
    if wanted is None or wanted.kind == "text":
        return _Asked()
    if wanted.kind == "json_schema" and enforces:
        named = {"name": wanted.name or "answer", "description": wanted.description}
        schema = {**{key: text for key, text in named.items() if text}, "schema": wanted.schema}
        return _Asked(write({"type": "json_schema", "json_schema": schema}))
    reason = "this model cannot enforce a schema"
    if enforces:
        reason = "this model has no mode for JSON without a schema"
    return _Asked(words=tell_format(wanted, losses, reason, "Send a json_schema, or leave strict out"))


def _instruct(messages: list[Block], text: str) -> None:
    """Add a system text of our own behind those that stand first."""
    place = next((n for n, message in enumerate(messages) if message["role"] != "system"), len(messages))
    messages.insert(place, {"role": "system", "content": text})
