"""What the entrance knows of an admitted request, for the handlers behind it: who calls, and what the headers ask."""

from aiohttp import web

from proxy_plugin.access.callers import Caller
from proxy_plugin.access.headers import RequestHeaders

CALLER = web.RequestKey("proxy_plugin.caller", Caller)
HEADERS = web.RequestKey("proxy_plugin.headers", RequestHeaders)
