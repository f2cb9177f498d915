"""What the server overrides of aiohttp's is still there to be overridden."""

from __future__ import annotations

import inspect

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy_plugin.web.server import Guarded

OVERRIDDEN = {
    "connection_made": ["transport"],
    "connection_lost": ["exc"],
    "data_received": ["data"],
    "pause_writing": [],
    "resume_writing": [],
    "shutdown": ["timeout"],
    "_handle_request": ["request", "start_time", "request_handler"],
    "_make_error_handler": ["err_info"],
    "handle_error": ["request", "status", "exc", "message"],
    "force_close": [],
}
READ = ("_parser", "_max_msg_queue_size", "_msg_queue_resume_size", "_current_request", "_loop")


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_aiohttp_calls_what_is_overridden_as_it_did(name: str) -> None:
    assert list(inspect.signature(getattr(RequestHandler, name)).parameters)[1:] == OVERRIDDEN[name]


def test_aiohttp_has_the_members_that_are_read() -> None:
    slots = {name for each in RequestHandler.__mro__ for name in getattr(each, "__slots__", ())}
    assert set(READ) <= slots


def test_nothing_else_of_aiohttp_is_hidden_by_chance() -> None:
    own = {name for name in vars(Guarded) if not name.startswith("__")}
    meant = {*OVERRIDDEN, "log_exception"} - {"force_close"}
    assert own & set(dir(RequestHandler)) <= meant


def test_a_server_makes_its_protocols_when_called() -> None:
    assert "__call__" in vars(web.Server)
    assert {"request_factory", "handler_cancellation"} <= set(inspect.signature(web.Server).parameters)
