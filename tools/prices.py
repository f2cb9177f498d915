"""Make the shipped extract of litellm's price data anew, from an installed litellm: `python -m tools.prices FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from proxy_plugin.costs.prices import EXTRACT, Listed

FAMILIES = (  # litellm's names of providers that have batch lanes
    *(
        "openai",
        "text-completion-openai",
        "azure",
        "azure_text",
        "azure_ai",
        "anthropic",
        "bedrock",
        "bedrock_converse",
    ),
    *("gemini", "mistral", "groq", "together_ai", "fireworks_ai", "cohere", "cohere_chat", "xai"),
    *("dashscope", "deepinfra", "moonshot", "nebius", "novita", "perplexity", "voyage", "watsonx", "zai"),
)


def main(source: str) -> int:
    """Write the extract: one model a line, so that a diff shows which prices changed."""
    listed = msgspec.json.decode(Path(source).read_bytes(), type=dict[str, Listed])
    kept = {name: entry for name, entry in sorted(listed.items()) if _kept(entry)}
    lines = (f"{_text(name)}:{_text(entry)}" for name, entry in kept.items())
    EXTRACT.write_text("{" + ",\n".join(lines) + "}\n")
    return 0


def _kept(entry: Listed) -> bool:
    known = entry.litellm_provider in FAMILIES or entry.litellm_provider.startswith("vertex_ai")
    return known and entry.input_cost_per_token is not None


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
