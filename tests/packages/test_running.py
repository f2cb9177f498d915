"""The installed packages at work: the demo, the examples, a notebook, tables, spans and figures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pandas
import polars
import pytest
from nbclient import NotebookClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.packages.conftest import ROOT, ran
from tests.support.waiting import until

BODY = {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "a secret of the users"}]}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def served(gateway: Path, collector: Collector) -> Iterator[dict[str, str]]:
    """The sandbox of the examples, run by the installed gateway; what to put into the environment for it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    env |= {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=of-the-collector"}
    command = [gateway / "python", ROOT / "examples" / "sandbox.py"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(2)]
    yield dict(line.removeprefix("export ").strip().split("=", 1) for line in said)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


class Collector:
    """A collector of OpenTelemetry's: takes OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, dict[str, str]]] = []
        self.keys: set[str | None] = set()
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept.keys.add(self.headers["authorization"])
                kept.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, sent: ExportTraceServiceRequest) -> None:
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    about = {each.key: each.value.string_value for each in span.attributes}
                    self.spans.append((span.name, span.trace_id.hex(), about))


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()


def test_a_new_user_sees_the_demo(gateway: Path, tmp_path: Path) -> None:
    assert "every custom_id is there exactly once" in ran(
        gateway / "proxy-plugin", "demo", "--lines", "20", cwd=tmp_path
    )


def test_the_sandbox_runs_a_command(gateway: Path) -> None:
    said = ran(
        gateway / "python", ROOT / "examples" / "sandbox.py", gateway / "python", ROOT / "examples" / "two_providers.py"
    )
    assert "20 completed, 0 failed" in said


def test_the_client_alone_submits_and_follows(client: Path, served: dict[str, str], tmp_path: Path) -> None:
    ran(client / "python", ROOT / "examples" / "two_providers.py", env=served)
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(line)}\n")
    command = (
        "batch",
        "submit",
        tmp_path / "in.jsonl",
        "--virtual-key",
        "openai-prod",
        "--watch",
        "--output",
        tmp_path / "out",
    )
    ran(client / "proxy-plugin", *command, env=served)
    assert '"a"' in (tmp_path / "out").read_text()


def test_the_notebook_runs_in_jupyters_kernel(served: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (served | {"PYTHONPATH": str(ROOT)}).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, kernel_name="python3").execute()
    submitted, awaited, listed = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "<progress" in submitted.outputs[-1]["data"]["text/html"]
    shown = [each["data"]["text/html"] for each in awaited.outputs]
    assert "completed" in shown[0], "the first picture is brought up to date while it runs"
    assert listed.outputs[0]["text"].count("\n") == 10


@pytest.mark.parametrize("kind", [pandas.DataFrame, polars.DataFrame], ids=["pandas", "polars"])
def test_a_table_goes_out_and_comes_back(kind: type, served: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in served.items():
        monkeypatch.setenv(name, value)
    from proxy_plugin.client import Batch

    table = kind({"custom_id": ["a", "b", "c"], "prompt": ["x", "y", "z"], "label": [1.5, None, 2.0]})
    batch = Batch.submit(table, model="gpt-4.1-nano", virtual_key="openai-prod").wait()
    back = (
        kind(list(batch))
        if kind is pandas.DataFrame
        else kind(list(batch), orient="row", schema=["custom_id", "text", "error", "status", "body"])
    )
    assert list(back["custom_id"]) == ["a", "b", "c"]
    assert list(back["status"]) == [200, 200, 200]
    assert all("xyz"[n] in text for n, text in enumerate(back["text"]))


def test_every_step_is_a_span_of_the_callers_trace(
    served: dict[str, str], collector: Collector, tmp_path: Path
) -> None:
    url, key = served["PROXY_PLUGIN_BASE_URL"], served["PORTKEY_API_KEY"]
    asked = {"custom_id": "a", "body": BODY}
    body = json.dumps({"endpoint": "/v1/chat/completions", "completion_window": "24h", "requests": [asked]})
    parent = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"
    ran(
        "curl",
        "-fsS",
        f"{url}/batches",
        "-H",
        f"x-portkey-api-key: {key}",
        "-H",
        "x-portkey-virtual-key: openai-prod",
        "-H",
        parent,
        "-H",
        "content-type: application/json",
        "-d",
        body,
    )

    def ours() -> list[tuple[str, dict[str, str]]]:
        return [(name, about) for name, trace, about in collector.spans if trace == TRACE]

    until(lambda: any(name == "step merge" for name, _ in ours()), lambda: str(collector.spans))
    assert {"step validate", "step split", "step stage", "step send", "step poll", "step collect"} <= {
        name for name, _ in ours()
    }
    assert {about["proxy_plugin.virtual_key"] for name, about in ours() if name == "step send"} == {"openai-prod"}
    assert all(about["proxy_plugin.outcome"] for _, about in ours())
    assert "secret of the users" not in str(collector.spans)
    assert collector.keys == {"of-the-collector"}


def test_prometheus_own_parser_reads_the_figures(served: dict[str, str]) -> None:
    text = ran("curl", "-fsS", served["PROXY_PLUGIN_BASE_URL"].replace("/v1", "/metrics"))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    timed = families["proxy_plugin_step_duration_seconds"]
    assert timed.type == "histogram"
    assert {sample.labels["step"] for sample in timed.samples} >= {"split", "poll", "merge"}


def test_curl_alone_is_enough(served: dict[str, str]) -> None:
    assert shutil.which("curl")
    assert ran("sh", ROOT / "examples" / "curl.sh", env=served).count('"custom_id"') == 2
