"""What a refusal means to a call of several."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.calls import LONGEST_PAUSE, PAUSES, patiently, ready
from proxy_plugin.providers.errors import AtWork, ProviderError, Refused, TryLater


class Calls:
    """A call that fails as it is told, and then answers with how often it was made."""

    def __init__(self, *failures: ProviderError) -> None:
        self.failures = list(failures)
        self.made = 0

    async def __call__(self) -> int:
        self.made += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.made


async def test_a_call_that_is_one_too_many_is_made_again() -> None:
    assert await patiently(Calls()) == 1
    assert await patiently(Calls(TryLater("later", status=429, after=0.1))) == 2
    assert await patiently(Calls(TryLater("the provider is down", status=503))) == 2


async def test_a_second_5xx_is_the_steps() -> None:
    calls = Calls(*(TryLater("the provider is down", status=503) for _ in range(2)))
    with pytest.raises(TryLater):
        await patiently(calls)
    assert calls.made == 2


@pytest.mark.parametrize(
    "failure",
    [
        TryLater("a long outage", status=503, after=LONGEST_PAUSE + 1),
        TryLater("no connection was made"),
        TryLater("not found", status=404),
        TryLater("a long pause", status=429, after=LONGEST_PAUSE + 1),
        Refused("no", code="no", status=403),
    ],
)
async def test_any_other_failure_is_the_steps(failure: ProviderError) -> None:
    calls = Calls(failure)
    with pytest.raises(type(failure)):
        await patiently(calls)
    assert calls.made == 1


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that take no time."""
    monkeypatch.setattr("proxy_plugin.providers.calls.PAUSES", (0.0,) * len(PAUSES))


@pytest.mark.usefixtures("unhurried")
async def test_what_is_not_ready_is_looked_at_a_few_times() -> None:
    seen = [None, None, "ready"]

    async def look() -> str | None:
        return seen.pop(0)

    assert await ready(look, "a dataset") == "ready"


@pytest.mark.usefixtures("unhurried")
async def test_what_does_not_get_ready_is_looked_at_later() -> None:
    looks = list[int]()

    async def look() -> str | None:
        looks.append(1)
        return None

    with pytest.raises(AtWork, match="a dataset is not ready yet") as error:
        await ready(look, "a dataset")
    assert (len(looks), error.value.after) == (len(PAUSES) + 1, None), "the provider asked for no pause"
