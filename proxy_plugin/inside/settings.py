"""What the plugin reads of the file that LiteLLM was started with: where the gateway is, and what it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy_plugin.inside.words import SOCKET

SECTION = "proxy_plugin"
DATA_DIR = "./var"  # where the file names none, as the gateway has it
OUR_HEADERS = b"x-portkey-"
_OURS = re.compile(
    r"(?:/v1|/[^/]+/v1)?/(?:files|batches|uploads)(?:/.*)?"
    r"|/v1/(?:(?:webhooks|webhook_endpoints)(?:/.*)?|operator|workspace(?:/figures)?)",
    re.DOTALL,
)
_PAGES = re.compile(r"/batch-ui(?:/[a-z.]*)?")  # the dashboard: LiteLLM has another one at /ui


@dataclass(frozen=True, slots=True)
class InsideSettings:
    """`in_front`: the gateway stands in front of this LiteLLM, so that there is nothing to do inside."""

    config: Path
    socket: Path
    all_batches: bool = False
    in_front: bool = False

    def takes(self, path: str, headers: list[tuple[bytes, bytes]]) -> bool:
        """Tell whether a request is for the gateway. `path` is unescaped, names of headers are in lower case."""
        if _OURS.fullmatch(path) is None:
            return is_page(path)
        return self.all_batches or any(name.startswith(OUR_HEADERS) for name, _ in headers)


def is_page(path: str) -> bool:
    """Tell whether a path is one of the dashboard's files, which hold no data: anybody may have them."""
    return _PAGES.fullmatch(path) is not None


def read(sections: Mapping[str, object], config: Path) -> InsideSettings:
    """Return the settings in LiteLLM's sections, in which references to the environment are replaced."""
    ours = _mapping(sections.get(SECTION))
    data_dir = _mapping(ours.get("storage")).get("data_dir")
    folder = Path(data_dir if isinstance(data_dir, str) and data_dir else DATA_DIR)
    in_front = bool(_mapping(ours.get("server")).get("upstream"))
    return InsideSettings(config.absolute(), folder.absolute() / SOCKET, ours.get("all_batches") is True, in_front)


def _mapping(raw: object) -> Mapping[str, object]:
    return raw if isinstance(raw, Mapping) else {}
