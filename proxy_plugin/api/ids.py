"""What the id in a path names for its caller, and what is said of one that names nothing.

People who move to this gateway bring ids that another gateway or a bucket gave them. The answer is 404 as for any
unknown id, but it says whose id this looks like and what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import unquote

from aiohttp import hdrs, web
from multidict import MultiDict

from proxy_plugin.access import litellm_words
from proxy_plugin.access.callers import Caller
from proxy_plugin.access.headers import slug_in
from proxy_plugin.access.litellm_words import Words, common, opened, require_agreed
from proxy_plugin.config import OWN_KEY_PREFIX
from proxy_plugin.config.names import entries_of
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import BadRequest, NotFound
from proxy_plugin.routing.route import decode_route
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, provider_files, uploads
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.uploads import UploadRow
from proxy_plugin.web.keys import CALLER, HEADERS
from proxy_plugin.web.request_body import json_object

SHOWN = 64  # characters of an id that an answer repeats
_BATCH = re.compile(r"batch_[0-9a-f]{16,32}")
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


def file_id(request: web.Request) -> str:
    """Return the file id in the path. Raises NotFound for one that no file of ours can have."""
    found, _ = opened(in_path(request, "file_id"))
    if not could_be_ours(found):
        raise no_such_file(found)
    return found


async def visible_file(request: web.Request) -> FileRow:
    """Return the file in the path if the caller can see it. Raises NotFound."""
    gateway, wanted = request.app[GATEWAY], file_id(request)
    row = await gateway.registry.read(_file, request[CALLER], wanted, gateway.clock.now())
    if row is None:
        raise no_such_file(in_path(request, "file_id"))
    fields = await also_said(request)
    if fields or litellm_words.says_anything(request.query, request.headers):
        place = await gateway.registry.read(provider_files.place, row.id)
        if place is not None:
            require_agreed(said(request, fields), {place.provider}, [place.slug], gateway.config)
    return row


def _file(conn: Connection, caller: Caller, wanted: str, now: float) -> FileRow | None:
    row = files.visible(conn, caller.workspace, wanted, now)
    return row if row is not None and permitted(conn, caller, [row]) else None


def permitted(conn: Connection, caller: Caller, rows: list[FileRow]) -> list[FileRow]:
    """Return those files of the caller's workspace that its list of virtual keys lets it see."""
    if "*" in caller.virtual_keys:
        return rows
    slugs = provider_files.slugs(conn, [row.id for row in rows])
    hidden = {each for each, slug in slugs.items() if not (slug.startswith(OWN_KEY_PREFIX) or caller.allows(slug))}
    return [row for row in rows if row.id not in hidden]


def batch_id(request: web.Request) -> str:
    """Return the batch id in the path. Raises NotFound for one that no batch of ours can have."""
    found = in_path(request, "batch_id")
    if _BATCH.fullmatch(inside := opened(found)[0]):
        return inside
    if not could_be_ours(found):
        raise no_such_batch(found)
    return found


async def visible_batch(request: web.Request, fields: Mapping[str, object] | None = None) -> BatchRow:
    """Return the batch in the path if the caller's workspace can see it. `fields` are those of a body that was read.

    Raises NotFound, and BadRequest where LiteLLM's words name another place than that of the batch.
    """
    gateway, wanted = request.app[GATEWAY], batch_id(request)
    row = await gateway.registry.read(batches.visible, request[CALLER].workspace, wanted)
    if row is None:
        raise no_such_batch(wanted)
    if (words := said(request, await also_said(request) if fields is None else fields)) != Words():
        targets = decode_route(row.route).targets
        require_agreed(words, {each.provider for each in targets}, [each.slug for each in targets], gateway.config)
    return row


async def also_said(request: web.Request) -> Mapping[str, object]:
    """Return LiteLLM's words in a body that no method of this request has: its callers send one with GET, too.

    Raises BadRequest or Forbidden for words that could choose nothing. What is no JSON object says nothing.
    """
    if request.method == hdrs.METH_POST or not request.can_read_body:
        return {}
    try:
        body = await json_object(request, optional=True)
    except BadRequest:
        return {}
    fields = {name: body[name] for name in litellm_words.FIELDS if name in body}
    if fields and request[HEADERS].names_nothing:
        none, config = MultiDict[str](), request.app[GATEWAY].config
        words, named = litellm_words.read(fields, none, none), litellm_words.naming(fields, none, none)
        litellm_words.check(words, config, request[CALLER], one=False, said=named)
    return fields


def said(request: web.Request, fields: Mapping[str, object] = {}) -> Words:
    """Return what a request says in LiteLLM's words of where its things are. Raises BadRequest."""
    query = litellm_words.theirs(request.path, request.query)
    if not fields and not litellm_words.says_anything(query, request.headers):
        return Words()
    return litellm_words.read(fields, query, request.headers)


async def said_of_file(request: web.Request, sent: object) -> Words:
    """Return what was said with the upload of a file, or stands in the id that LiteLLM gave it, of where it goes."""
    if not isinstance(sent, str):
        return Words()
    gateway = request.app[GATEWAY]
    wanted, models = opened(sent)
    known = tuple(each for each in models if entries_of(gateway.config.models, each) or slug_in(each))
    row = await gateway.registry.read(files.visible, request[CALLER].workspace, wanted, gateway.clock.now())
    wish = Words() if row is None or row.wish is None else Words(**json.loads(row.wish))
    told = (("its id", known), ("input_file_id", tuple(wish.models)))
    return Words(wish.provider, common([(name, each) for name, each in told if each]))


async def visible_upload(request: web.Request) -> UploadRow:
    """Return the upload in the path if it is the workspace's own, whatever its state. Raises NotFound."""
    wanted = in_path(request, "upload_id")
    if not could_be_ours(wanted):
        raise NotFound("No such Upload object.", param="id")
    row = await request.app[GATEWAY].registry.read(uploads.visible, request[CALLER].workspace, wanted)
    if row is None:
        raise NotFound(f"No such Upload object: {wanted}", param="id")
    return row


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
