"""What an operator is woken for, as Prometheus' rules: doubt, disk, stuck jobs, and a gateway that is not there."""

from __future__ import annotations

from typing import NamedTuple

import yaml

HEAD = "# made by `make docs` from tools/alerts.py; for `rule_files` of Prometheus\n"


class Alert(NamedTuple):
    """One rule. `lasts`: for how long the expression must hold."""

    name: str
    expression: str
    lasts: str
    severity: str
    summary: str
    action: str


ALERTS = (
    Alert(
        "ProxyPluginGone",
        "absent(proxy_plugin_info)",
        "5m",
        "critical",
        "No gateway tells its figures.",
        "See whether it runs and whether Prometheus reaches /metrics. What it has accepted goes on at its next start.",
    ),
    Alert(
        "ProxyPluginNotReady",
        "proxy_plugin_ready == 0",
        "10m",
        "critical",
        "The gateway takes no new work.",
        "/readyz says why: the disk is full, as many uploads run as may, or it is stopping.",
    ),
    Alert(
        "ProxyPluginOutcomeUnknown",
        "proxy_plugin_unresolved_submissions > 0",
        "1h",
        "warning",
        "A provider has not said for an hour whether it accepted a job.",
        "`proxy-plugin batch status` names the batch. The gateway looks by itself and sends nothing twice; see "
        "Unknown outcomes in docs/operations.md.",
    ),
    Alert(
        "ProxyPluginSentOnAGuess",
        "increase(proxy_plugin_resent_on_a_guess_total[1h]) > 0",
        "0m",
        "warning",
        "A job was sent again without a proof that the first one is not there.",
        "on_unknown: resend of this virtual key allows it. Watch doubled_jobs_total.",
    ),
    Alert(
        "ProxyPluginJobDoubled",
        "increase(proxy_plugin_doubled_jobs_total[1h]) > 0",
        "0m",
        "critical",
        "A job runs twice at a provider and is paid twice.",
        "`proxy-plugin batch status ID` names both: cancel one at the provider.",
    ),
    Alert(
        "ProxyPluginDiskFull",
        "proxy_plugin_disk_free_bytes <= proxy_plugin_disk_reserve_bytes",
        "1m",
        "critical",
        "Uploads are refused and batches wait: the disk of data_dir is down to its reserve.",
        "Delete files of ended batches, or give it a larger disk. Batches go on by themselves then.",
    ),
    Alert(
        "ProxyPluginDiskFillsUp",
        "predict_linear(proxy_plugin_disk_free_bytes[6h], 86400) < proxy_plugin_disk_reserve_bytes",
        "1h",
        "warning",
        "The disk of data_dir will be down to its reserve within a day.",
        "Shares of workspaces are limits.max_workspace_bytes and max_workspace_share.",
    ),
    Alert(
        "ProxyPluginStuck",
        "proxy_plugin_batches_past_window > 0",
        "15m",
        "critical",
        "A batch runs although its window ended more than an hour ago.",
        "`proxy-plugin batch status ID` says what it waits for; the log has step_failed or step_later of it.",
    ),
    Alert(
        "ProxyPluginWaits",
        "time() - proxy_plugin_waiting_since_seconds > 21600",
        "15m",
        "warning",
        "Work has waited for six hours.",
        "`reason` and `code` say for what: quota, credit, a missing key, room on the disk.",
    ),
    Alert(
        "ProxyPluginStepsFail",
        'sum by (step) (increase(proxy_plugin_step_duration_seconds_count{outcome="failed"}[15m])) > 3',
        "15m",
        "warning",
        "A step of the engine fails again and again.",
        "The log has step_failed with the error's type and place.",
    ),
    Alert(
        "ProxyPluginServerErrors",
        'sum(rate(proxy_plugin_request_duration_seconds_count{status="5xx"}[5m])) / '
        "sum(rate(proxy_plugin_request_duration_seconds_count[5m])) > 0.05",
        "10m",
        "warning",
        "One request in twenty is answered 5xx.",
        "The log has each with its request_id; those with route=upstream are the upstream's.",
    ),
    Alert(
        "ProxyPluginObjectsLeft",
        'max by (virtual_key) (proxy_plugin_uncleared_parts{state="left"}) > 0',
        "0m",
        "info",
        "Objects in a bucket were given up: nobody deletes them.",
        "The log has objects_left. Mend the account's right to delete, and delete them by hand.",
    ),
)


def rules() -> str:
    """Return the file of rules."""
    listed = [
        {
            "alert": each.name,
            "expr": each.expression,
            "for": each.lasts,
            "labels": {"severity": each.severity},
            "annotations": {"summary": each.summary, "description": each.action},
        }
        for each in ALERTS
    ]
    groups = {"groups": [{"name": "proxy-plugin", "rules": listed}]}
    return HEAD + yaml.safe_dump(groups, sort_keys=False, width=1_000)
