"""Providers that only litellm knows: what an account of each is told, as `python -m tools.litellm_names` finds it.

Nothing of litellm is imported here, so that a configuration can be read without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

import msgspec
from pydantic import BaseModel, Field, create_model, model_validator

from proxy_plugin.providers.base import Capabilities, Credentials, InputMode
from proxy_plugin.providers.keys import HostCredentials, Key

FILE = Path(__file__).with_name("litellm.json")
BASE, HOST = "api_base", "custom_host"  # litellm's name and ours
INSTALL = "Calls go through litellm: pip install 'proxy-plugin[litellm]'."
THROUGH_CHAT = "Lines of /v1/responses and /v1/completions run as chat; what chat cannot express is refused by name."
MAX_LINES = 5_000  # of one part: short enough that accounts take turns
_LEADS = ("_endpoint", "_url", "_host", "_token_file")  # what names of parameters end with that lead somewhere else
Text = Annotated[str, Field(pattern=r"^[!-~][ -~]{0,1023}$")]


class Facts(msgspec.Struct, frozen=True):
    """One provider as litellm has it. `needed` are those of `told` and `secret` that must be there."""

    title: str
    endpoints: tuple[str, ...]
    told: tuple[str, ...]
    secret: tuple[str, ...]
    needed: tuple[str, ...] = ()


@cache
def providers() -> Mapping[str, Facts]:
    """Return the facts by litellm's name."""
    return msgspec.json.decode(FILE.read_bytes(), type=dict[str, Facts])


def installed() -> bool:
    """Tell whether litellm can be imported, without importing it."""
    return find_spec("litellm") is not None


class LitellmCredentials(HostCredentials):
    """An account under litellm's own names; `api_base` and `base_url` are other names of `custom_host`.

    The base URL is as litellm wants it. A caller may bring keys, but nothing that leads elsewhere: litellm's calls are
    not held to the operator's list of hosts.
    """

    _provider: ClassVar[str] = ""

    api_key: Key | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to a worker by the provider's name: the class is made there, too."""
        return account_of, (self._provider, dict(self))

    @model_validator(mode="before")
    @classmethod
    def _one_base(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        bases = {name: given[name] for name in (HOST, BASE, "base_url") if given.get(name) is not None}
        if len(set(map(str, bases.values()))) > 1:
            raise ValueError(f"{' and '.join(bases)} are the same setting; give one")
        rest = {name: value for name, value in given.items() if name not in {BASE, "base_url"}}
        return rest | ({HOST: next(iter(bases.values()))} if bases else {})

    def borrowed(self) -> str | None:
        """Name the setting that leads to a host or a file."""
        return next((name for name, value in self if value is not None and _leads(name)), None)


def _leads(name: str) -> bool:
    return name == HOST or name.endswith(_LEADS)


def account_of(name: str, told: Mapping[str, Any]) -> Credentials:
    """Return an account that is told these credentials. Raises ValidationError."""
    return credentials_of(name).model_validate(told)


@cache
def credentials_of(name: str) -> type[Credentials]:
    """Return the model of a provider's accounts."""
    facts = providers()[name]
    own = {each: _field(each, facts) for each in (*facts.told, *facts.secret) if each != BASE}
    needed = {HOST: (str, ...)} if BASE in facts.needed else {}
    made = create_model("".join(map(str.title, name.split("_"))), __base__=LitellmCredentials, **(own | needed))
    made._provider = name  # noqa: SLF001 - of this class
    return cast("type[Credentials]", made)


def _field(name: str, facts: Facts) -> Any:
    kind = Key if name in facts.secret else Text
    return (kind, ...) if name in facts.needed else (kind | None, None)


def capabilities_of(name: str, *more: str) -> Capabilities:
    """Return what a provider's calls can do; `more` are caveats of its own."""
    facts = providers()[name]
    return Capabilities(
        provider=name,
        title=facts.title,
        endpoints=frozenset(facts.endpoints),
        input_mode=InputMode.DIRECT,
        default_host="",  # litellm knows it
        max_lines=MAX_LINES,
        caveats=(
            "Ordinary calls, one a line, at full price: a crash of the gateway repeats at most those in flight.",
            "drop_params leaves out what litellm says that a model does not take; which, is not recorded.",
            *((THROUGH_CHAT,) if "/v1/responses" in facts.endpoints else ()),
            *more,
            INSTALL,
        ),
    )


def parameters(credentials: BaseModel) -> dict[str, str]:
    """Return what an account is told under litellm's names, in clear."""
    found = {BASE if name == HOST else name: value for name, value in credentials if value is not None}
    return {name: getattr(value, "get_secret_value", lambda text=value: text)() for name, value in found.items()}
