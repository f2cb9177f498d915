"""A request that the caller has written in Gemini's own words, and an answer in them.

Source: `GenerateContentRequest` of google-genai 3.6.1. The model is named beside it, or in its member `model`.
"""

from __future__ import annotations

from proxy_plugin.providers.errors import LineRejected
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.openai.carried import edited
from proxy_plugin.providers.formats.shapes import Translated

GENERATE = "/v1beta/generateContent"  # lines whose body is such a request


def own_request(body: bytes) -> Translated:
    """Return a request without its model, which the job names: every other byte as it was. Raises LineRejected."""
    request = edited(body, {"model": None})
    if not read(request).get("contents"):
        raise LineRejected("body has no 'contents'.", code="missing_required_parameter", param="body.contents")
    return Translated(request)
