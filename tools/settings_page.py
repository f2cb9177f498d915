"""`docs/settings.md`: every setting of the section `proxy_plugin`, from the models that read them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import NamedTuple, get_args

from pydantic import BaseModel

from proxy_plugin.config.read import KNOWN, MANY, SECTIONS
from proxy_plugin.config.sections import Options
from tools import model_words
from tools.model_words import Words

HEAD = """\
# Settings

<!-- made by `make docs` from the models of proxy_plugin/config -->

All of this gateway is the section `proxy_plugin` of one YAML file; the rest of the file is LiteLLM's, and what is read of it is
told in [operations](operations.md). Every setting has a default, so this is a whole configuration:

```yaml
# yaml-language-server: $schema=./config.schema.json
proxy_plugin:
  api_keys:
    - {name: dev, key: os.environ/PORTKEY_API_KEY}
  virtual_keys:
    openai-prod: {provider: openai, api_key: os.environ/OPENAI_API_KEY}
```

- `os.environ/NAME` takes a value from the environment, anywhere. Without the variable a virtual key is disabled and an API key is
  dropped, each with a warning; anywhere else it is an error.
- A setting that is misspelt, or in the wrong place, stops the start. `proxy-plugin check --config FILE` lists all problems at once.
- API keys, virtual keys and configs count as soon as the file has changed, all other sections from the next start on.
- Seconds and bytes are numbers: `max_file_bytes: 2147483648`. "none" is `null`, or leaving the setting out.
- The first line above tells editors with a YAML language server the [schema](../config.schema.json), for completion and for
  mistakes while you type. It is in the package, too: `python -c "import proxy_plugin.config as c; print(c.__path__[0])"`
  names its folder.
"""
TOP = (  # what stands directly below `proxy_plugin` and has no model
    Words(
        "auth", "`keys`, `litellm`", "`keys`", "Whose keys callers have: those of `api_keys`, or LiteLLM's.", "litellm"
    ),
    Words(
        *("all_batches", "true or false", "`false`"),
        "Inside LiteLLM: files and batches come here without an `x-portkey-` header, too.",
        "true",
    ),
    Words(
        *("configs", "mapping", "empty"),
        "Saved routing configs by their id, which begins with `pc-`: see below.",
        "{pc-cheap: {provider: '@openai-prod'}}",
    ),
)
NAMED = {"virtual_keys": "SLUG"}  # how one of many is named in paths; one of a list by its number
NOTES = {
    "api_keys": """
A list. Whoever has one of these keys, or LiteLLM's master key, may call; without any, and without `auth: litellm`, the gateway
serves this machine alone. `printf %s "$KEY" | sha256sum` gives a `key_sha256`.

```yaml
proxy_plugin:
  api_keys:
    - {name: research, key: os.environ/RESEARCH_KEY, workspace: research, virtual_keys: ["openai-*"], default: openai-prod}
    - {name: nightly, key_sha256: f2d81a260dea8a100dd517984e53c56a7523d96942a834b9cdc249bd4e8c7aa9, models: ["gpt-4.1-*"]}
  virtual_keys:
    openai-prod: {provider: openai, api_key: os.environ/OPENAI_API_KEY}
```
""",
    "virtual_keys": """
A mapping: each is a provider account under a name of 1 to 64 letters, digits, dots, underscores or hyphens. `provider` says which
lane; the account's own settings are on [the page of its provider](providers/README.md). Beside them:
""",
    "configs": """
A mapping of Portkey's config objects, which a request names by id in `x-portkey-config`. [Configs](configs.md) has every key
of them, [recipes](recipes.md) some to copy.

```yaml
proxy_plugin:
  virtual_keys:
    openai-prod: {provider: openai, api_key: os.environ/OPENAI_API_KEY}
    claude-prod: {provider: anthropic, api_key: os.environ/ANTHROPIC_API_KEY}
  configs:
    pc-careful:
      strategy: {mode: fallback}
      targets:
        - {provider: "@openai-prod", override_params: {model: gpt-4.1-mini}}
        - {provider: "@claude-prod", override_params: {model: claude-haiku-4-5}, drop_params: true}
```
""",
    "litellm_keys": "\nCounts with `auth: litellm`, in front of a LiteLLM proxy or inside one.\n",
    "storage": "\nThe folder is made with mode 0700, and holds what callers sent.\n",
    "secrets": "\nAny long random text, such as that of `openssl rand -hex 32`; with another one, what was sealed stays shut.\n",
}
ENVIRONMENT = """
## Environment

