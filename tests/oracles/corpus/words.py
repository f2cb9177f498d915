"""What the bodies speak of: own words, small pictures, schemas and tools."""

from __future__ import annotations

import random
from typing import Any

Json = dict[str, Any]
Dice = random.Random

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
JPEG = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////2Q=="
PDF = "JVBERi0xLjEKJcKlwrHDqwolJUVPRgo="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
CSV = "bW9udGgsa3doCmphbiw0MQpmZWIsMzgK"  # month,kwh

SYSTEMS = (
    "You sort incoming letters of a housing cooperative.",
    "You are a careful clerk. Use only what the text says.",
    "Answer in plain German. Do not guess.",
    "You review pull requests of a small compiler team.",
    "You write short captions for a museum of clocks.",
    "Tu es l'assistante d'une librairie de quartier.",
    "You extract facts from field notes of bird watchers.",
)
ASKED = (
    "The lift in stairway C has been standing still since Monday, and nobody answers the phone.",
    "Please tell me whether ticket 4711 was paid twice: 31.50 EUR on the 3rd and again on the 5th.",
    "Which of the two heat pumps is quieter below five degrees?",
    "Three juvenile kestrels seen over the gravel pit at 06:40, wind from north-west, light rain.",
    "Schreibe eine Absage, die freundlich bleibt: der Raum ist am 12. schon vergeben.",
    "Quels livres conseiller à une lectrice de douze ans qui aime les phares ?",
    "東京の倉庫から大阪の店まで、荷物は何日で届きますか？",
    "Refactor the tokenizer so that comments may nest; keep the public names.",
    "Our oven reaches 230 °C, the recipe wants 250 °C. What changes?",
    "Sum up these minutes in four points.\n\n1. Roof: two offers. 2. Bicycle shed: postponed. 3. Fees: +2 %.",
    "Is 9,007,199,254,740,993 odd? Show one line of reasoning.",
    "Ein Zähler stand im März bei 18 402 und im April bei 18 911. Wie hoch war der Verbrauch?",
)
SAID = (
    "Stairway C was reported on Tuesday; a fitter comes tomorrow.",
    "Both payments are there, so one goes back.",
    "Model B is quieter by three decibels.",
    "Gerne, ich formuliere es so: leider ist der Saal an diesem Tag belegt.",
    "Il y en a trois que je conseille volontiers.",
    "The meter counted 509 units.",
)
THOUGHTS = (
    "The caller wants a date, so the calendar has to be read first.",
    "Two payments with the same reference: compare the days.",
    "Nothing here asks for a tool.",
)
LABELS = ("complaint", "question", "praise", "order", "other")
NAMES = ("mara", "jonas", "desk_2", "reviewer-a")
IDS = ("call_a1B2c3", "call_0", "toolu_01XyZ", "chatcmpl-tool-77", "fc_9")


def _object(required: bool = True, **properties: Json) -> Json:
    made: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": list(properties)} if required else made


TEXT: Json = {"type": "string"}
SCHEMAS: tuple[Json, ...] = (
    _object(subject=TEXT, urgent={"type": "boolean"}, flat={"type": ["string", "null"]}),
    _object(label={"type": "string", "enum": list(LABELS)}, confidence={"type": "number"}),
    _object(items={"type": "array", "items": _object(name=TEXT, amount={"type": "number"}, unit=TEXT)}),
    _object(
        species=TEXT,
        count={"type": "integer", "description": "how many were seen"},
        place=_object(name=TEXT, lat={"anyOf": [{"type": "number"}, {"type": "null"}]}),
    ),
    {
        **_object(payments={"type": "array", "items": {"$ref": "#/$defs/payment"}}),
        "$defs": {"payment": _object(day=TEXT, cents={"type": "integer"})},
    },
)
LOOSE: tuple[Json, ...] = (
    _object(required=False, title=TEXT, year={"type": "integer", "minimum": 1450, "maximum": 2100}),
    {"type": "object", "properties": {"tags": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 5}}},
)
OPEN: Json = {"type": "object", "properties": {"facts": {"type": "object"}}, "required": ["facts"]}


def function(name: str, description: str, schema: Json, **more: object) -> Json:
    """Return a tool."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema, **more}}


def strict(tool: Json) -> Json:
    """Return a tool as agent kits send it."""
    return {**tool, "function": {**tool["function"], "strict": True}}


TOOLS: tuple[Json, ...] = (
    function("find_ticket", "Look a ticket up by its number.", _object(number={"type": "integer"})),
    function("read_file", "Return the text of a file.", _object(path=TEXT, lines={"type": ["integer", "null"]})),
    function("book_room", "Reserve a room.", _object(room=TEXT, day=TEXT, seats={"type": "integer"})),
    function("run_tests", "Run the tests of a folder.", _object(folder=TEXT)),
    function("now", "Tell the time.", {"type": "object", "properties": {}, "additionalProperties": False}),
)
CALLS: dict[str, tuple[str, str]] = {  # arguments and what came of them, by name
    "find_ticket": ('{"number": 4711}', '{"paid": [{"day": "3", "cents": 3150}, {"day": "5", "cents": 3150}]}'),
    "read_file": ('{"path": "src/tokens.py", "lines": null}', "def tokens(text):\n    yield from text.split()\n"),
    "book_room": ('{"room": "Saal 2", "day": "12", "seats": 40}', "taken"),
    "run_tests": ('{"folder": "tests"}', "41 passed, 1 failed: test_nested"),
    "now": ("{}", "2026-11-29T08:15:00Z"),
}


def user(dice: Dice, **more: object) -> Json:
    """Return what a user says."""
    return {"role": "user", "content": dice.choice(ASKED), **more}


def system(dice: Dice, role: str = "system") -> Json:
    """Return what an operator says."""
    return {"role": role, "content": dice.choice(SYSTEMS)}


def warmth(dice: Dice, share: float = 0.04) -> Json:
    """Return a temperature for some bodies; 1, the default of both scales, for some more."""
    if dice.random() < share:
        return {"temperature": dice.choice((0, 0.0, 0.2, 0.7))}
    return {"temperature": dice.choice((1, 1.0))} if dice.random() < 0.12 else {}


def picture(kind: str, data: str, **more: object) -> Json:
    """Return a picture as data."""
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}", **more}}


def text(words: str) -> Json:
    """Return a part of text."""
    return {"type": "text", "text": words}
