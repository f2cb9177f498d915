"""What is waited for, by the error that a step met."""

from __future__ import annotations

import pytest

from proxy_plugin.engine.desk import CredentialsMissing, KeyMissing
from proxy_plugin.engine.waiting import Cause, cause_of
from proxy_plugin.ground.workers import WorkerDied
from proxy_plugin.providers.base import AtWork, OutcomeUnknown, ProviderError, Refused, TryLater
from proxy_plugin.storage.tables import waits

CODES = frozenset({"no_money"})


def answered(
    status: int, code: str = "c", message: str = "words", kind: type[ProviderError] = TryLater
) -> ProviderError:
    """Return what an answer of this status proves, as the HTTP client raises it."""
    text = f"POST /x: HTTP {status} ({code})"
    found = TryLater(text, status=status) if kind is TryLater else OutcomeUnknown(text)
    found.said = Refused(message, code=code, status=status)
    return found


def lost() -> ProviderError:
    found = TryLater("GET /x: ClientError, no connection was made")
    found.unreachable = True
    return found


def wrapped(inner: ProviderError) -> ProviderError:
    """Return an error of a step that tells of another."""
    found = TryLater(f"the results cannot be read: {inner}", after=9.0)
    found.__cause__ = inner
    return found


CASES = [
    ("stage", answered(429), waits.RATE_LIMITED),
    ("stage", answered(429, "no_money"), waits.BILLING),
    ("poll", answered(429, "no_money"), waits.BILLING),
    ("send", wrapped(Refused("words", code="no_money", status=402)), waits.BILLING),
    ("send", wrapped(Refused("words", code="any_word", status=402)), waits.BILLING),
    ("stage", answered(402, "Insufficient Balance"), waits.BILLING),
    ("fetch", wrapped(answered(429)), waits.RATE_LIMITED),
    ("fetch", wrapped(answered(503)), waits.PROVIDER_UNREACHABLE),
    ("fetch", wrapped(answered(404)), waits.JOB_UNREADABLE),
    ("poll", wrapped(Refused("words", code="c", status=403)), waits.JOB_UNREADABLE),
    ("stage", answered(500), waits.PROVIDER_UNREACHABLE),
    ("stage", answered(529), waits.PROVIDER_UNREACHABLE),
    ("stage", answered(409), waits.PROVIDER_ERROR),
    ("stage", answered(404), waits.PROVIDER_ERROR),
    ("stage", lost(), waits.PROVIDER_UNREACHABLE),
    ("fetch", wrapped(lost()), waits.PROVIDER_UNREACHABLE),
    ("send", TryLater("not sent, the provider asked for a pause", after=3.0), waits.PROVIDER_PAUSE),
    ("stage", AtWork("the uploaded file is pending"), waits.PROVIDER_AT_WORK),
    ("poll", TryLater("unknown batch status x"), waits.PROVIDER_ERROR),
    ("look_up", answered(503), waits.OUTCOME_UNKNOWN),
    ("look_up", answered(429), waits.OUTCOME_UNKNOWN),
    ("look_up", lost(), waits.OUTCOME_UNKNOWN),
    ("look_up", TryLater("cannot tell"), waits.OUTCOME_UNKNOWN),
    ("doubt", answered(500, kind=OutcomeUnknown), waits.OUTCOME_UNKNOWN),
    ("look_up", KeyMissing("lane"), waits.KEY_MISSING),
    ("intend", KeyMissing("lane"), waits.KEY_MISSING),
    ("poll", CredentialsMissing("own-1"), waits.NEEDS_CREDENTIALS),
    ("split", WorkerDied("x"), waits.INTERNAL_ERROR),
    ("poll", KeyError("a user's words"), waits.INTERNAL_ERROR),
]


@pytest.mark.parametrize(("step", "error", "reason"), CASES)
def test_what_is_waited_for(step: str, error: Exception, reason: str) -> None:
    found = cause_of(error, step, CODES)
    assert found.reason == reason
    assert found.said == ("words" if _answers(error) else "")


def _answers(error: BaseException | None) -> bool:
    """Tell whether an answer of the provider is behind an error."""
    if not isinstance(error, ProviderError):
        return False
    return isinstance(error, Refused) or error.said is not None or _answers(error.__cause__)


def test_a_defect_is_told_by_its_type_alone() -> None:
    detail = "merge failed with ValueError"
    assert cause_of(ValueError("words of a user"), "merge", CODES) == Cause(waits.INTERNAL_ERROR, detail=detail)


@pytest.mark.parametrize(
    "secret", ["Bearer abcdefgh12345", "sk-abcdefgh12345", "https://u:p4ss@h/x", "https://h/?sig=abc"]
)
def test_what_looks_like_a_secret_is_masked(secret: str) -> None:
    said = cause_of(answered(429, message=f"you sent {secret} twice"), "stage", CODES).said
    assert said.startswith("you sent ")
    assert said.endswith(" twice")
    assert not any(part in said for part in ("abcdefgh", "p4ss", "sig=abc"))