What the file names with `os.environ/NAME` is read once, at the start. Beside it count

| variable | of | meaning |
|---|---|---|
| `PORTKEY_API_KEY` | `proxy-plugin batch` | the gateway's key |
| `PROXY_PLUGIN_BASE_URL`, `PORTKEY_BASE_URL` | `proxy-plugin batch` | the gateway, where `--base-url` does not name it |
| `PROXY_PLUGIN_PROVIDER_KEY` | `proxy-plugin batch` | with `--provider NAME`: your own key of that provider |
| `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` | `proxy-plugin batch` | the proxy on the way to the gateway |
| `SSL_CERT_FILE` | `proxy-plugin batch` | a PEM file with the authority of the gateway's certificate |
| `NO_COLOR` | `proxy-plugin batch` | no colours on a terminal |
| `PROXY_PLUGIN_ONLY_PROVIDERS` | the gateway | a comma list: every other provider is as if it did not exist |
| `LITELLM_MASTER_KEY` | the gateway | the master key, where the file has none and is LiteLLM's |

and the variables of the providers, which are on their pages.
"""


class Part(NamedTuple):
    """One table: the path of its settings, and the model that has them."""

    path: str
    model: type[BaseModel]


def sections() -> Iterator[tuple[str, list[Part]]]:
    """Yield each section with its tables, nested ones behind it."""
    for name, each in MANY.items():
        yield name, list(_parts(f"{name}.{NAMED.get(name, 'N')}", each))
    for name, found in SECTIONS.items():
        yield name, list(_parts(name, found))


def _parts(path: str, model: type[BaseModel]) -> Iterator[Part]:
    yield Part(path, model)
    inner: dict[type[BaseModel], list[str]] = {}
    for name, field in model.model_fields.items():
        for found in _models_in(field.annotation):
            many = ".NAME" if found is not field.annotation else ""
            inner.setdefault(found, []).append(f"{path}.{name}{many}")
    for found, paths in inner.items():
        yield from _parts(", ".join(paths), found)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and not get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models_in(each)


def markdown() -> str:
    """Return the page."""
    return "\n".join([HEAD, *_top(), *_all(), ENVIRONMENT.strip("\n")]) + "\n"


def _top() -> Iterator[str]:
    yield "## Sections\n"
    named = ", ".join(f"[`{name}`](#{name})" for name, _ in sections())
    yield f"{named}; and, directly below `proxy_plugin`:\n"
    yield from table(TOP)
    yield f"\n### configs\n{NOTES['configs']}"


def _all() -> Iterator[str]:
    for name, parts in sections():
        yield f"## {name}\n"
        for part in parts:
            if part is not parts[0]:
                yield f"### {part.path}\n"
            yield f"{model_words.purpose(part.model)}\n"
            if part is parts[0] and name in NOTES:
                yield NOTES[name].lstrip("\n")
            yield from table([*_provider(part), *model_words.settings(part.model)])
            yield ""


def _provider(part: Part) -> Iterator[Words]:
    if part.model is Options:
        meaning = "Whose lane it is, in Portkey's words or LiteLLM's."
        yield Words("provider", "text", "required", meaning, "openai")


def table(rows: Iterable[Words]) -> Iterator[str]:
    """Yield a table of settings."""
    yield "| setting | type | default | meaning | example |"
    yield "|---|---|---|---|---|"
    for each in rows:
        cells = [f"`{each.name}`", each.kind, each.default, each.meaning, f"`{each.name}: {each.example}`"]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def undocumented() -> set[str]:
    """Return the sections that the configuration knows and the page does not."""
    return set(KNOWN) - {name for name, _ in sections()} - {each.name for each in TOP}
