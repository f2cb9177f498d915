"""`proxy-plugin batch` against a real gateway and a stand-in provider: what people see, and what scripts get."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.cli_batch import COMMAND, Cli, one_line, variables
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import KEY, Gateway, lane
from tests.support.waiting import until

HELD = {"run_seconds": 600}
FAILING = {3: "[[sandbox:error=400]]", 17: "[[sandbox:error=500]]"}
LINES = chat_lines(30, marker=FAILING)
GOOD = chat_lines(12)


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("gateway"), {"lane": lane(sandbox, max_lines_per_job=10)})
    made.start()
    yield made
    made.close()


@pytest.fixture
def cli(gateway: Gateway) -> Cli:
    return Cli(gateway.url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "questions.jsonl", LINES)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return written(tmp_path / "good.jsonl", GOOD)


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_bytes(jsonl(lines))
    return path


def ids(content: str) -> list[str]:
    return [json.loads(line)["custom_id"] for line in content.splitlines()]


def ended(cli: Cli, file: Path, code: int = 0) -> str:
    """Run a batch to its end and return its id."""
    batch = cli.json("submit", file, "--virtual-key", "lane", "--watch", code=code)
    return str(batch["id"])


def running_batch(cli: Cli, sandbox: Sandbox, file: Path) -> str:
    """Return a batch that runs for longer than any test."""
    sandbox.control.options("openai", **HELD)
    batch_id = str(cli.json("submit", file, "--virtual-key", "lane")["id"])
    until(lambda: len(jobs(cli, batch_id, "running")) == len(jobs(cli, batch_id)) > 0, "all jobs running")
    return batch_id


def jobs(cli: Cli, batch_id: str, state: str | None = None) -> list[dict[str, Any]]:
    found = cli.json("status", batch_id).get("jobs", [])
    return [job for job in found if state in (None, job["status"])]


# ---- submit ----


def test_submit_watch_output_does_the_whole_job(cli: Cli, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "results.jsonl"
    target.write_text("what was here before")
    done = cli.run("submit", file, "--virtual-key", "lane", "--watch", "--output", target)
    assert done.returncode == 1, "two lines failed"
    assert ids(target.read_text()) == [line["custom_id"] for line in LINES]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["questions.jsonl", "results.jsonl"]
    assert "\nlines\t30: 28 completed, 2 failed\n" in done.stdout
    assert done.stdout.count("\tcollected\t") == 3
    assert re.search(r"upload: (\S+ \S+) of \1\n", done.stderr)
    assert "completed, 28 completed, 2 failed of 30 lines, 3 of 3 jobs done" in done.stderr


def test_submit_without_watch_ends_with_a_running_batch(cli: Cli, good: Path, gateway: Gateway) -> None:
    batch = cli.json("submit", good, "--virtual-key", "lane", "--metadata", "team=a=b", "--metadata", "note=x y")
    assert batch["metadata"] == {"team": "a=b", "note": "x y"}
    assert batch["endpoint"] == "/v1/chat/completions", "read from the first line"
    after = cli.run("status", batch["id"], "--watch")
    assert after.returncode == 0
    assert gateway.batch(batch["id"])["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    assert cli.json("status", batch["id"])["status"] == "completed"


def test_the_first_line_may_be_blank_or_follow_a_mark(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / 'odd "name" é.jsonl'
    path.write_bytes(b"\xef\xbb\xbf" + jsonl(GOOD[:2]))
    assert cli.json("submit", path, "--virtual-key", "lane")["endpoint"] == "/v1/chat/completions"
    path.write_bytes(b"\n  \n" + jsonl(GOOD[:2]))
    assert cli.json("submit", path, "--virtual-key", "lane")["endpoint"] == "/v1/chat/completions"


def test_a_file_that_fails_its_check_shows_which_lines(cli: Cli, tmp_path: Path) -> None:
    twice = written(tmp_path / "twice.jsonl", [GOOD[0], GOOD[1], GOOD[0]])
    done = cli.run("submit", twice, "--virtual-key", "lane", "--watch")
    assert done.returncode == 1
    assert "\nstatus\tfailed\n" in done.stdout
    assert "\n3\tduplicate_custom_id\t" in done.stdout, done.stdout


def test_the_same_idempotency_key_makes_no_second_batch(
    cli: Cli, good: Path, gateway: Gateway, sandbox: Sandbox
) -> None:
    sandbox.control.options("openai", **HELD)  # no files of results come while files are counted
    keyed = ("submit", good, "--virtual-key", "lane", "--idempotency-key", "once-only")
    first = cli.json(*keyed)
    files = len(gateway.call("GET", "/files")["data"])
    again = cli.run(*keyed, "--json")
    assert (again.returncode, json.loads(again.stdout)["id"]) == (0, first["id"])
    assert "earlier submit" in again.stderr
    other = cli.run(*keyed, "--metadata", "a=b")
    assert "proxy-plugin batch list" in one_line(other, 3)
    assert len(gateway.call("GET", "/files")["data"]) == files, "an upload that nothing needs is deleted"
    assert cli.json("list", "--limit", "1")["id"] == first["id"]


def test_a_create_whose_answer_is_lost_makes_one_batch(sandbox: Sandbox, good: Path, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {"lane": lane(sandbox)})
    try:
        gateway.start(fail="create.after:1")
        with Cli(gateway.url).started("submit", good, "--virtual-key", "lane", "--watch", "--json") as submit:
            until(lambda: not gateway.alive(), "the end of the gateway")
            gateway.start()
            done = submit.ended()
        assert done.returncode == 0, done
        listed = Cli(gateway.url).run("list", "--json").stdout.splitlines()
        assert [json.loads(line)["id"] for line in listed] == [json.loads(done.stdout)["id"]]
    finally:
        gateway.close()


# ---- plan ----


def ids_of(gateway: Gateway) -> list[str]:
    return [one["id"] for path in ("/files", "/batches") for one in gateway.call("GET", path)["data"]]


def test_a_plan_shows_jobs_and_bad_lines_and_leaves_nothing(cli: Cli, gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    path.write_bytes(jsonl(GOOD) + b"{broken\n")
    before = ids_of(gateway)
    bad = cli.run("plan", path, "--virtual-key", "lane")
    assert bad.returncode == 1, bad
    assert re.search(r"^13\t\w+", bad.stdout, re.MULTILINE), "the bad line by its number"
    assert "this batch would fail as a whole" in bad.stderr
    path.write_bytes(jsonl(GOOD))
    fine = cli.run("plan", path, "--virtual-key", "lane")
    assert fine.returncode == 0, fine
    assert re.search(r"12 lines, 0 rejected, 2 native jobs, about <\$0\.0001; nothing was spent", fine.stderr)
    assert "would fail" not in fine.stderr
    assert ids_of(gateway) == before
    kept = cli.run("plan", path, "--virtual-key", "lane", "--keep", "--json")
    assert json.loads(kept.stdout)["request_counts"]["total"] == 12
    assert gateway.call("GET", "/files")["data"][0]["id"] in kept.stderr


# ---- status, list, cancel ----


def test_an_unresolved_job_stands_out(cli: Cli, sandbox: Sandbox, good: Path) -> None:
    done_before = ended(cli, good)
    lost = {"on": "batches.create", "kind": "drop_after", "times": 1}
    sandbox.control.faults([lost, {"on": "batches.list", "kind": "status", "skip": 1, "times": None}])
    batch_id = str(cli.json("submit", good, "--virtual-key", "lane")["id"])
    until(lambda: jobs(cli, batch_id, "unknown"), "an unresolved job")
    sandbox.control.options("openai", **HELD)
    later = str(cli.json("submit", good, "--virtual-key", "lane")["id"])
    one, overview = cli.run("status", batch_id), cli.run("status")
    assert (one.returncode, overview.returncode) == (0, 0)
    assert re.search(rf"^{batch_id}\t\d+\tlane\t\d{{4}}-", one.stdout, re.MULTILINE), "which, and since when"
    assert "on_unknown" in one.stderr
    assert "cancel the batch" in one.stderr
    assert "UNRESOLVED: of " in overview.stderr
    assert "OUTCOME UNKNOWN" in one.stdout
    assert done_before not in overview.stdout
    data = [json.loads(line) for line in cli.run("status", "--json").stdout.splitlines()]
    assert data[0]["id"] == batch_id, "what is unresolved comes first"
    assert {batch_id, later} <= {batch["id"] for batch in data}
    for one_id in (batch_id, later):
        cli.run("cancel", one_id)


def test_what_a_batch_waits_for_is_shown(cli: Cli, sandbox: Sandbox, good: Path) -> None:
    words = "You exceeded your current quota, please check your plan and billing details."
    refused = {"on": "batches.create", "kind": "status", "status": 429, "code": "insufficient_quota", "message": words}
    sandbox.control.faults([{**refused, "times": None}])
    batch_id = str(cli.json("submit", good, "--virtual-key", "lane")["id"])
    until(lambda: cli.json("status", batch_id).get("x_status"), "a wait")
    one, overview = cli.run("status", batch_id), cli.run("status")
    assert "\nwaits for\tbilling (insufficient_quota)\n" in one.stdout, one.stdout
    assert re.search(r"^waits since\t\d{4}-.*Z$", one.stdout, re.MULTILINE)
    assert re.search(r"^next try\t\d{4}-", one.stdout, re.MULTILINE)
    assert words in one.stdout
    assert re.search(
        r"job 0 waits for billing \(insufficient_quota\) since \d{4}-.*, tried again \d{4}-.*: ", one.stderr
    )
    assert re.search(rf"^{batch_id}\t.*\tbilling \(insufficient_quota\)\t", overview.stdout, re.MULTILINE)
    with cli.started("status", batch_id, "--watch") as watching:
        watching.until_said("the batch waits for billing (insufficient_quota) since ")
        sandbox.control.faults([])
        assert watching.ended().returncode == 0


def test_list_goes_as_far_as_asked(cli: Cli, good: Path) -> None:
    made = [cli.json("submit", good, "--virtual-key", "lane")["id"] for _ in range(3)]
    listed = cli.run("list", "--json", "--limit", "2").stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed] == [made[2], made[1]]
    everything = cli.run("list", "--json", "--all").stdout.splitlines()
    assert set(made) <= {json.loads(line)["id"] for line in everything}
    table = cli.run("list", "--limit", "1")
    [heads, only] = [line.split("\t") for line in table.stdout.splitlines()]
    row = dict(zip(heads, only, strict=True))
    assert (row["batch"], row["file"], row["virtual key"]) == (made[2], "good.jsonl", "lane")
    assert cli.run("list", "--status", "expired", "--since", "1h", "--fields", "id").stdout.split() == []
    recent = cli.run("list", "--since", "1h", "--limit", "2", "--fields", "id,x_file").stdout.splitlines()
    assert recent == [f"{made[2]}\tgood.jsonl", f"{made[1]}\tgood.jsonl"]


def test_cancel_waits_for_the_end_that_was_asked_for(cli: Cli, sandbox: Sandbox, file: Path) -> None:
    batch_id = running_batch(cli, sandbox, file)
    done = cli.run("cancel", batch_id, "--wait")
    assert done.returncode == 0, done
    assert "\nstatus\tcancelled\n" in done.stdout
    assert cli.run("status", batch_id).returncode == 1, "it ended otherwise than completed"
    assert cli.run("cancel", batch_id).returncode == 0, "once more is no mistake"


# ---- output, lines, retry ----


def test_output_is_the_same_on_stdout_and_in_a_file(cli: Cli, file: Path, tmp_path: Path, gateway: Gateway) -> None:
    batch_id = ended(cli, file, code=1)
    done = cli.run("output", batch_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(done.stdout) == [line["custom_id"] for line in LINES]
    saved = cli.run("output", batch_id, "--output", tmp_path / "out")
    assert (saved.returncode, saved.stdout) == (0, "")
    assert (tmp_path / "out").read_text() == done.stdout
    assert cli.run("output", batch_id, "--output", "-").stdout == done.stdout
    assert cli.run("output", batch_id, "--output", "/dev/null").returncode == 0
    assert Path("/dev/null").is_char_device(), "a device is written, not replaced"


def test_a_reader_that_goes_away_is_no_error_of_ours(gateway: Gateway, cli: Cli, tmp_path: Path) -> None:
    batch_id = ended(cli, written(tmp_path / "many.jsonl", chat_lines(600)))
    for arguments in (["output", batch_id], ["lines", batch_id], ["lines", batch_id, "--json"]):
        line = f"set -o pipefail; {shlex.join([*COMMAND, *arguments])} | head -n 1 | cut -c 1-9"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=variables(gateway.url))
        assert (done.stderr, done.returncode) == ("", 141), arguments
        assert done.stdout.strip()


def test_lines_tells_of_the_chosen_lines_only(cli: Cli, file: Path) -> None:
    batch_id = ended(cli, file, code=1)
    failed = [json.loads(line) for line in cli.run("lines", batch_id, "--failed", "--json").stdout.splitlines()]
    assert [(line["line"], line["outcome"]) for line in failed] == [(4, "failed"), (18, "failed")]
    some = cli.run("lines", batch_id, "--after", "5", "--limit", "3", "--outcome", "succeeded", "--json")
    assert [json.loads(line)["line"] for line in some.stdout.splitlines()] == [6, 7, 8]
    table = cli.run("lines", batch_id, "--virtual-key", "lane", "--code", "400").stdout.splitlines()
    assert [row.split()[0] for row in table] == ["line", "4"]
    assert table[1].endswith(LINES[3]["custom_id"])
    none = cli.run("lines", batch_id, "--virtual-key", "other")
    assert (none.returncode, none.stdout) == (0, "")
    assert "no line" in none.stderr


def test_retry_runs_the_failed_lines_again(cli: Cli, file: Path, good: Path) -> None:
    batch_id = ended(cli, file, code=1)
    done = cli.run("retry", batch_id, "--watch", "--json")
    again = json.loads(done.stdout)
    assert again["request_counts"]["total"] == 2
    assert again["id"] != batch_id
    assert "nothing to retry" in one_line(cli.run("retry", ended(cli, good)), 3)


def test_retry_takes_lines_by_number_and_by_outcome(cli: Cli, good: Path, file: Path) -> None:
    batch_id = ended(cli, good)
    some = json.loads(cli.run("retry", batch_id, "--lines", "3,1", "--watch", "--json").stdout)
    assert some["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    failed = json.loads(cli.run("retry", ended(cli, file, code=1), "--outcome", "failed", "--watch", "--json").stdout)
    assert failed["request_counts"]["total"] == 2
    assert "there are succeeded" in one_line(cli.run("retry", batch_id, "--outcome", "expired,missing"), 3)


def test_a_retry_whose_answer_is_lost_makes_one_batch(sandbox: Sandbox, file: Path, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {"lane": lane(sandbox)})
    try:
        gateway.start(fail="create.after:2")
        batch_id = ended(Cli(gateway.url), file, code=1)
        sandbox.control.options("openai", **HELD)  # the retry has not ended when it is shown
        with Cli(gateway.url).started("retry", batch_id, "--json") as retry:
            until(lambda: not gateway.alive(), "the end of the gateway")
            gateway.start()
            done = retry.ended()
        assert done.returncode == 0, done
        listed = Cli(gateway.url).run("list", "--json").stdout.splitlines()
        assert [json.loads(line)["id"] for line in listed] == [json.loads(done.stdout)["id"], batch_id]
    finally:
        gateway.close()


# ---- Ctrl-C and a gateway that goes away ----


def test_ctrl_c_leaves_the_batch_running_and_says_how_to_come_back(cli: Cli, sandbox: Sandbox, file: Path) -> None:
    sandbox.control.options("openai", **HELD)
    with cli.started("submit", file, "--virtual-key", "lane", "--watch", "--base-url", str(cli.url)) as submit:
        submit.until_said("in_progress")
        done = submit.interrupted()
    assert done.returncode == 130
    batch_id = str(cli.json("list", "--limit", "1")["id"])
    assert cli.json("status", batch_id)["status"] == "in_progress"
    back = shlex.split(done.stderr[done.stderr.index("proxy-plugin batch status") :])
    assert back == ["proxy-plugin", "batch", "status", batch_id, "--watch", "--base-url", cli.url]
    with Cli(None).started(*back[2:]) as status:
        status.until_said("in_progress")
        cli.run("cancel", batch_id)
        assert status.ended().returncode == 1


def test_ctrl_c_gives_scripts_the_batch_as_it_was(cli: Cli, sandbox: Sandbox, file: Path) -> None:
    sandbox.control.options("openai", **HELD)
    with cli.started("submit", file, "--virtual-key", "lane", "--watch", "--json") as submit:
        submit.until_said("in_progress")
        done = submit.interrupted()
    assert done.returncode == 130
    cli.run("cancel", json.loads(done.stdout)["id"])


def test_a_gateway_that_restarts_is_waited_for(sandbox: Sandbox, good: Path, tmp_path: Path) -> None:
    sandbox.control.options("openai", run_seconds=3)
    gateway = Gateway(tmp_path, {"lane": lane(sandbox)})
    try:
        gateway.start()
        with Cli(gateway.url).started("submit", good, "--virtual-key", "lane", "--watch") as submit:
            submit.until_said("submitted")
            gateway.kill()
            submit.until_said("Asking again")
            gateway.start()
            assert submit.ended().returncode == 0
    finally:
        gateway.close()


# ---- refusals of the gateway ----


def test_what_the_gateway_refuses_is_one_sentence(cli: Cli, gateway: Gateway, good: Path) -> None:
    wrong = Cli(gateway.url, "sk-wrong-but-secret")
    assert "PORTKEY_API_KEY" in one_line(wrong.run("submit", good, "--virtual-key", "lane"), 3)
    assert "(401)" in one_line(wrong.run("list"), 3)
    files = gateway.call("GET", "/files")["data"]
    nobody = one_line(cli.run("submit", good, "--virtual-key", "nobody"), 3)
    assert "(400)" in nobody
    assert "--virtual-key" in nobody
    assert gateway.call("GET", "/files")["data"] == files
    for command in ("status", "lines", "retry", "output", "cancel"):
        assert "batch_none" in one_line(cli.run(command, "batch_none"), 3), command


def test_a_key_on_the_command_line_works_and_is_not_shown(gateway: Gateway, good: Path) -> None:
    plain = Cli(None, None)
    keyed = ("--base-url", gateway.url, "--api-key", KEY)
    before = plain.run(*keyed, "submit", good, "--virtual-key", "lane", "--watch")
    after = plain.run("list", "--limit", "1", *keyed)
    for done in (before, after):
        assert done.returncode == 0, done
        assert KEY not in done.stdout + done.stderr
    assert f"--base-url {gateway.url}" in before.stderr, "the next command works as it is shown"
