"""Write the documents that are made from code; `python -m tools.tables --check` fails if they are stale.

They are the provider matrix of the README, the whole of `errors.md`, `parameters.md`, `settings.md`, `figures.md` and
`providers/`, the schema for editors, and what `deploy/` has for Grafana and Prometheus.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy_plugin.providers import matrix
from tools import alerts, config_schema, dashboards, error_codes, parameters, provider_pages, settings_page
from tools.error_codes import Code

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ERRORS = ROOT / "docs" / "errors.md"
PARAMETERS = ROOT / "docs" / "parameters.md"
SETTINGS = ROOT / "docs" / "settings.md"
PROVIDERS = ROOT / "docs" / "providers"
SCHEMA = ROOT / "proxy_plugin" / "config" / "config.schema.json"
FIGURES = ROOT / "docs" / "figures.md"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
START, END = "<!-- matrix: made by `make docs` from the capability records -->\n", "<!-- end of matrix -->"
_ERRORS_HEAD = """\
# Errors

<!-- made by `make docs` from tools/error_codes.py -->

Whatever is refused is refused in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`. `message` says what
is wrong and what to do, `param` names the field or the header, and neither quotes what you sent beyond names and ids.
Every answer has an `x-request-id` and an `x-portkey-trace-id`; the operator finds the request in the log by either.
Where repeating the request cannot help, `x-should-retry: false` says so to OpenAI's and Portkey's SDKs.
"""
_ANSWERS_HEAD = """
## Answers to requests

Where OpenAI's API has a sentence for it, `message`, `param` and `code` are OpenAI's; a value that was sent is repeated
only if it is a plain word. One thing is answered earlier: an `input_file_id` that names no batch file of yours is a
404 of the create, where OpenAI takes the create and fails the batch. Nothing has to be polled for what is known at
once, and a batch that can never run is not stored.

A create that brings its `requests` along has no lines yet: what would fail a batch for its file, below, is a 400 with
the same code here, and `param` is the place of the request (`requests[3].custom_id`). Nothing is kept then.
"""
_FAULTS_HEAD = """
## Batches that failed for their file

`errors.data[]` of a batch whose `status` is `failed`: up to 100 entries with `code`, `message`, `param` and the 1-based
`line`. Nothing was sent to any provider. With `strict: true` in the route the codes of lines that a lane cannot
express, below, are met here too, and without it where no line of the file has a target; and where no provider took any
part of the batch, the reasons that they gave.
"""
_ROWS_HEAD = """
## Lines that failed

`error.code` of a row of the error file, and `code` in `GET /v1/batches/{id}/lines`. A line that the gateway refuses is
a row as OpenAI writes it: `response.status_code` is 400 and `response.body.error` has `message`, `type`, `param` and
`code`. Any other row with a `response` is the provider's own answer to that line, status and body, and is not listed;
nor are codes that a provider gave, which are passed on as they came.
"""


def rendered(text: str) -> str:
    """Return the README with its provider matrix as the capability records have it now."""
    head, _, rest = text.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}\n{matrix.markdown()}\n\n{END}{tail}"


def errors() -> str:
    """Return the catalogue of errors."""
    answers = [_ANSWERS_HEAD, *_table(error_codes.ANSWERS, statuses=True)]
    faults = [_FAULTS_HEAD, *_table(error_codes.FAULTS)]
    rows = [_ROWS_HEAD, *_table(error_codes.ROWS)]
    return "\n".join([_ERRORS_HEAD.rstrip("\n"), *answers, *faults, *rows]) + "\n"


def _table(codes: Sequence[Code], *, statuses: bool = False) -> Iterator[str]:
    head = ["code", *(["status"] if statuses else []), "what it means", "what to do"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for each in codes:
        name = "null" if each.code is None else f"`{each.code}`"
        cells = [name, *([", ".join(map(str, each.statuses))] if statuses else []), each.meaning, each.remedy]
        yield f"| {' | '.join(cells)} |"


def documents() -> dict[Path, str]:
    """Return what each document has to hold."""
    pages = {PROVIDERS / f"{name}.md": text for name, text in provider_pages.pages().items()}
    ours = {README: rendered(README.read_text()), ERRORS: errors(), PARAMETERS: parameters.markdown()}
    ours |= {SETTINGS: settings_page.markdown(), SCHEMA: config_schema.text(), **pages}
    return ours | {FIGURES: dashboards.page(), DASHBOARD: dashboards.dashboard(), ALERTS: alerts.rules()}


def main() -> int:
    """Write the documents, or with `--check` return 1 if that would change any."""
    wanted = documents()
    if "--check" in sys.argv:
        return int(any(not path.exists() or path.read_text() != text for path, text in wanted.items()))
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
