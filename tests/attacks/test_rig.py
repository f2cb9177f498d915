"""The rig itself: a quiet gateway serves its victim."""

from __future__ import annotations

from tests.attacks.rig import Town, check, show


def test_a_quiet_gateway_serves_everybody(town: Town) -> None:
    quiet = town.watch(1.0)
    with town.watching() as seen:
        file = town.attacker.upload(b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n')
        assert town.attacker.call("GET", f"/files/{file}")["id"] == file
    show("nothing", quiet, seen)
    check(quiet, seen)
    assert town.bystander.call("GET", "/files")["data"] == []
