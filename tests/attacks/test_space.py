"""Space: what one workspace announces, keeps, adds or leaves open is taken from nobody else."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.error import HTTPError

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.attacks.rig import Town, check, key_of, show
from tests.support.lines import chat_lines, jsonl

MEGABYTE = 2**20
LIMITS = {"max_workspace_files": 60, "max_open_batches": 5, "max_line_bytes": 64 * 1024, "max_file_bytes": 8 * MEGABYTE}
ANNOUNCED = 7 * MEGABYTE
SIZES = {False: 10, True: 70}  # uploads that announce much and send nothing
KILOBYTES = 30  # of what a config puts into every line


@pytest.fixture
def town(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Town]:
    """A gateway with small limits, whose jobs take their time for the attacker."""
    lane = find("openai")
    home, url = tmp_path_factory.mktemp("town"), sandbox.url(lane.provider)
    made = Town(
        home, {"lane": lane.virtual_key(url), "slow": lane.virtual_key(url, max_jobs_in_flight=1)}, limits=LIMITS
    )
    made.start()
    yield made
    made.close()


def announce(town: Town, stack: ExitStack) -> None:
    """Begin an upload of many bytes, and send the first of them alone."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", town.port), timeout=30))
    head = f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nx-portkey-api-key: {key_of('attacker')}\r\n"
    kind = f"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {ANNOUNCED}\r\n\r\n"
    begun = '--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    connection.sendall((head + kind + begun).encode())


def test_announced_uploads_take_no_room_from_others(town: Town, campaign: bool) -> None:
    quiet = town.watch()
    with ExitStack() as stack, town.watching() as seen:
        for _ in range(SIZES[campaign]):
            announce(town, stack)
        assert town.bystander.upload(jsonl(chat_lines(2)))
    show(f"{SIZES[campaign]} announced uploads", quiet, seen)
    check(quiet, seen)


def test_a_workspace_has_so_many_files_and_open_batches_and_no_more(town: Town) -> None:
    quiet, attacker = town.watch(), town.tenant("attacker", "slow")
    with town.watching() as seen:
        file = attacker.upload(jsonl(chat_lines(1)))
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        made = [attacker.call("POST", "/batches", body)["id"] for _ in range(LIMITS["max_open_batches"] - 1)]
        codes = set()
        for _ in range(60):  # some may end meanwhile
            try:
                made.append(attacker.call("POST", "/batches", body)["id"])
            except HTTPError as error:
                with error as answer:
                    codes.add((answer.code, json.loads(answer.read())["error"]["code"]))
                break
        assert codes == {(429, "too_many_batches")}
        for _ in range(LIMITS["max_workspace_files"]):
            try:
                attacker.upload(jsonl(chat_lines(1)))
            except HTTPError as error:
                with error as answer:
                    codes.add((answer.code, json.loads(answer.read())["error"]["code"]))
                break
        assert (429, "too_many_files") in codes
        assert town.bystander.upload(jsonl(chat_lines(1)))
    show("as many files and batches as there may be", quiet, seen)
    check(quiet, seen)
    for batch in made:
        attacker.until(batch)


def test_a_config_cannot_make_a_file_grow_without_bound(town: Town) -> None:
    """2,600 short lines with 30 KB put into each would be 78 MB of 0.4 MB."""
    quiet, attacker = town.watch(), town.attacker
    config = {"virtual_key": "lane", "override_params": {"user": "x" * KILOBYTES * 1024}}
    file = attacker.upload(jsonl(chat_lines(2_600)))
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    with town.watching() as seen:
        headers = {"x-portkey-config": json.dumps(config), "x-portkey-virtual-key": ""}
        made = attacker.call("POST", "/batches", body, headers=headers)
        batch = attacker.until(made["id"])
    show("30 KB put into each of 2,600 lines", quiet, seen)
    check(quiet, seen)
    assert batch["request_counts"]["failed"] > 2_000
    rows = attacker.call("GET", f"/files/{batch['error_file_id']}/content").splitlines()
    row = json.loads(rows[-1])
    assert (row["response"]["status_code"], row["response"]["body"]["error"]["code"]) == (400, "too_much_added")
