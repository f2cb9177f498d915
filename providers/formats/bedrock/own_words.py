"""A `modelInput` that the caller has written in the words of its model, and what that model answers.

Source: bodies of InvokeModel and Converse, user guide "Format and upload your batch inference data". The model is named
beside such a body, or in its member `model`.
"""

from __future__ import annotations

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.errors import LineRejected
from proxy_plugin.providers.formats.bedrock.answers import is_told, to_completion
from proxy_plugin.providers.formats.embeddings import cohere, titan
from proxy_plugin.providers.formats.embeddings.common import Facts
from proxy_plugin.providers.formats.members import pieces
from proxy_plugin.providers.formats.openai.carried import edited
from proxy_plugin.providers.formats.shapes import Answer, Translated

MODEL_INPUT = "/model/invoke"  # lines whose body is such an input


def own_input(body: bytes) -> Translated:
    """Return an input without its model, which the job names: every other byte as it was. Raises LineRejected."""
    made = edited(body, {"model": None})
    if not pieces(made):
        message = "body says nothing but its model; send what the model's own API takes, as its 'modelInput'."
        raise LineRejected(message, code="missing_required_parameter", param="body")
    return Translated(made)


def own_answer(output: bytes, *, model: str, created: int) -> Answer:
    """Return an answer in OpenAI's shape, of chat or of embeddings; as it is where it has none there.

    Raises ValueError: no JSON.
    """
    names = pieces(output).keys()
    if is_told(names):
        return to_completion(output, model=model, created=created)
    family = cohere if "embeddings" in names else titan
    count = len([each for each in family.read_part(output).vectors if each is not None])
    made = family.join([output], Facts(model, count, max(count, 1), base64=False)) if count else None
    if isinstance(made, Answer):
        return made
    return Answer(output, Usage(), model)
