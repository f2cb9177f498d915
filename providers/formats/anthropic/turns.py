"""The conversation of a chat body as Anthropic's `system` and `messages`.

Shapes: Messages API, types of the official SDK 2.12; what the API refuses in a conversation (blank text, tool calls
without results, repeated ids, blanks at the end of a prefill): error texts in public issue threads, 2024 to 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy_plugin.providers.formats.anthropic.media import file_block, image_block
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.turns import (
    ASSISTANT,
    SPOKEN,
    TOOL,
    Call,
    Talk,
    parts_of,
    read_calls,
    read_messages,
    read_text,
)

Block = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CACHE_MARKS: tuple[Block, ...] = ({"type": "ephemeral"}, *({"type": "ephemeral", "ttl": ttl} for ttl in ("5m", "1h")))
_MARK = frozenset({"cache_control"})
_TEXT = frozenset({"type", "text", "cache_control"})


@dataclass(slots=True)
class Turns:
    """A translated conversation. `called` holds the functions that its tool calls name."""

    system: str | list[Block] | None
    messages: list[Block]
    called: list[str]
    ends_with_results: bool = False

    @property
    def ends_with_assistant(self) -> bool:
        """Whether the answer is to continue the last message (prefill)."""
        return bool(self.messages[-1]["role"] == "assistant")

    def instruct(self, text: str) -> None:
        """Add a text of our own behind the system texts."""
        if self.system is None:
            self.system = text
        else:
            said = [_text(self.system)] if isinstance(self.system, str) else self.system
            self.system = [*said, _text(text)]

    def mark_end(self, mark: Block) -> None:
        """Put a cache mark on the last block of all, unless that has its own."""
        last = self.messages[-1]
        if isinstance(last["content"], str):
            last["content"] = [_text(last["content"])]
        last["content"][-1].setdefault("cache_control", mark)


def read_turns(given: object, losses: Losses, *, fetches: bool = True, late_system: bool = False) -> Turns:
    """Translate `messages`; `fetches`: whether files may stand as URLs. Raises LineRejected.

    `late_system`: whether the model takes system messages between the others.
    """
    return read_messages(given, _Talk(losses, fetches=fetches, late_system=late_system)).turns()


def cache_mark(given: object, path: str) -> Block:
    """Check a `cache_control` extension and return it. Raises LineRejected."""
    if isinstance(given, dict) and given in _CACHE_MARKS:
        return given
    raise rejected(f"{path}cache_control", 'must be {"type": "ephemeral"}, with a ttl of 5m or 1h if any')


def tool_name(given: object, path: str) -> str:
    """Check a function's name. Raises LineRejected."""
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise rejected(path, "must be a name of 1 to 128 letters, digits, _ or -")
    return given


class _Talk(Talk):
    __slots__ = ("fetches", "late", "late_path", "late_system", "messages", "results")
    SPOKEN, ASSISTANT, TOOL = SPOKEN | _MARK, ASSISTANT | _MARK, TOOL | _MARK
    BLANK = "Anthropic takes no blank message; remove it or give it content"
    AUDIO = "Anthropic takes no audio; send the text instead"

    def __init__(self, losses: Losses, *, fetches: bool, late_system: bool) -> None:
        super().__init__(losses)
        self.fetches, self.late_system = fetches, late_system
        self.late: list[Block] = []  # what system messages say to the user's turn that they follow
        self.late_path = ""
        self.messages: list[Block] = []
        self.results: list[Block] | None = None  # content of the last message if that holds tool results

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a text; False for any other. Saves 2 of 8 us a line [measured]."""
        if not isinstance(content, str) or self.open or not content or content.isspace():
            return False
        if role in ("user", "assistant"):
            self.say(role, content)
        elif role in ("system", "developer") and not self.messages:
            self.system.append(_text(content))
        else:
            return False
        return True

    def read_system(self, message: Block, path: str) -> None:
        """Hoist what stands before all others; a later one stays behind the user's turn, where the model takes it."""
        self.losses.add_unknown(message, self.SPOKEN, path)
        blocks = self.content(message, path, "system")
        if not self.messages or not blocks:
            self.system += blocks
        elif self.late_system:
            self.late += blocks
            self.late_path = path
        else:
            self.hoist(blocks, path, "this model takes system messages before all others only")

    def hoist(self, blocks: list[Block], path: str, reason: str) -> None:
        """Put a later system message before all others, and note it: it says its words earlier than was meant."""
        self.losses.hint(path, reason, "Move it there", instead="first")
        self.system += blocks

    def place(self) -> None:
        """Place what the system said to the user's turn that ends here.

        "Must immediately follow a user turn, and precede an assistant turn or end the array"; neighbours are one
        message ("Mid-conversation system messages", Claude Platform docs, 2026).
        """
        blocks, self.late = self.late, []
        if self.messages[-1]["role"] == "user":
            plain = len(blocks) == 1 and "cache_control" not in blocks[0]
            self.messages.append({"role": "system", "content": blocks[0]["text"] if plain else blocks})
        else:
            self.hoist(blocks, self.late_path, "a system message has to follow one of the user's")

    def say(self, role: str, content: str | list[Block]) -> None:
        """Add a message; what the user says right after tool results joins their message, behind them."""
        if self.late:
            self._end_or_pass(role)
        if self.results is not None and role == "user":
            self.results += [_text(content)] if isinstance(content, str) else content
            return
        self.results = None
        self.messages.append({"role": role, "content": content})

    def answer(self, block: Block) -> None:
        """Add a tool result: all results of one turn stand in one user message."""
        if self.late:
            self._end_or_pass("user")
        if self.results is None:
            self.results = []
            self.messages.append({"role": "user", "content": self.results})
        self.results.append(block)

    def _end_or_pass(self, role: str) -> None:
        """The assistant ends the user's turn; what the user says moves before the system's words, which is noted."""
        if role == "assistant":
            self.place()
        else:
            reason = "a system message has to stand at the end of the user's turn"
            self.losses.hint(self.late_path, reason, "Move it there", instead="later")

    def content(self, message: Block, path: str, role: str) -> list[Block]:
        return _blocks(self, message, path, _PARTS[role], mark=role in ("system", "user"))

    def add_user(self, message: Block, content: list[Block], _path: str) -> None:
        said = message["content"]
        self.say("user", said if isinstance(said, str) and "cache_control" not in content[0] else content)

    def add_assistant(self, message: Block, path: str) -> None:
        blocks = self.content(message, path, "assistant")
        refusal = message.get("refusal")
        if refusal is not None and not isinstance(refusal, str):
            raise rejected(f"{path}.refusal", "must be a text", "invalid_type")
        if refusal and not refusal.isspace():
            blocks.append(_text(refusal))
        blocks += _calls(self, message, path)
        _mark_last(blocks, message, path)
        if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
            self.say("assistant", blocks[0]["text"])
        elif blocks:
            self.say("assistant", blocks)

    def add_result(self, native_id: str, _name: str, message: Block, path: str) -> None:
        block: Block = {"type": "tool_result", "tool_use_id": native_id}
        content = message.get("content")
        if not isinstance(content, str):
            content = self.content(message, path, "tool")
        if content and not (isinstance(content, str) and content.isspace()):
            block["content"] = content
        _mark_last([block], message, path)
        self.answer(block)

    def turns(self) -> Turns:
        self.require_answers()
        if not self.messages:
            raise rejected("messages", "at least one user message is needed beside system messages")
        after_results = self.results is not None
        if self.late:
            self.place()
        if self.messages[-1]["role"] == "assistant":
            _check_prefill(self.messages[-1]["content"])
        return Turns(self._hoisted(), self.messages, list(self.called), after_results)

    def _hoisted(self) -> str | list[Block] | None:
        """One plain text as a text; several stay apart, as blocks: no separator is invented."""
        if len(self.system) == 1 and "cache_control" not in self.system[0]:
            return str(self.system[0]["text"])
        return self.system or None


