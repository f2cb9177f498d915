"""Lines for the demo: a batch input file that looks like the ones people send, the same at every run.

Every line is decided by its ordinal alone. The kinds take turns: short and long conversations, system prompts, tools,
tool results, images, JSON schemas, the world's scripts. Three lines in 1,000 carry a marker that makes the sandbox's
model fail or refuse, so that there is something to see in the error file.
"""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

JSON = dict[str, Any]

EMBEDDINGS, RESPONSES = "/v1/embeddings", "/v1/responses"
LONGEST_ID = 200  # characters
_PLAIN_JSON_EVERY = 5  # every fifth line is written as Python's json module does, with \u escapes and spaces
_ODD_EVERY = 1000
_MARKERS = {41: "error=400", 374: "refusal", 707: "error=500"}

_TOPICS = (
    "the tides of the Bay of Fundy",
    "why bread rises",
    "double-entry bookkeeping",
    "how a heat pump works in winter",
    "the rules of offside",
    "B-trees and why databases love them",
    "the voyage of the Beagle",
    "sourdough starters",
    "the four colour theorem",
    "how vaccines are tested",
    "the history of the semicolon",
)
_SYSTEM = (
    "You are a terse assistant. Answer in one sentence.",
    "You are a support agent of a bicycle shop. Be polite, never promise a delivery date.",
    "Tu es un assistant qui répond toujours en français, même si l’on te parle une autre langue.",
    "Classify the message as one of: billing, delivery, returns, other. Answer with that word alone.",
    "あなたは丁寧な翻訳者です。敬語で答えてください。",
)
_SCRIPTS = (
    "请用三句话解释什么是批处理，并给出一个例子。",
    "日本の四季について、それぞれ一文で説明してください。「春」から始めてください。",
    "배치 작업이 밤에 더 저렴한 이유는 무엇인가요?",
    "اشرح لي باختصار كيف تعمل الألواح الشمسية، مع ذكر الرقم ٤٢٪ و (kWh) في الجملة.",
    "הסבר במשפט אחד מהו מסד נתונים, ומה ההבדל בינו לבין גיליון אלקטרוני.",
    "हिंदी में बताइए कि चाय कैसे बनती है — क्षेत्र के अनुसार।",
    "Объясни разницу между «пакетной» и потоковой обработкой…",
    "Zalgo: t\u0301\u0323\u0306e\u0308\u0331x\u0301\u0317t\u0300 and decomposed: cafe\u0301 nai\u0308ve",
    "Emoji: 👩🏽\u200d🚀 👨\u200d👩\u200d👧 🏳️\u200d🌈 🇧🇷 1️⃣ — how many people do you see?",
    "Line separators\u2028that are not newlines\u2029and a zero\u200bwidth space, a BOM \ufeff, a soft\u00adhyphen",
    "Maths: ∑ᵢ xᵢ² ≤ ‖x‖², 𝒻(𝑥) = ⌊𝑥⌋, Fraktur 𝔘𝔫𝔦𝔠𝔬𝔡𝔢, ancient 𐎀𐎁𐎂, 𠜎𠜱",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ แปลเป็นภาษาอังกฤษ",
)
_SENTENCES = (
    "The ferry left at six and nobody on the quay waved.",
    "Revenue rose by 4.2 % while the cost of returns fell for the third quarter in a row.",
    'She wrote: "Tell me what the log says, not what you hope it says."',
    "Clause 7(b) applies only where notice was given in writing, at least 30 days before.",
    "Paths such as C:\\data\\2026\\invoices or /srv/in/*.jsonl appear in the text.",
    "Größe, façade, Łódź, smørrebrød and Ðakovo are spelt with care.",
    "The reading was 37.5 °C at 03:40, then 36.9 °C; the nurse noted both.",
)


def write_input(path: Path, count: int, model: str, endpoint: str) -> int:
    """Write `count` lines to `path`, one at a time; return the bytes written. Raises OSError."""
    with path.open("wb") as file:
        return sum(file.write(line) for line in lines(count, model, endpoint))


