"""Chat bodies for models whose InvokeModel form takes one prompt: Llama 3 and 4, older Mistral models, DeepSeek-R1.

Templates: Meta's `llama-models` (`chat_format.py` of Llama 3 and 4); Bedrock User Guide, "Meta Llama models", "Mistral
AI text completion" (the example of several turns), "DeepSeek models"; DeepSeek's own chat template for further turns.

The service reads control tokens anywhere in a prompt, so a text that holds one could end its own turn and begin another
in anybody's name. Such a line is refused. To escape the token would change what the caller sent, and no spelling is
known that every tokenizer reads as plain text. Converse builds the prompt behind the tokenizer and has no such limit:
it is the preferred form of these models.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy_plugin.providers.formats.bedrock.converse import (
    NEVER,
    PROVIDER,
    SAMPLING,
    TRANSLATED,
    limit_of,
    read_effort,
    read_temperature,
    stops_of,
)
from proxy_plugin.providers.formats.bedrock.models import (
    MODELS,
    Family,
    ModelFacts,
    ModelTable,
    tools_refused,
    uses_tools,
)
from proxy_plugin.providers.formats.bedrock.turns import tool_name
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import (
    SAME,
    check_rest,
    is_single,
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
from proxy_plugin.providers.formats.openai.turns import SPOKEN, Reader, parts_of, read_messages, read_text
from proxy_plugin.providers.formats.shapes import Translated

Block = dict[str, Any]
Said = list[tuple[str, str]]  # role and text, in turn

_PIPED = re.compile(r"<\|[^|<>]{1,64}\|>")
_MISTRAL = re.compile(r"[<\[](?:/?s>|unk>|/?(?:INST|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\])")
_DEEPSEEK = re.compile("<｜[^｜<>]{1,64}｜>")
_PLAIN = frozenset({"model", "messages", "max_tokens", "max_completion_tokens"}) | SAMPLING
_SAID = SPOKEN | {"refusal"}
_TOOLING = frozenset({"tools", "functions", "tool_choice", "function_call", "parallel_tool_calls"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """One family's prompt: how it is built, which control tokens it has, what the body's members are called."""

    build: Callable[[Said], str]
    control: re.Pattern[str]
    limit: str
    stop: bool
    system: bool = True
    alternates: bool = False
    hoists: bool = False  # system texts stand before all others


def llama_3(said: Said) -> str:
    """Return the prompt of a conversation, up to where the assistant begins."""
    turns = (f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>" for role, text in said)
    return f"<|begin_of_text|>{''.join(turns)}<|start_header_id|>assistant<|end_header_id|>\n\n"


def llama_4(said: Said) -> str:
    """Return the prompt of a conversation, up to where the assistant begins."""
    turns = (f"<|header_start|>{role}<|header_end|>\n\n{text}<|eot|>" for role, text in said)
    return f"<|begin_of_text|>{''.join(turns)}<|header_start|>assistant<|header_end|>\n\n"


def mistral(said: Said) -> str:
    """Return the prompt of a conversation in which user and assistant alternate."""
    turns = [f"[INST] {text} [/INST]" if role == "user" else f" {text}</s> " for role, text in said]
    return f"<s>{''.join(turns)}"


def deepseek_r1(said: Said) -> str:
    """Return the prompt of a conversation, up to where the model begins to think. All system texts stand first."""
    places = {"user": ("<｜User｜>", ""), "assistant": ("<｜Assistant｜>", "<｜end▁of▁sentence｜>")}
    system = "\n\n".join(text for role, text in said if role == "system")
    turns = (f"{places[role][0]}{text}{places[role][1]}" for role, text in said if role != "system")
    return f"<｜begin▁of▁sentence｜>{system}{''.join(turns)}<｜Assistant｜><think>\n"


DIALECTS: dict[Family, Dialect] = {
    Family.LLAMA3: Dialect(llama_3, _PIPED, "max_gen_len", stop=False),
    Family.LLAMA4: Dialect(llama_4, _PIPED, "max_gen_len", stop=False),
    Family.MISTRAL_TEXT: Dialect(mistral, _MISTRAL, "max_tokens", stop=True, system=False, alternates=True),
    Family.DEEPSEEK_R1: Dialect(deepseek_r1, _DEEPSEEK, "max_tokens", stop=True, hoists=True),
}


def to_prompt(
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
    dialect = DIALECTS[facts.family]
    losses = Losses(allowed=drop_params, strict=strict_params, provider=facts.family.value)
    check_rest(chat, losses, known=TRANSLATED, same=SAME, never=NEVER, provider=PROVIDER)
    if uses_tools(chat):
        raise tools_refused()
    if not chat.keys().isdisjoint(_TOOLING):  # tools that tool_choice forbids: without them none is called
        is_single(chat)
        functions = read_functions(chat, losses, name=tool_name)
        read_choice(chat, [each.name for each in functions], name=tool_name)
        if functions:
            losses.note(functions[0].key)
    talk = read_messages(chat.get("messages"), _Talk(dialect, losses))
    if chat.get("response_format") is not None:
        _tell_format(chat, talk)
    native: Block = {"prompt": dialect.build(talk.conversation())}
    _add_sampling(native, chat, dialect, facts, losses)
    if not chat.keys() <= _PLAIN:
        _refuse_the_rest(chat, facts, losses)
    return Translated(write(native), losses.settled())


class _Talk(Reader):
    __slots__ = ("begun", "dialect", "said")

    def __init__(self, dialect: Dialect, losses: Losses) -> None:
        super().__init__(losses)
        self.dialect = dialect
        self.said: Said = []
        self.begun = False  # somebody but the system has spoken

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a text; False leaves it, and refusals, to the readers."""
        if role not in ("user", "assistant") or not isinstance(content, str) or not content or content.isspace():
            return False
        if self.dialect.control.search(content) or (self.dialect.alternates and self._repeats(str(role))):
            return False
        self.begun = True
        self.said.append((str(role), content))
        return True

    def say(self, role: str, text: str, path: str) -> None:
        """Add a turn. Raises LineRejected for a text that could end it early."""
        if self.dialect.control.search(text):
            message = "holds a control token of this model's prompt, and would be read as one; send it by Converse"
            raise rejected(f"{path}.content", message)
        if role == "system" and not self.dialect.system:
            raise rejected(path, "this model's prompt has no system messages; put the text into the user's message")
        if self.dialect.alternates and self._repeats(role):
            raise rejected(path, "user and assistant must take turns in this model's prompt; join the messages")
        if role == "system" and self.dialect.hoists and self.begun:
            self.losses.hint(path, "this model has system texts before all others only", "Move it", instead="first")
        self.begun = self.begun or role != "system"
        self.said.append((role, text))

    def instruct(self, text: str) -> None:
        """Add a text of our own behind the system texts that stand first, or before what the user says."""
        first = next((n for n, (role, _) in enumerate(self.said) if role != "system"), len(self.said))
        place = self._behind_system() if self.dialect.hoists else first
        if self.dialect.system:
            self.said.insert(place, ("system", text))
        elif self.said:
            self.said[place] = self.said[place][0], f"{text}\n\n{self.said[place][1]}"

    def _behind_system(self) -> int:
        """Return the place behind the last system text: where all of them stand first, it is the last of these."""
        return max((n + 1 for n, (role, _) in enumerate(self.said) if role == "system"), default=0)

    def _repeats(self, role: str) -> bool:
        return role == (self.said[-1][0] if self.said else "assistant")

    def read_system(self, message: Block, path: str) -> None:
        """Read a message of texts alone."""
        role = "system" if message["role"] == "developer" else str(message["role"])
        empty = {"tool_calls", "function_call", "audio"} if role == "assistant" else frozenset()
        known = _SAID if role == "assistant" else self.SPOKEN
        self.losses.add_unknown(message, known | {key for key in empty if not message.get(key)}, path)
        content = message.get("content")
        if not isinstance(content, str):
            readers = _ASSISTANT_PARTS if role == "assistant" else _PARTS
            content = "".join(reader(self, part, at) for reader, part, at in parts_of(content, path, readers))
        if role == "assistant" and message.get("refusal") is not None:
            refusal = read_text(message["refusal"], f"{path}.refusal")
            content = f"{content}\n\n{refusal}" if content and refusal else content or refusal
        if content and not content.isspace():
            self.say(role, content, path)
        elif role == "user":
            raise rejected(f"{path}.content", self.BLANK)

    read_user = read_assistant = read_system

    def read_tool(self, _message: Block, _path: str) -> None:
        raise tools_refused()

    def conversation(self) -> Said:
        if not self.said:
            raise rejected("messages", "must hold a message that says something")
        spoken = [role for role, _ in self.said if not (self.dialect.hoists and role == "system")]
        if spoken and spoken[-1] == "assistant":
            raise rejected("messages", "this model cannot continue an assistant's message; end with the user's")
        return self.said


