"""The conversation of a chat body as Gemini's `systemInstruction` and `contents`.

Shapes: types of Google's google-genai 3.4. A model of Gemini 3 or later refuses a function call without its thought
signature; for calls that come without one Google documents a text that stands in ("Thought signatures", both services,
November 2026). Images and documents in the result of a function stand in its `parts`, since Gemini 3. Files: `media`.

Texts must not be empty. Newer models refuse a conversation that ends with the model (`ModelFacts.prefill`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from proxy_plugin.providers.formats.gemini.media import (
    audio_part,
    file_part,
    image_part,
    own_media,
    result_file,
    result_image,
)
from proxy_plugin.providers.formats.gemini.models import ModelFacts
from proxy_plugin.providers.formats.gemini.tools import tool_name
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.turns import (
    ASSISTANT,
    Block,
    Call,
    Talk,
    parts_of,
    read_calls,
    read_messages,
    read_text,
)

NO_SIGNATURE = "skip_thought_signature_validator"
_EXTRA = frozenset({"extra_content"})
_OWN = frozenset({"images", "audio"})  # what our own answers hold besides


class Turns(NamedTuple):
    """A translated conversation. `resolution`: of all its images, where the model has one for all of them only."""

    system: Block | None
    contents: list[Block]
    resolution: str | None = None


def read_turns(given: object, losses: Losses, facts: ModelFacts, *, vertex: bool) -> Turns:
    """Translate `messages`. Raises LineRejected."""
    return read_messages(given, _Talk(losses, facts, vertex=vertex)).turns()


class _Talk(Talk):
    """`parts` belong to the last content, whose role is `role`."""

    __slots__ = ("contents", "facts", "order", "parts", "resolutions", "results", "role", "vertex")
    ASSISTANT = ASSISTANT | _EXTRA | _OWN
    BLANK = "Gemini takes no empty message; remove it or give it content"
    AUDIO = "names audio that Gemini does not have; send the text"
    ID = re.compile(r".+", re.DOTALL)  # no rule is known

    def __init__(self, losses: Losses, facts: ModelFacts, *, vertex: bool) -> None:
        super().__init__(losses)
        self.facts, self.vertex = facts, vertex
        self.contents: list[Block] = []
        self.role = ""
        self.parts: list[Block] = []
        self.order: list[str] = []  # ids of the last turn's calls
        self.results: dict[str, Block] = {}
        self.resolutions: dict[str, str | None] = {}  # of each file, by its path

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a text; False for any other."""
        if not isinstance(content, str) or self.open or not content:
            return False
        if role == "user":
            self.say("user", {"text": content})
        elif role == "assistant":
            self.say("model", {"text": content})
        elif role in ("system", "developer") and not self.contents:
            self.system.append({"text": content})
        else:
            return False
        return True

    def say(self, role: str, *parts: Block) -> None:
        """Add parts to the content of that role, or begin one."""
        if role != self.role:
            self.role, self.parts = role, []
            self.contents.append({"role": role, "parts": self.parts})
        self.parts += parts

    def answer(self, given_id: str, response: Block) -> None:
        """Keep the result of a call until all of its turn are here: they go in the order of their calls."""
        self.results[given_id] = {"functionResponse": response}
        if not self.open:
            self.close()

    def close(self) -> None:
        """Write the results of one turn, as a content of their own: as many responses as calls, nothing else."""
        parts = [self.results[each] for each in self.order if each in self.results]
        self.contents.append({"role": "user", "parts": parts})
        self.results, self.order, self.role = {}, [], ""

    def content(self, message: Block, path: str, role: str) -> list[Block]:
        return _parts(self, message, path, _PARTS[role])

    def read_system(self, message: Block, path: str) -> None:
        """Hoist a system message; that a later one is heard before the rest is noted."""
        before = len(self.system)
        super().read_system(message, path)
        if self.contents and len(self.system) > before:
            self.losses.hint(path, "Gemini has system texts before all others only", "Move it there", instead="first")

    def add_user(self, _message: Block, content: list[Block], _path: str) -> None:
        self.say("user", *content)

    def add_assistant(self, message: Block, path: str) -> None:
        parts = self.content(message, path, "assistant")
        if message.get("refusal") is not None and (refusal := read_text(message["refusal"], f"{path}.refusal")):
            parts.append({"text": refusal})
        if not message.keys().isdisjoint(_OWN):
            parts += own_media(self, message, path)
        signature = _signature(self, message, path)
        if signature:
            parts = parts or [{"text": ""}]
            parts[-1]["thoughtSignature"] = signature
        calls = list(read_calls(message, path, self.losses, name=tool_name, more=_EXTRA))
        said = parts + [_function_call(self, call, first=number == 0) for number, call in enumerate(calls)]
        if said:
            self.say("model", *said)

    def _heard(self, message: Block, _path: str) -> Block:
        """Leave speech to `add_assistant`."""
        return message

    def add_result(self, native_id: str, name: str, message: Block, path: str) -> None:
        """Add a result under `output`, the key that Google names for it; a text stays a text, files stand beside."""
        content = message.get("content")
        more: Block = {}
        if not isinstance(content, str):
            parts = self.content(message, path, "tool")
            texts = [part["text"] for part in parts if "text" in part]
            content = texts[0] if len(texts) == 1 else texts or ""
            if files := [part for part in parts if "text" not in part]:
                more["parts"] = files
        response: Block = {"name": name, "response": {"output": content}, **more}
        self.answer(native_id, {"id": native_id, **response} if self.facts.call_ids else response)

    def turns(self) -> Turns:
        self.require_answers()
        if not self.contents:
            raise rejected("messages", "at least one user message is needed beside system messages")
        if self.contents[-1]["role"] == "model" and not self.facts.prefill:
            raise rejected("messages", "this model cannot continue an assistant's message; end with one of the user's")
        resolution = self._resolution() if self.resolutions else None
        return Turns({"parts": self.system} if self.system else None, self.contents, resolution)

    def _resolution(self) -> str | None:
        """Return the resolution that all files ask for; what asks for another than the rest is noted."""
        wanted = set(self.resolutions.values())
        if len(wanted) == 1:
            return wanted.pop()
        for path, each in self.resolutions.items():
            if each is not None:
                reason = "this model has one resolution for all files of a line"
                self.losses.hint(f"{path}.image_url.detail", reason, "Send the same for all")
        return None