def lines(count: int, model: str, endpoint: str) -> Iterator[bytes]:
    """Yield `count` lines of a batch input file, newlines included."""
    for ordinal in range(count):
        entry = {
            "custom_id": custom_id(ordinal),
            "method": "POST",
            "url": endpoint,
            "body": _OF_ENDPOINT.get(endpoint, body)(ordinal, model),
        }
        plain = ordinal % _PLAIN_JSON_EVERY == 0
        yield (json.dumps(entry).encode() if plain else orjson.dumps(entry)) + b"\n"


def custom_id(ordinal: int) -> str:
    """Return an id unlike any other's, of one of the many shapes that people choose."""
    return _ID_SHAPES[ordinal % len(_ID_SHAPES)](ordinal)


def body(ordinal: int, model: str) -> JSON:
    """Return a chat completion request."""
    request = _KINDS[ordinal % len(_KINDS)](ordinal)
    if marker := _MARKERS.get(ordinal % _ODD_EVERY):
        request = _chat(_user(f"This line asks the sandbox for something odd: [[sandbox:{marker}]]"))
    return {"model": model, **request}


def embedded(ordinal: int, model: str) -> JSON:
    """Return an embeddings request: one text, or a few."""
    if marker := _MARKERS.get(ordinal % _ODD_EVERY):
        return {"model": model, "input": f"This text asks the sandbox for something odd: [[sandbox:{marker}]]"}
    texts = [_pick(_SENTENCES, ordinal), _pick(_SCRIPTS, ordinal)]
    return {"model": model, "input": texts if ordinal % 3 == 0 else texts[ordinal % 2]}


def responded(ordinal: int, model: str) -> JSON:
    """Return a request of the Responses API: what is embedded elsewhere, as one text."""
    texts = embedded(ordinal, model)["input"]
    return {"model": model, "input": texts if isinstance(texts, str) else " ".join(texts)}


_OF_ENDPOINT: dict[str, Callable[[int, str], JSON]] = {EMBEDDINGS: embedded, RESPONSES: responded}  # others: chat


def _padded(ordinal: int) -> str:
    head = f"experiment-2026-11/annotator-7/attempt-{ordinal}/"
    return head + "x" * (LONGEST_ID - len(head))


_ID_SHAPES: tuple[Callable[[int], str], ...] = (
    lambda n: f"request-{n:06d}",
    str,
    lambda n: str(uuid.uuid5(uuid.NAMESPACE_URL, f"demo:{n}")),
    lambda n: f"run 7, question {n}",
    lambda n: f"data/train/part-00{n % 7}.parquet#row={n}",
    lambda n: f"问题-{n} ✅",
    lambda n: f"سؤال-{n}",
    _padded,
    lambda n: f'quote " backslash \\ tab \t {n}',
    lambda n: f"cafe\u0301-{n}",  # decomposed on purpose: it must not come back composed
    lambda n: f"café-{n}",
    lambda n: f"{n}@example.com",
    lambda n: f"👩🏽\u200d🚀{n}",
)


