"""Stores of other kinds than S3 for tests: a stand-in for Cloud Storage, and Azurite, Microsoft's own for Azure Blob.

Azurite is a program of Node, which not every machine has: `make clouds` installs it; without it its tests are skipped.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from proxy_plugin.demo.servers import HOST, ServerProcess, listens
from proxy_plugin.providers.sandbox.tokens import service_account
from tests.support.cloud_storage import CloudStorage
from tests.support.ports import free_port
from tests.support.store_front import OnThread

ACCOUNT = "devstoreaccount1"  # Azurite's, and its key, as its page has them
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
WRONG_KEY = base64.b64encode(b"not the key of that account" * 2).decode()
KEY_ID = "key-of-the-tests"
_NUMBERS = itertools.count()
S = TypeVar("S", bound="AnyStore")


class AnyStore(Protocol):
    """What tests must know of a store."""

    @property
    def endpoint(self) -> str:
        """Its URL, without a path."""

    @property
    def options(self) -> Mapping[str, str]:
        """How it is reached, and who asks, as `blob_options` has it."""

    def wrong(self) -> Mapping[str, str]:
        """The options of somebody with another secret."""

    def at(self: S, endpoint: str) -> S:
        """The same store behind another address."""

    def bucket(self) -> str:
        """Make a bucket and return its URL."""


@dataclass(frozen=True)
class GoogleStore:
    """The stand-in for Cloud Storage."""

    endpoint: str
    server: CloudStorage = field(compare=False)
    key_id: str = KEY_ID

    @property
    def options(self) -> Mapping[str, str]:
        return {"base_url": self.endpoint, "service_account_key": service_account(self.key_id), "allow_http": "true"}

    def wrong(self) -> Mapping[str, str]:
        return replace(self, key_id="another-key").options

    def at(self, endpoint: str) -> GoogleStore:
        return replace(self, endpoint=endpoint)

    def bucket(self) -> str:
        name = f"bucket-{next(_NUMBERS)}"
        self.server.buckets[name] = {}
        return f"gs://{name}"


@dataclass(frozen=True)
class AzureStore:
    """Azurite: it checks signatures."""

    endpoint: str
    account_key: str = ACCOUNT_KEY

    @property
    def options(self) -> Mapping[str, str]:
        told = {"account_name": ACCOUNT, "account_key": self.account_key}
        return {**told, "endpoint": f"{self.endpoint}/{ACCOUNT}", "allow_http": "true"}

    def wrong(self) -> Mapping[str, str]:
        return replace(self, account_key=WRONG_KEY).options

    def lent(self, bucket: str) -> Mapping[str, str]:
        """The options of somebody who was lent a container for an hour, by a signature: Create a service SAS."""
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        told = {"sv": "2020-12-06", "sr": "c", "sp": "rcwdl", "se": ends}
        place = f"/blob/{ACCOUNT}/{bucket.removeprefix('az://')}"
        signed = [told["sp"], "", ends, place, "", "", "", told["sv"], told["sr"], *[""] * 7]
        told["sig"] = _signed("\n".join(signed))
        return {name: value for name, value in self.options.items() if name != "account_key"} | {
            "sas_key": urlencode(told)
        }

    def at(self, endpoint: str) -> AzureStore:
        return replace(self, endpoint=endpoint)

    def bucket(self) -> str:
        name = f"container-{os.getpid()}-{next(_NUMBERS)}"
        with urlopen(_container(self.endpoint, f"/{ACCOUNT}/{name}"), timeout=30):
            return f"az://{name}"


def _signed(text: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256)).decode()


def _container(endpoint: str, path: str) -> Request:
    """Create Container, signed as learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key has it."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    text = "PUT" + "\n" * 12 + canonical + f"/{ACCOUNT}{path}\nrestype:container"
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{_signed(text)}"
    headers |= {"Content-Length": "0", "Content-Type": ""}
    return Request(f"{endpoint}{path}?restype=container", data=b"", headers=headers, method="PUT")


@contextmanager
def cloud_storage() -> Iterator[GoogleStore]:
    """Run the stand-in on a thread."""
    server = CloudStorage(KEY_ID)
    served = OnThread(server)
    try:
        yield GoogleStore(served.start(), server)
    finally:
        served.stop()


@contextmanager
def azurite(folder: Path) -> Iterator[AzureStore]:
    """Run Azurite on a folder; skip what needs it where it is not there."""
    command = shutil.which(os.environ.get("AZURITE", "azurite-blob"))
    if command is None:
        import pytest  # here: programs without pytest import this module

        pytest.skip("Azurite is not here: make clouds installs it, with Node")
    server, port = ServerProcess("azurite", folder.with_suffix(".log")), free_port()
    told = ["--blobHost", HOST, "--blobPort", str(port), "--location", str(folder), "--skipApiVersionCheck", "--silent"]
    try:
        server.run([Path(command).resolve(), *told, "--disableTelemetry"], lambda: listens(port))
        yield AzureStore(f"http://{HOST}:{port}")
    finally:
        server.stop()
