"""Outgoing HTTP for adapters: one place that decides what an answer, or none, proves.

Http      the connections, and the times before which an account must not be called again
Origin    one account at one base URL: everything an adapter may call
Link      a signed URL, which gets no credential of the account
Reply     an answered call
"""

from proxy_plugin.providers.http.bodies import SEND_CHUNK, STORE_CHUNK
from proxy_plugin.providers.http.client import Http, HttpSettings
from proxy_plugin.providers.http.exchange import MAX_COMPLAINT, MAX_MESSAGE, Reply, plain_url
from proxy_plugin.providers.http.intake import Intake
from proxy_plugin.providers.http.origin import Link, Origin
from proxy_plugin.providers.http.outcomes import LONGEST_WAIT, retry_after

__all__ = [
    "LONGEST_WAIT",
    "MAX_COMPLAINT",
    "MAX_MESSAGE",
    "SEND_CHUNK",
    "STORE_CHUNK",
    "Http",
    "HttpSettings",
    "Intake",
    "Link",
    "Origin",
    "Reply",
    "plain_url",
    "retry_after",
]
