"""What goes to a worker: it can be pickled, and becomes credentials there again."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from proxy_plugin.direct.job import AnswerJob
from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.direct.runner import answer
from proxy_plugin.providers import catalog


@pytest.mark.parametrize("provider", ["openai", "anthropic", "groq", "deepseek", "ollama"])
def test_a_task_can_be_sent_to_a_worker(provider: str) -> None:
    lane = catalog.direct(provider)
    known = {"api_key": "sk-of-a-test"} if "api_key" in lane.credentials.model_fields else {}
    credentials = lane.credentials.model_validate(known)
    told: dict[str, Any] = {"provider": provider, "endpoint": "", "document": "", "folder": "", "pace": "", "host": ""}
    job = AnswerJob(limits=CallLimits(), **told)
    function, sent, secrets = pickle.loads(pickle.dumps((answer, job, dict(credentials))))
    assert (function, sent) == (answer, job)
    assert lane.credentials.model_construct(**secrets) == credentials
    assert "sk-of-a-test" not in repr(secrets)
