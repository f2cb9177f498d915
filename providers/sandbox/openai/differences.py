"""In what a vendor that copies OpenAI's API differs from it, as options of this dialect.

Source: reference page "Providers and servers that copy the OpenAI batch API" and those of Groq and of new lanes, with
their updates of 2026-11-29. The defaults are OpenAI's own.
"""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from aiohttp import web

from proxy_plugin.providers.sandbox.openai.bodies import ENDPOINTS, error_body
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

STATUSES = (
    *("validating", "in_progress", "finalizing", "completed"),
    *("failed", "expired", "cancelling", "cancelled"),
)
CAPITALS = {word: word.upper() for word in STATUSES}
_TIME = re.compile(r".*_at\Z")


class Differences(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """See each field."""

    # Calls
    base: str = "v1"  # the path of a base URL
    query: dict[str, str] = {}  # parameters that every call must have -> what their values look like
    one_header_of: list[str] = []  # exactly one of these must be sent
    errors: Literal["openai", "detail"] = "openai"
    plain_401: bool = False  # an unknown key is told so in plain text
    # Files
    wrapped_files: bool = False  # new files and the list of files are in `data` of the answer
    file_params: tuple[str, ...] = ("after", "limit", "order", "purpose")  # of the list of files
    needs_purpose: bool = False  # in that list
    file_orders: tuple[str, ...] = ("desc", "asc")
    most_files: int = 10_000  # on a page of it
    files_by_id: bool = True  # can a file be asked for by its id?
    signed_content: bool = False  # content is a 302 to an address that takes no key
    result_urls: bool = False  # batches name such addresses in place of the ids of their files
    deletes_anything: bool = False  # `deleted: true` of files that never were
    expiries: bool = True  # may `expires_after` and `output_expires_after` be sent?
    dotted_expiry: bool = False  # `expires_after` in dotted names, of 14 to 30 days
    pending_looks: int = 0  # so many looks at a new file find it `pending`, and no batch may read it
    checks_uploads: bool = False  # every line is checked before the file is stored
    # Creates
    endpoints: dict[str, str] = {}  # what creates and lines name -> OpenAI's path; {}: OpenAI's own
    windows: tuple[int, int] = (24, 24)  # hours that `completion_window` may say, as hours or days
    window_needed: bool = True
    members: dict[str, Any] = {}  # further members of a create -> their defaults; `auto_delete_input_file` is obeyed
    metadata_keys: list[str] | None = None  # those that are kept
    metadata: Literal["shown", "taken", "refused"] = "shown"
    idempotency: bool = False  # a create with the `Idempotency-Key` of another one is that one
    needs_file: bool = False  # a create without its input is a 404 at once
    # Batches
    words: dict[str, str] = {}  # OpenAI's states -> its own
    times: Literal["seconds", "milliseconds", "text"] = "seconds"
    expires: bool = True  # do batches have an `expires_at`?
    counts: Literal["always", "late", "beside"] = "always"  # late: null until validated; beside: not in an object
    problems: Literal["object", "list", "text"] = "object"
    empty_ids: bool = False  # of files that are not there: "" and not null
    codes: dict[str, str] = {}  # OpenAI's codes of problems -> its own
    cursors: bool = False  # the list is paged by `cursor` and `paging.next_cursor`, without a limit
    cancel_keeps: bool = True  # does a cancelled batch name its files?
    # Lines and rows
    many_models: bool = False
    bare_lines: bool = False  # lines have neither method nor url
    first_line: int = 1
    bad_lines_alone: bool = False  # a line that is no good fails by itself, and is named on a batch that completes
    streams_fail: bool = False  # `stream` and `stream_options` are a 500 of their line, no fault of the file
    error_rows: Literal["response", "error"] = "response"  # where rows of the error file say what went wrong
    always_error_file: bool = False  # named also when it is empty; ids of both files are made from the batch's

    def path(self, endpoint: str) -> str | None:
        """OpenAI's path for what a create names; None for one that is not known."""
        return self.endpoints.get(endpoint) if self.endpoints else endpoint if endpoint in ENDPOINTS else None

    def hours(self, window: str) -> bool:
        """Whether a completion_window is accepted."""
        found = re.fullmatch(r"([1-9][0-9]{0,3})([hd])", window)
        asked = int(found[1]) * (24 if found[2] == "d" else 1) if found else 0
        return self.windows[0] <= asked <= self.windows[1]


def admitted(request: web.Request, differs: Differences) -> web.Request:
    """The request without what every call must have. Raises `Refused` where it has it not."""
    for name, pattern in differs.query.items():
        if not re.fullmatch(pattern, request.query.get(name, "")):
            raise Refused(json_reply(error_body(400, f"Query parameter '{name}' is missing or wrong."), 400))
    if differs.one_header_of and sum(name in request.headers for name in differs.one_header_of) != 1:
        wanted = " or ".join(differs.one_header_of)
        raise Refused(json_reply(error_body(400, f"One header of {wanted} is required."), 400))
    return request.clone(rel_url=request.rel_url.without_query_params(*differs.query)) if differs.query else request


def complaint(reply: Reply, differs: Differences) -> Reply:
    """An error in the vendor's shape."""
    if reply.status < 400 or differs.errors == "openai":
        return reply
    said = json.loads(reply.body)["error"]["message"]
    headers = {name: value for name, value in reply.headers.items() if name != "content-type"}
    return replace(json_reply({"detail": said}, reply.status, headers), subject=reply.subject)


def batch_object(facts: dict[str, Any], differs: Differences) -> dict[str, Any]:
    """OpenAI's Batch object as the vendor has it."""
    made = {**facts, "status": differs.words.get(facts["status"], facts["status"])}
    made["errors"] = _problems(facts["errors"], differs)
    if differs.metadata != "shown":
        del made["metadata"]
    if not differs.expires:
        made["expires_at"] = None
    if not differs.cancel_keeps and facts["status"] == "cancelled":
        made |= {"output_file_id": None, "error_file_id": None}
    if differs.empty_ids:
        made |= {name: made[name] or "" for name in ("output_file_id", "error_file_id")}
    counts = made.pop("request_counts")
    if differs.counts == "beside":
        made |= counts
    else:
        late = differs.counts == "late" and facts["status"] == "validating"
        made["request_counts"] = None if late else counts
    return {name: timed(value, differs) if _TIME.match(name) else value for name, value in made.items()}


def timed(moment: Any, differs: Differences) -> Any:
    """A time in Unix seconds as the vendor has it."""
    if not isinstance(moment, int) or differs.times == "seconds":
        return moment
    if differs.times == "milliseconds":
        return moment * 1000
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _problems(errors: Any, differs: Differences) -> Any:
    if errors is None or differs.problems == "object":
        return errors
    return errors["data"] if differs.problems == "list" else errors["data"][0]["message"]
