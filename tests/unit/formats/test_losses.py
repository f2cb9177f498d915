"""What a loss is called and when a line is refused for it: no format, no provider."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.hints import HINTS
from proxy_plugin.providers.formats.losses import TOLD, Losses


def losses(*, drop: bool = False, strict: bool = False) -> Losses:
    return Losses(allowed=drop, strict=strict, provider="The API")


def refused(noted: Losses) -> LineRejected:
    with pytest.raises(LineRejected) as caught:
        noted.settled()
    return caught.value


@pytest.mark.parametrize(
    "path",
    [
        *("seed", "user", "metadata", "messages[3].name", "messages[0].reasoning_content", "input[4].summary"),
        *("messages[1].content[2].image_url.detail", "input[1].content[0].annotations"),
    ],
)
def test_a_hint_is_left_out_without_a_switch(path: str) -> None:
    noted = losses()
    noted.add(path, "no place", "Remove it")
    (name,) = noted.settled()
    assert name in HINTS


@pytest.mark.parametrize("path", ["logit_bias", "messages[3].weight", "verbosity", "messages[0].content[0].seed"])
def test_anything_else_is_refused(path: str) -> None:
    noted = losses()
    noted.add(path, "no place", "Remove it")
    assert refused(noted).param == path
    noted = losses(drop=True)
    noted.add(path, "no place", "Remove it")
    assert len(noted.settled()) == 1


@pytest.mark.parametrize("path", ["seed", "messages[3].name"])
def test_strict_params_refuses_hints_and_drop_params_is_the_stronger(path: str) -> None:
    noted = losses(strict=True)
    noted.add(path, "no place", "Remove it")
    assert refused(noted).param == path
    noted = losses(strict=True, drop=True)
    noted.add(path, "no place", "Remove it")
    assert len(noted.settled()) == 1


def test_what_is_told_is_recorded_so() -> None:
    noted = losses()
    noted.tell("response_format", "no mode for JSON", "Send a json_schema")
    assert noted.settled() == (f"response_format={TOLD}",)
    noted = losses(strict=True)
    noted.tell("response_format", "no mode for JSON", "Send a json_schema")
    assert "with it told" in refused(noted).message


def test_a_refusal_names_every_parameter_and_the_line_to_add() -> None:
    noted = losses()
    noted.add("logit_bias", "no place", "Remove it")
    noted.add("temperature", "takes 0 to 1", "Send 1 at most", instead=1)
    noted.add("seed", "no place", "Remove it")
    error = refused(noted)
    assert error.params == ("logit_bias", "temperature")
    assert error.param == "logit_bias"
    assert 'x-portkey-config: {"drop_params": true}' in error.message
    assert "'drop_params: true'" in error.message
    assert "temperature: takes 0 to 1. Send 1 at most" in error.message


def test_one_refusal_says_how_the_line_would_run() -> None:
    noted = losses()
    noted.add("temperature", "takes 0 to 1", "Send 1 at most", instead=1)
    message = refused(noted).message
    assert message.startswith("temperature: takes 0 to 1. Send 1 at most, or run the line with 1: ")


def test_what_no_switch_lets_pass_is_named_beside_the_rest() -> None:
    noted = losses(drop=True)
    noted.never("n", "one answer to a request; repeat the line")
    assert refused(noted).message == "n: one answer to a request; repeat the line."
    noted = losses()
    noted.never("n", "one answer to a request; repeat the line")
    noted.add("logit_bias", "no place", "Remove it")
    error = refused(noted)
    assert error.params == ("n", "logit_bias")
    assert "drop_params" in error.message


def test_a_message_of_many_refusals_stays_readable() -> None:
    noted = losses()
    for number in range(50):
        noted.add(f"tools[{number}].extra", "no place", "Remove it")
    error = refused(noted)
    assert len(error.params) == 50
    assert "And 30 more" in error.message