def _check_prefill(content: str | list[Block]) -> None:
    said = content if isinstance(content, str) else content[-1].get("text", "")
    if said[-1:].isspace():
        raise rejected("messages", "a last assistant message must not end with white space; cut it off")


def _calls(talk: _Talk, message: Block, path: str) -> list[Block]:
    calls = read_calls(message, path, talk.losses, name=tool_name, more=_MARK)
    return [_tool_use(talk, call) for call in calls]


def _tool_use(talk: _Talk, call: Call) -> Block:
    given = talk.call(call.key, call.name, call.path)
    block: Block = {"type": "tool_use", "id": given, "name": call.name, "input": call.arguments}
    _mark_last([block], call.given, call.path.rpartition(".")[0])
    return block


def _blocks(talk: _Talk, message: Block, path: str, parts: dict[str, _PartReader], *, mark: bool = True) -> list[Block]:
    """Translate `content`: None, a text or a list of parts. Blank texts are left out: the API refuses them."""
    content = message.get("content")
    blocks: list[Block] = []
    if isinstance(content, str):
        if content and not content.isspace():
            blocks.append(_text(content))
    else:
        for reader, part, at in parts_of(content, path, parts):
            if (block := reader(talk, part, at)) is not None:
                _mark_last([block], part, at)
                blocks.append(block)
    if mark:
        _mark_last(blocks, message, path)
    return blocks


def _mark_last(blocks: list[Block], given: Block, path: str) -> None:
    """Put the `cache_control` of a message or part on the last of its blocks, unless that has its own."""
    if given.get("cache_control") is not None:
        mark = cache_mark(given["cache_control"], f"{path}.")
        if blocks:
            blocks[-1].setdefault("cache_control", mark)


def _text_part(talk: _Talk, part: Block, path: str) -> Block | None:
    talk.losses.add_unknown(part, _TEXT, path)
    return _said(part.get("text"), f"{path}.text")


def _refusal_part(talk: _Talk, part: Block, path: str) -> Block | None:
    talk.losses.add_unknown(part, frozenset({"type", "refusal", "cache_control"}), path)
    return _said(part.get("refusal"), f"{path}.refusal")


def _said(given: object, path: str) -> Block | None:
    text = read_text(given, path)
    return _text(text) if text and not text.isspace() else None


def _image_part(talk: _Talk, part: Block, path: str) -> Block:
    return image_block(part, path, talk.losses, fetches=talk.fetches)


def _file_part(talk: _Talk, part: Block, path: str) -> Block:
    return file_block(part, path, talk.losses, fetches=talk.fetches)


def _audio_part(_talk: _Talk, _given: Block, path: str) -> Block:
    raise rejected(path, "Anthropic takes no audio; send a transcript as text", "unsupported_parameter")


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


_PartReader = Callable[[_Talk, Block, str], Block | None]
_USER: dict[str, _PartReader] = {
    "text": _text_part,
    "image_url": _image_part,
    "file": _file_part,
    "input_audio": _audio_part,
}
_PARTS: dict[str, dict[str, _PartReader]] = {
    "system": {"text": _text_part},
    "user": _USER,
    "assistant": {"text": _text_part, "refusal": _refusal_part},
    "tool": _USER,
}
