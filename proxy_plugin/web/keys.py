"""What the entrance knows of a request, for the handlers behind it: its id, who calls, and what the headers ask."""

import secrets

from aiohttp import web

from proxy_plugin.access.callers import Caller
from proxy_plugin.access.headers import RequestHeaders

CALLER = web.RequestKey("proxy_plugin.caller", Caller)
HEADERS = web.RequestKey("proxy_plugin.headers", RequestHeaders)
REQUEST_ID = "x-request-id"  # `_request_id` of the SDKs' objects and errors
_ID = web.RequestKey("proxy_plugin.request_id", str)


def new_request_id() -> str:
    """Return an id in OpenAI's form."""
    return f"req_{secrets.token_hex(16)}"


def request_id(request: web.Request) -> str:
    """Return the id of this one request, in OpenAI's form; a trace id may be shared by many."""
    if _ID not in request:
        request[_ID] = new_request_id()
    return request[_ID]
