"""Requests generated from the OpenAPI descriptions, valid and not: no 5xx, and every answer has its described shape.

A seeded slice by default; `--campaign` takes random examples, and many more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.openapi.document import Operation, operations
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import KEY, Gateway, lane

EXAMPLES, OF_A_CAMPAIGN = 30, 400
OF_A_FILE = {"createBatch", "planBatch"}  # their body names a file
MODEL = "gpt-4.1-nano"
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = operations()
Request = Case[Any]


@dataclass
class World:
    """A gateway with something of every kind in it. `known` are ids that a path may name."""

    gateway: Gateway
    session: requests.Session
    known: dict[str, list[str]] = field(default_factory=dict)

    def furnish(self) -> None:
        """Run a batch with good and bad lines to its end, and begin an upload in parts."""
        batch = self.gateway.create(self.gateway.upload(jsonl(chat_lines(4, marker={2: "[[sandbox:error=429]]"}))))
        batch = self.gateway.until(batch["id"])
        upload = {"bytes": 10_000, "filename": "in.jsonl", "mime_type": "application/jsonl", "purpose": "batch"}
        self.known = {
            "file_id": [batch[f"{which}_file_id"] for which in ("input", "output", "error")],
            "batch_id": [batch["id"]],
            "upload_id": [self.gateway.call("POST", "/uploads", upload)["id"]],
            "model": [f"@lane/{MODEL}"],
        }

    def send(self, name: str, case: Request) -> None:
        """Make the request and check its answer."""
        if name in OF_A_FILE and isinstance(case.body, dict) and isinstance(case.body.get("input_file_id"), str):
            case.body["input_file_id"] = self.known["file_id"][0]
        headers = {"Authorization": f"Bearer {KEY}"}
        if name == "downloadFile":
            headers["Accept"] = "application/json"  # else it gets the bytes, which OpenAI's description does not know
        elif case.method.upper() == "POST":
            headers["x-portkey-virtual-key"] = "lane"
        answer = case.call(base_url=self.gateway.url, session=self.session, headers=headers)
        case.validate_response(answer, checks=CHECKS)


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with requests.Session() as http:
        gateway = Gateway(tmp_path_factory.mktemp("world"), {"lane": lane(sandbox, models=[MODEL])})
        gateway.start()
        try:
            made = World(gateway, http)
            made.furnish()
            yield made
            assert gateway.alive()
            assert '"request_failed"' not in gateway.log.read_text(), gateway.tail()
        finally:
            gateway.close()


def _ways() -> Iterator[tuple[str, GenerationMode]]:
    for name, operation in OPERATIONS.items():
        yield name, GenerationMode.POSITIVE
        if operation.body or operation.query:  # in a path every text is valid
            yield name, GenerationMode.NEGATIVE


def _cases(world: World, name: str, operation: Operation, mode: GenerationMode) -> st.SearchStrategy[Request]:
    """Return requests with ids that nobody has, and as many with known ones; a delete gets only the first."""
    invented = operation.as_strategy(generation_mode=mode)
    place = next((parameter.name for parameter in operation.path_parameters), None)
    if place is None or name == "deleteFile":
        return invented
    known = [operation.as_strategy(generation_mode=mode, path_parameters={place: each}) for each in world.known[place]]
    return st.one_of(invented, st.one_of(known))


@pytest.mark.parametrize(("name", "mode"), list(_ways()), ids=lambda value: getattr(value, "value", value))
def test_every_answer_is_as_described(world: World, name: str, mode: GenerationMode, campaign: bool) -> None:
    sought = settings(
        max_examples=OF_A_CAMPAIGN if campaign else EXAMPLES,
        derandomize=not campaign,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @sought
    @given(_cases(world, name, OPERATIONS[name], mode))
    def every(case: Any) -> None:
        world.send(name, case)

    every()


def test_files_that_are_there_can_be_deleted_once(world: World) -> None:
    """What the generated deletes never come to."""
    operation = OPERATIONS["deleteFile"]
    file_id = world.gateway.upload(jsonl(chat_lines(1)))
    statuses = []
    for _ in range(2):
        case = operation.Case(path_parameters={"file_id": file_id})
        answer = case.call(
            base_url=world.gateway.url, session=world.session, headers={"Authorization": f"Bearer {KEY}"}
        )
        case.validate_response(answer, checks=CHECKS)
        statuses.append(answer.status_code)
    assert statuses == [200, 404]
