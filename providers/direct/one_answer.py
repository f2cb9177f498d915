"""Providers that litellm calls and that give one answer to a request, so that lines which ask for more are refused.

A line that litellm would refuse when it is called is refused before it is sent, and can be sent in several requests.
Source: litellm 1.110.2, `get_supported_openai_params` of every provider: those without `n`. Its `text_completion` makes
one chat of a list of prompts (`main.py`), for whoever answers it.
"""

from __future__ import annotations

from proxy_plugin.providers.formats.openai.carried import require_one_answer, require_one_prompt
from proxy_plugin.providers.formats.openai.through_chat import CHAT, COMPLETIONS

WITHOUT_N = frozenset(
    [
        "amazon_nova",
        "anthropic",
        "baseten",
        "bedrock",
        "cerebras",
        "clarifai",
        "codestral",
        "gigachat",
        "gradient_ai",
        "inception",
        "mistral",
        "morph",
        "nadir",
        "nvidia_nim",
        "ollama",
        "ollama_chat",
        "replicate",
        "sambanova",
        "snowflake",
        "text-completion-codestral",
        "text-completion-inception",
        "triton",
        "v0",
        "watsonx_text",
    ]
)


def check(litellm: str, endpoint: str, body: bytes, title: str) -> None:
    """Raise LineRejected for a body that asks for several answers of a provider; `litellm` is its name there."""
    if endpoint == COMPLETIONS:
        require_one_prompt(body, title)
    if endpoint in (CHAT, COMPLETIONS) and litellm in WITHOUT_N:
        require_one_answer(body, title)