def _pick(options: tuple[str, ...], ordinal: int) -> str:
    # Divided first, so that lines of one kind, which are evenly spaced, do not all pick the same.
    return options[(ordinal // len(_KINDS) + ordinal) % len(options)]


def _user(content: str | list[JSON]) -> JSON:
    return {"role": "user", "content": content}


def _assistant(text: str) -> JSON:
    return {"role": "assistant", "content": text}


def _chat(*messages: JSON, **parameters: Any) -> JSON:
    return {"messages": list(messages), **parameters}


def _short(ordinal: int) -> JSON:
    return _chat(_user(f"Tell me about {_pick(_TOPICS, ordinal)}. Question {ordinal}."))


def _with_system(ordinal: int) -> JSON:
    system = {"role": "system", "content": _pick(_SYSTEM, ordinal)}
    question = _user(f"({ordinal}) My parcel did not arrive and I would like to know what happens now.")
    return _chat(system, question, temperature=(ordinal % 11) / 10, max_completion_tokens=64 + ordinal % 200)


def _script(ordinal: int) -> JSON:
    return _chat(_user(f"{_pick(_SCRIPTS, ordinal)}\n\n№ {ordinal}"), temperature=0.2)


def _document(ordinal: int) -> JSON:
    """Return a document of 2 to 14 KB and a question about it."""
    count = 30 + ordinal * 7 % 170
    text = " ".join(_SENTENCES[(ordinal + n) % len(_SENTENCES)] for n in range(count))
    return _chat(_user(f"Summarise this document ({ordinal}) in three bullet points:\n\n{text}"), top_p=0.9)


def _conversation(ordinal: int) -> JSON:
    """Return a conversation of 3 to 21 messages."""
    messages = [{"role": "system", "content": _pick(_SYSTEM, ordinal)}]
    for turn in range(ordinal % 10):
        topic = _pick(_TOPICS, ordinal + turn)
        messages += [_user(f"And what about {topic}?"), _assistant(f"Much has been written about {topic}.")]
    return _chat(*messages, _user(f"Which of these should I read about first? ({ordinal})"))


_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a place",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City and country, such as “Łódź, Poland”"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_TICKET = {
    "type": "function",
    "function": {
        "name": "open_ticket",
        "description": "Open a support ticket",
        "parameters": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "priority": {"type": "integer", "minimum": 1, "maximum": 5},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["title", "priority"],
        },
    },
}
_CHOICES: tuple[str | JSON, ...] = ("auto", "required", {"type": "function", "function": {"name": "open_ticket"}})


def _tools(ordinal: int) -> JSON:
    choice = _CHOICES[ordinal // len(_KINDS) % len(_CHOICES)]
    question = _user(f"It rains into shop {ordinal}. What is the weather, and who fixes the roof?")
    return _chat(question, tools=[_WEATHER, _TICKET], tool_choice=choice)


def _tool_result(ordinal: int) -> JSON:
    call_id = f"call_{ordinal:08x}"
    call = {"name": "get_weather", "arguments": json.dumps({"city": "Łódź, Poland", "unit": "celsius"})}
    asked = {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": call}]}
    told = {"role": "tool", "tool_call_id": call_id, "content": json.dumps({"celsius": ordinal % 40 - 8})}
    question = _user(f"Do I need a coat in Łódź today? ({ordinal})")
    return _chat(question, asked, told, tools=[_WEATHER], tool_choice="auto")


def _inline_image(ordinal: int) -> JSON:
    picture = f"data:image/png;base64,{b64encode(png(ordinal)).decode()}"
    parts = [{"type": "text", "text": f"Which colour prevails in picture {ordinal}?"}, _image(picture)]
    return _chat(_user(parts), max_completion_tokens=300)


def _linked_image(ordinal: int) -> JSON:
    picture = f"https://images.example.com/catalogue/{ordinal}.jpg?w=640&sig=a%2Fb%3D"
    parts = [_image(picture), {"type": "text", "text": f"Write an alt text for item {ordinal}."}]
    return _chat(_user(parts))


def _image(url: str, **more: str) -> JSON:
    return {"type": "image_url", "image_url": {"url": url, **more}}


_SCHEMA = {
    "type": "object",
    "properties": {
        "sentiment": {"type": "string", "enum": ["positive", "negative", "mixed"]},
        "stars": {"type": "integer"},
        "quotes": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["sentiment", "stars", "quotes"],
    "additionalProperties": False,
}


def _structured(ordinal: int) -> JSON:
    review = f"Review {ordinal}: {_pick(_SENTENCES, ordinal)} {_pick(_SENTENCES, ordinal + 3)}"
    schema = {"name": "review", "strict": True, "schema": _SCHEMA}
    return _chat(_user(review), response_format={"type": "json_schema", "json_schema": schema}, temperature=0)


_KINDS: tuple[Callable[[int], JSON], ...] = (
    _short,
    _with_system,
    _script,
    _tools,
    _document,
    _short,
    _inline_image,
    _conversation,
    _structured,
    _tool_result,
    _script,
    _linked_image,
)


def png(ordinal: int) -> bytes:
    """Return a valid PNG, 8 to 23 pixels a side, with a gradient of a colour of its own."""
    side = 8 + ordinal % 16
    red, green = ordinal * 37 % 256, ordinal * 101 % 256
    rows = (bytes((0, *(value for x in range(side) for value in (red, green, (x + y) * 5)))) for y in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
