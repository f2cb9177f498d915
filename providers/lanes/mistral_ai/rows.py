"""The pure half of Mistral's adapter: `{"custom_id", "body"}` out, rows of both result files in.

Shapes: the project's reference page, captures of 2026-09-02: the body of an error is JSON inside of a text.
"""

from __future__ import annotations

from proxy_plugin.providers.base import LineIn, Native, Row, Target
from proxy_plugin.providers.formats.embeddings.common import Facts, whole_texts
from proxy_plugin.providers.formats.embeddings.mistral import join, read_part, to_mistral_embeddings
from proxy_plugin.providers.formats.mistral.chat import to_completion, to_mistral
from proxy_plugin.providers.formats.mistral.fim import has_suffix, to_fim
from proxy_plugin.providers.formats.mistral.moderations import to_mistral_moderation, to_moderation
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.openai.carried import record
from proxy_plugin.providers.formats.rows import read_row
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer, Translated

EMBEDDINGS = "/v1/embeddings"
MODERATIONS = "/v1/moderations"
ENDPOINTS = through_chat.ENDPOINTS | {EMBEDDINGS, MODERATIONS}
FIM = "fim"  # the partition of completions with a suffix, which are another endpoint's
BASE64 = "base64"  # the partition of lines that want their vectors so: nothing else of a line is at hand with its row


def request_line(line: LineIn, target: Target) -> Native:
    """Return the line of an input file. Raises LineRejected."""
    drop, strict = target.drop_params, target.strict_params
    if line.endpoint == EMBEDDINGS:
        fan = to_mistral_embeddings(line.body, model=target.model, drop_params=drop, strict_params=strict)
        body, dropped = whole_texts(fan.bodies[0], fan.dropped)
        partition = BASE64 if fan.facts.base64 else ""
        return Native(record(line.native_id, body), inputs=fan.facts.inputs, partition=partition, dropped=dropped)
    if line.endpoint == MODERATIONS:
        made = to_mistral_moderation(line.body, model=target.model, drop_params=drop, strict_params=strict)
        return Native(record(line.native_id, made.body), dropped=made.dropped)

    if line.endpoint == through_chat.COMPLETIONS and has_suffix(line.body):
        made = to_fim(line.body, model=target.model, drop_params=drop, strict_params=strict)
        return Native(record(line.native_id, made.body), partition=FIM, dropped=made.dropped)

    def native(chat: bytes) -> Translated:
        return to_mistral(chat, model=target.model, drop_params=drop, strict_params=strict)

    translated = through_chat.translate(line.endpoint, line.body, native, drop_params=drop, strict_params=strict)
    return Native(record(line.native_id, translated.body), dropped=translated.dropped)


def result_row(line: bytes, source: str, endpoint: str) -> Row | None:
    """Read a row of the output or the error file; None for a blank line. Raises ValueError: corrupt."""

    def answer(body: bytes) -> Answer | ErrorAnswer:
        if endpoint == MODERATIONS:
            return to_moderation(body)
        if endpoint != EMBEDDINGS:
            return through_chat.answer(endpoint, to_completion(body))
        inputs = len(read_part(body).vectors)
        return join([body], Facts("", inputs, inputs, BASE64 in source))

    return read_row(line, answer)
