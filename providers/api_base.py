"""`api_base` as LiteLLM's `model_list` has it, made the base URL that a lane calls.

LiteLLM adds the path of its call to what stands there, each provider in its own way, and takes what already ends with
that path. Sources: litellm 1.106.2, `main.py` and `llms/*/chat/transformation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiBase:
    """How one provider's `api_base` is read: paths that are cut off its end, all there are, and what is then added."""

    cut: tuple[str, ...] = ()
    added: str = ""
    ahead_of: str = ""  # a path from which on everything goes, the query too

    def host(self, text: str) -> str:
        """Return the base URL, without a slash at its end."""
        url = text.strip().rstrip("/")
        if self.ahead_of:
            scheme, _, rest = url.partition("://")
            host, slash, path = rest.partition("/")
            url = f"{scheme}://{host}{(slash + path).partition(self.ahead_of)[0]}".rstrip("/")
        while (end := next((each for each in self.cut if url.endswith(each)), None)) is not None:
            url = url.removesuffix(end).rstrip("/")
        return url + self.added


AS_IT_IS = ApiBase()
