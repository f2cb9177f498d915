"""Ids in paths, and what is said of one that is not ours.

People who move to this gateway bring ids that another gateway or a bucket gave them. The answer is 404 as for any
unknown id, but it says whose id this looks like and what to do.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from aiohttp import web

from proxy_plugin.errors import NotFound

SHOWN = 64  # characters of an id that an answer repeats
_OURS = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MAKERS = (
    (re.compile(r"pk_(file|batch)_"), "an id that Portkey made"),
    # base64 of "litellm_proxy:" and of "litellm", which its managed and its encoded ids begin with
    (re.compile(r"(file-|batch_)?bGl0ZWxsb"), "an id that a LiteLLM proxy made"),
    (re.compile(r"(s3|gs):/"), "the place of an object in a bucket"),
)
_FILE_REMEDY = "Upload the file to this gateway and use the id of the answer, or ask where this one came from."
_BATCH_REMEDY = "Ask the gateway that made it, or create the batch here."


def in_path(request: web.Request, name: str) -> str:
    """Return the id in the path. Clients that escape ids do it twice; aiohttp has undone it once."""
    return unquote(request.match_info[name])


def could_be_ours(text: str) -> bool:
    """Tell whether a file or batch of ours could have this id."""
    return _OURS.fullmatch(text) is not None


def no_such_file(file_id: str) -> NotFound:
    """Return the refusal of a file id that names nothing which the caller can see."""
    shown = f": {_short(file_id)}" if could_be_ours(file_id) else "."
    return NotFound(f"No such File object{shown}{_hint(file_id, _FILE_REMEDY, shown)}", param="id")


def no_input_file(file_id: str) -> NotFound:
    """Return the refusal of an id that names no file which the caller could make a batch of."""
    shown = f" with id '{_short(file_id)}'" if could_be_ours(file_id) else ""
    hint = _hint(file_id, _FILE_REMEDY, ".")
    return NotFound(f"No file of purpose 'batch' found{shown}.{hint}", param="input_file_id")


def no_such_batch(batch_id: str) -> NotFound:
    """Return the refusal of a batch id that names nothing which the caller can see."""
    shown = f"id '{_short(batch_id)}'." if could_be_ours(batch_id) else "this id."
    return NotFound(f"No batch found with {shown}{_hint(batch_id, _BATCH_REMEDY, shown)}")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _hint(text: str, remedy: str, before: str) -> str:
    maker = next((maker for pattern, maker in _MAKERS if pattern.match(text)), None)
    if maker is None:
        return ""
    return f"{'' if before.endswith('.') else '.'} This looks like {maker}. {remedy}"
