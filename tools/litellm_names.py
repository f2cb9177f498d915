"""Make the shipped list of litellm's providers anew: `python -m tools.litellm_names FOLDER`, an installed litellm's.

Of each provider: its title, the endpoints that it has, and the names of what an account of it is told, with which of
them are secrets and which it cannot do without. Sources, all in the folder: names in `types/utils.py`; parameters in
`proxy/public_endpoints/provider_create_fields.json`; endpoints in `provider_endpoints_support_backup.json`, which lacks
many (in 1.110.2 hosted_vllm has none there), and so also by the lists and functions that send the calls their way.
Nothing of litellm is imported, and none of the variables are noted that it would read from an environment.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from proxy_plugin.providers.catalog import BUILT_IN, canonical
from proxy_plugin.providers.direct.litellm_providers import FILE

MADE_FROM = "1.110.2"  # the litellm whose providers the list has now
ENDPOINTS = {  # litellm's word -> ours
    "chat_completions": "/v1/chat/completions",
    "responses": "/v1/responses",
    "text_completion": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "image_generations": "/v1/images/generations",
    "rerank": "/v1/rerank",
}
TALKS = ("/v1/chat/completions", "/v1/responses", "/v1/completions")  # litellm makes a chat of the last two
LISTS = ("LITELLM_CHAT_PROVIDERS", "openai_compatible_providers")  # of `constants.py`: those that chat
SENDING = (  # functions that name the providers of an endpoint
    ("main.py", "embedding", "/v1/embeddings"),
    ("images/main.py", "image_generation", "/v1/images/generations"),
    ("rerank_api/main.py", "rerank", "/v1/rerank"),
)
SECRET = frozenset({"password", "upload"})
LEFT_OUT = {
    **dict.fromkeys(("chatgpt", "github_copilot", "microsoft_365_copilot"), "a person logs in, at a browser"),
    **dict.fromkeys(("vllm", "petals"), "runs the model inside the process; a server of vLLM is hosted_vllm"),
    **dict.fromkeys(("auto_router", "dotprompt", "humanloop", "langfuse", "litellm_agent"), "is no provider"),
    **dict.fromkeys(("custom", "custom_openai", "aiohttp_openai", "text-completion-openai"), "names no service"),
    **dict.fromkeys(("anthropic_text", "azure_text", "cohere_chat", "vertex_ai_beta"), "an older way to a lane"),
}
LIKE = dict.fromkeys(("sagemaker", "sagemaker_nova"), "sagemaker_chat")  # whose accounts are the same
KEYS = ({"key": "api_key", "field_type": "password"}, {"key": "api_base"})
NOT_TOLD = frozenset({"base_model", "aws_profile_name"})  # means nothing to a call; names a file of the machine
_TITLE = re.compile(r"\s*\(`.*$")


def main(folder: str) -> int:
    """Write the list: one provider a line, so that a diff shows what changed."""
    found = made(Path(folder))
    lines = (f"{json.dumps(name)}:{json.dumps(facts, separators=(',', ':'))}" for name, facts in sorted(found.items()))
    FILE.write_text("{" + ",\n".join(lines) + "}\n")
    return 0


def made(folder: Path) -> dict[str, Any]:
    """Return the facts by name, of an installed litellm's folder."""
    support = json.loads((folder / "provider_endpoints_support_backup.json").read_text())["providers"]
    listed = json.loads((folder / "proxy" / "public_endpoints" / "provider_create_fields.json").read_text())
    fields = {each["litellm_provider"]: each for each in reversed(listed)}
    found = {}
    for name in set(_words(folder).values()) - LEFT_OUT.keys():
        told = support.get(name, {})
        endpoints = [*_endpoints(folder, name, told.get("endpoints", {}))]
        if endpoints and canonical(name) not in BUILT_IN:
            found[name] = _facts(name, endpoints, told, fields.get(LIKE.get(name, name), {}))
    return found


def _endpoints(folder: Path, name: str, support: Mapping[str, bool]) -> Iterator[str]:
    told = {ours for theirs, ours in ENDPOINTS.items() if support.get(theirs)}
    if name in _chatting(folder):
        told |= {*TALKS}
    told |= {endpoint for file, function, endpoint in SENDING if name in _sent(folder, file, function)}
    yield from (endpoint for endpoint in ENDPOINTS.values() if endpoint in told)


@cache
def _words(folder: Path) -> Mapping[str, str]:
    """Return the members of litellm's `LlmProviders`."""
    listed = (folder / "types" / "utils.py").read_text().partition("class LlmProviders(str, Enum):")[2]
    return dict(re.findall(r'^    ([A-Z0-9_]+) = "([^"]+)"', listed.partition("\n\n\n")[0], re.MULTILINE))


@cache
def _chatting(folder: Path) -> frozenset[str]:
    found = {*json.loads((folder / "llms" / "openai_like" / "providers.json").read_text())}
    for node in ast.parse((folder / "constants.py").read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in LISTS and node.value is not None:
            found |= {*ast.literal_eval(node.value)}
    return frozenset(found)


@cache
def _sent(folder: Path, file: str, function: str) -> frozenset[str]:
    """Return the providers that the last function of this name speaks of; those before it are its overloads."""
    tree = ast.parse((folder / file).read_text())
    body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function][-1]
    members = _words(folder)
    spoken = {node.value for node in ast.walk(body) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    spoken |= {members.get(node.attr, "") for node in ast.walk(body) if isinstance(node, ast.Attribute)}
    return frozenset(spoken & {*members.values()})


def _facts(name: str, endpoints: list[str], support: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    title = shown.get("provider_display_name") or _TITLE.sub("", support.get("display_name", name))
    fields = {field["key"]: field for field in (*KEYS, *shown.get("credential_fields", ()))}
    own = {name: field for name, field in fields.items() if name not in NOT_TOLD}
    return {
        "title": title,
        "endpoints": endpoints,
        "told": sorted(name for name, field in own.items() if not _secret(field)),
        "secret": sorted(name for name, field in own.items() if _secret(field)),
        "needed": sorted(name for name, field in own.items() if field.get("required")),
    }


def _secret(field: Mapping[str, Any]) -> bool:
    return field.get("field_type") in SECRET or field["key"] in {"api_key", "oci_key"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
