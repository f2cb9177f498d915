"""`proxy-plugin serve --sandbox`: a stand-in beside the gateway, where its virtual key `sandbox` leads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from proxy_plugin.providers.sandbox import virtual_keys
from proxy_plugin.providers.sandbox.process import Sandbox

HOST = "127.0.0.1"
JOB_SECONDS = 2.0  # how long it takes for a job, instead of hours


@contextmanager
def beside(provider: str, url: str) -> Iterator[None]:
    """Run a stand-in for a provider at a base URL on this machine. Raises OSError, SandboxError and LookupError."""
    port = urlsplit(url).port or 0
    with socket.socket() as probe:  # what a process in the background says of it is a traceback
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
    with Sandbox(providers=[provider], options=virtual_keys.paced(provider, JOB_SECONDS), port=port):
        yield