def _function_call(talk: _Talk, call: Call, *, first: bool) -> Block:
    """Return a functionCall part. Of parallel calls only the first has a signature."""
    given_id = talk.call(call.key, call.name, call.path)
    talk.order.append(given_id)
    function: Block = {"name": call.name, "args": call.arguments}
    if talk.facts.call_ids:
        function = {"id": given_id, **function}
    part: Block = {"functionCall": function}
    signature = _signature(talk, call.given, call.path.rpartition(".")[0])
    if signature or (first and talk.facts.signatures):
        part["thoughtSignature"] = signature or NO_SIGNATURE
    return part


def _signature(talk: _Talk, given: Block, path: str) -> str | None:
    """Return `extra_content.google.thought_signature`, where Google's own OpenAI-compatible API puts it."""
    extra = given.get("extra_content")
    if extra is None:
        return None
    google = extra.get("google") if isinstance(extra, dict) else None
    if not isinstance(google, dict | None) or not isinstance(extra, dict):
        raise rejected(f"{path}.extra_content", "must be an object that holds an object google", "invalid_type")
    talk.losses.add_unknown(extra, frozenset({"google"}), f"{path}.extra_content")
    where = f"{path}.extra_content.google"
    talk.losses.add_unknown(google or {}, frozenset({"thought_signature"}), where)
    found = (google or {}).get("thought_signature")
    return None if found is None else read_text(found, f"{where}.thought_signature")


def _parts(talk: _Talk, message: Block, path: str, readers: dict[str, _PartReader]) -> list[Block]:
    """Translate `content`: None, a text or a list of parts. Empty texts are left out: the API refuses them."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"text": content}] if content else []
    found = [reader(talk, part, at) for reader, part, at in parts_of(content, path, readers)]
    return [part for part in found if part is not None]


def _text_part(talk: _Talk, part: Block, path: str) -> Block | None:
    talk.losses.add_unknown(part, frozenset({"type", "text"}), path)
    text = read_text(part.get("text"), f"{path}.text")
    return {"text": text} if text else None


def _refusal_part(talk: _Talk, part: Block, path: str) -> Block | None:
    talk.losses.add_unknown(part, frozenset({"type", "refusal"}), path)
    text = read_text(part.get("refusal"), f"{path}.refusal")
    return {"text": text} if text else None


_PartReader = Callable[[_Talk, Block, str], Block | None]
_TEXT: dict[str, _PartReader] = {"text": _text_part}
_PARTS: dict[str, dict[str, _PartReader]] = {
    "system": _TEXT,
    "user": {**_TEXT, "image_url": image_part, "file": file_part, "input_audio": audio_part},
    "assistant": {**_TEXT, "refusal": _refusal_part},
    "tool": {**_TEXT, "image_url": result_image, "file": result_file},
}
