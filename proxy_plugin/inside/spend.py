"""In LiteLLM's process: a finished batch is charged to its key as LiteLLM charges a batch of its own, and only once.

The report goes the way of LiteLLM's own poller of batches (litellm 1.110.2, `litellm_enterprise/proxy/common_utils/
check_batch_cost.py`): a success of the call type `aretrieve_batch` with cost and usage given. So budgets, spend logs
and every callback see it. Its row in the spend logs is `<batch id>_batch_cost`, and LiteLLM charges nothing for a row
that its database has (`proxy/db/db_spend_update_writer.py: _claim_settle_once_cost_row`): what comes twice counts once.
"""

from __future__ import annotations

import hashlib
import hmac
import sys
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

PROXY = "litellm.proxy.proxy_server"
REMEMBERED = 10_000  # ids of reports that this process has passed on; without a database nothing else knows them
_passed_on: OrderedDict[str, None] = OrderedDict()


class NotNow(Exception):
    """LiteLLM could not write it down now. The text may be shown."""


async def answered(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a question of the gateway's. Raises NotNow, and ValueError for a question that is none."""
    if isinstance(question.get("report"), dict):
        return await record(question["report"])
    if isinstance(question.get("key"), str):
        return _told(await _key(question["key"]))
    if isinstance(question.get("team"), str):
        return _told(await _team(question["team"]))
    raise ValueError("no report, key or team")


async def record(report: Mapping[str, Any]) -> dict[str, Any]:
    """Charge a batch. `counted`: by this call; `kept`: in a database. Raises NotNow, and ValueError for no report."""
    batch_id, kept = str(report.get("id") or ""), _proxy().prisma_client is not None
    if not batch_id:
        raise ValueError("the report has no id")
    if batch_id in _passed_on:
        return {"counted": False, "kept": kept}
    await _charge(batch_id, report)
    _passed_on[batch_id] = None
    if len(_passed_on) > REMEMBERED:
        _passed_on.popitem(last=False)
    return {"counted": True, "kept": kept}


async def _charge(batch_id: str, report: Mapping[str, Any]) -> None:
    """Log the success of a batch. LiteLLM's own callback swallows its errors, and tells them where it is asked to."""
    from litellm.litellm_core_utils.litellm_logging import Logging  # noqa: PLC0415 - LiteLLM's process has it already
    from litellm.proxy.hooks.proxy_track_cost_callback import track_batch_accounting  # noqa: PLC0415

    models, now = [str(each) for each in report.get("models") or ()], datetime.now(UTC)
    logging = Logging(
        model=models[0] if models else "batch",
        messages=[{"role": "user", "content": "<batch>"}],
        stream=False,
        call_type="aretrieve_batch",
        start_time=datetime.fromtimestamp(_count(report, "created_at"), UTC),
        litellm_call_id=batch_id,
        function_id=batch_id,
    )
    metadata = await _whose(report)
    logging.update_environment_variables(
        litellm_params={"metadata": metadata, "litellm_call_id": batch_id},
        optional_params={},
        custom_llm_provider=next(iter(report.get("providers") or ()), None),
    )
    with track_batch_accounting(batch_id) as outcome:
        await logging.async_success_handler(
            result=_batch(batch_id, report),
            end_time=now,
            batch_cost=float(report.get("cost") or 0.0),
            batch_usage=_usage(report),
            batch_models=models,
            batch_successful_requests=_count(report, "completed"),
            batch_failed_requests=_count(report, "failed"),
        )
    if outcome.retryable_failure:
        raise NotNow("LiteLLM could not write the spend down")


def _batch(batch_id: str, report: Mapping[str, Any]) -> Any:
    """Return the batch in LiteLLM's words; one that is completed has an output file, or its cost is not final."""
    from litellm.types.utils import LiteLLMBatch  # noqa: PLC0415

    counts = {"total": _count(report, "lines")} | {name: _count(report, name) for name in ("completed", "failed")}
    return LiteLLMBatch(
        id=batch_id,
        object="batch",
        endpoint=str(report.get("endpoint") or ""),
        completion_window="24h",
        input_file_id="",
        output_file_id=batch_id,
        created_at=_count(report, "created_at"),
        status=str(report.get("status") or "completed"),
        request_counts=counts,
    )


def _usage(report: Mapping[str, Any]) -> Any:
    from litellm.types.utils import Usage  # noqa: PLC0415

    read, written = _count(report, "input_tokens"), _count(report, "output_tokens")
    return Usage(
        prompt_tokens=read,
        completion_tokens=written,
        total_tokens=read + written,
        prompt_tokens_details={"cached_tokens": _count(report, "cached_tokens")},
        completion_tokens_details={"reasoning_tokens": _count(report, "reasoning_tokens")},
    )


async def _whose(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return whom LiteLLM is to charge: the key of the report, and who had it at the create, or has it now."""
    proxy, key = _proxy(), str(report.get("key_hash") or "")
    if _is_master(proxy, key):
        from litellm.constants import LITELLM_PROXY_MASTER_KEY_ALIAS as MASTER  # noqa: PLC0415

        return {"user_api_key": MASTER, "user_api_key_alias": MASTER, "user_api_key_hash": MASTER}
    found: dict[str, Any] = {
        "user_api_key": key,
        "user_api_key_hash": key,
        "user_api_key_alias": report.get("key_name"),
        "user_api_key_user_id": report.get("user_id"),
        "user_api_key_team_id": report.get("team_id"),
        "user_api_key_team_alias": report.get("team_alias"),
    }
    if report.get("user_id") is None and report.get("team_id") is None and (now := await _key(key)) is not None:
        for name in ("user_id", "team_id", "org_id"):
            found[f"user_api_key_{name}"] = getattr(now, name, None)
        found["user_api_key_alias"] = getattr(now, "key_alias", None) or found["user_api_key_alias"]
    return found


def _is_master(proxy: Any, key_hash: str) -> bool:
    master = getattr(proxy, "master_key", None)
    return bool(master) and hmac.compare_digest(hashlib.sha256(str(master).encode()).hexdigest(), key_hash)


async def _key(key_hash: str) -> Any:
    """Return LiteLLM's row of a key, from its database; None where it has none, or no such key."""
    from litellm.proxy.auth.auth_checks import get_key_object  # noqa: PLC0415

    proxy = _proxy()
    if proxy.prisma_client is None:
        return None
    with_db = {"prisma_client": proxy.prisma_client, "user_api_key_cache": proxy.user_api_key_cache}
    try:
        return await get_key_object(hashed_token=key_hash, **with_db, check_db_only=True)
    except Exception:  # noqa: BLE001 - what LiteLLM raises for an unknown key differs by version
        return None


async def _team(team_id: str) -> Any:
    from litellm.proxy.auth.auth_checks import get_team_object  # noqa: PLC0415

    proxy = _proxy()
    if proxy.prisma_client is None:
        return None
    with_db = {"prisma_client": proxy.prisma_client, "user_api_key_cache": proxy.user_api_key_cache}
    try:
        return await get_team_object(team_id=team_id, **with_db, check_db_only=True)
    except Exception:  # noqa: BLE001
        return None


def _told(row: Any) -> dict[str, Any]:
    """Return of a key or team what limits it. Raises NotNow where nothing is known of it."""
    if row is None:
        raise NotNow("LiteLLM has no database, or does not know it")
    names = ("spend", "max_budget", "metadata", "team_id", "team_alias")
    return {name: value for name in names if (value := getattr(row, name, None)) is not None}


def _count(report: Mapping[str, Any], name: str) -> int:
    value = report.get(name)
    return value if isinstance(value, int) else 0


def _proxy() -> Any:
    return sys.modules[PROXY]