def _text_part(talk: _Talk, part: Block, path: str) -> str:
    talk.losses.add_unknown(part, frozenset({"type", "text"}), path)
    return read_text(part.get("text"), f"{path}.text")


def _refusal_part(talk: _Talk, part: Block, path: str) -> str:
    talk.losses.add_unknown(part, frozenset({"type", "refusal"}), path)
    return read_text(part.get("refusal"), f"{path}.refusal")


_PARTS = {"text": _text_part}
_ASSISTANT_PARTS = {"text": _text_part, "refusal": _refusal_part}


def _add_sampling(native: Block, chat: Block, dialect: Dialect, facts: ModelFacts, losses: Losses) -> None:
    limit = read_limit(chat)
    native[dialect.limit] = facts.default_max_tokens if limit is None else limit_of(limit, facts, losses)
    if chat.keys().isdisjoint(SAMPLING):
        return
    if (temperature := read_temperature(chat, losses)) is not None:
        native["temperature"] = temperature
    if (top_p := read_number(chat, "top_p", 0, 1)) is not None:
        native["top_p"] = top_p
    if (top_k := read_top_k(chat)) is not None:
        if facts.top_k:
            native["top_k"] = top_k
        else:
            losses.add("top_k", "this model has no equivalent", "Remove it")
    if stops := stops_of(chat, losses):
        if dialect.stop:
            native["stop"] = stops
        else:
            losses.add("stop", "this model's prompt form has no stop sequences", "Send the line by Converse")


def _tell_format(chat: Block, talk: _Talk) -> None:
    wanted = read_format(chat, talk.losses)
    if wanted is None or wanted.kind == "text":
        return
    talk.instruct(tell_format(wanted, talk.losses, "this model cannot enforce a form", "Leave strict out"))


def _refuse_the_rest(chat: Block, facts: ModelFacts, losses: Losses) -> None:
    """Note what a bare prompt has no place for."""
    if read_effort(chat, facts, losses) is not None:
        losses.add("reasoning_effort", "this model's prompt form has no equivalent", "Remove it")
    if pseudonym(chat, losses) is not None:
        losses.add("user", "this model has no equivalent", "Remove it")
    if chat.get("cache_control") is not None:
        losses.add("cache_control", "this model has no prompt cache", "Remove it")
