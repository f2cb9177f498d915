"""Promise 1 for every lane: each line is answered exactly once, in input order, with its own answer."""

from __future__ import annotations

import json

from tests.support.lines import jsonl
from tests.whole.contract.cases import Case, Odd
from tests.whole.contract.checks import MISSING, check_lines, check_paid_once, line_of, lines_of
from tests.whole.contract.client import Client
from tests.whole.contract.wire import Wire

IDS = [
    "plain",
    "1",
    "PLAIN",
    "with spaces  and\ttabs",
    " ",
    "ünïcödé",
    "日本語のライン",
    "🙂👩‍👩‍👧 emoji",
    "é",
    "e\u0301",  # looks like the one before
    "x" * 200,
    "長" * 200,
    "/absolute/path",
    "../../etc/passwd",
    "C:\\windows\\system32",
    "a/b?c=d&e=%2F#f",
    'quoted "id" \\ with \\" escapes',
    "line\nbreak\r\nand \u2028 separator",
    "nul \x00 and \x1f",
    "half of an emoji \ud83d",
    "null",
    "{}",
    "0000000000zzzzzzzz",
]


def test_every_id_comes_back_once_in_input_order_with_its_own_answer(case: Case, gateway: Client, wire: Wire) -> None:
    lines = [line_of(case, each, f"About {n}: {each} <&>'\u00e9") for n, each in enumerate(IDS)]
    written = [
        json.dumps(line, ensure_ascii=n % 2 == 0 or "\ud83d" in line["custom_id"]) for n, line in enumerate(lines)
    ]
    written[IDS.index("/absolute/path")] = json.dumps(lines[IDS.index("/absolute/path")]).replace("/", "\\/")
    upload = gateway.upload("\n".join(written).encode())
    batch = gateway.until(gateway.order(upload)["id"])
    assert batch["status"] == "completed"
    check_lines(case, gateway, batch, lines)
    check_paid_once(wire, len(lines))


def test_an_odd_answer_of_the_provider_is_still_one_row_a_line(case: Case, gateway: Client, wire: Wire) -> None:
    """The foreign row claims to answer the first line, which has no row of its own."""
    odd: dict[int, Odd] = {0: "missing", 1: "error", 2: "foreign", 4: "duplicate", 9: "error", 10: "duplicate"}
    lines = lines_of(case, 12, odd=odd)
    batch = gateway.run(lines)
    assert batch["status"] == "completed"
    failed = {"line 0": MISSING, "line 1": case.error_code, "line 9": case.error_code}
    check_lines(case, gateway, batch, lines, failed)
    check_paid_once(wire, 12 if case.stand_in.errors_paid else 10)


def test_no_job_has_more_lines_than_max_lines_per_job(case: Case, gateway: Client, wire: Wire) -> None:
    lines = lines_of(case, 10)
    check_lines(case, gateway, gateway.run(lines, "few"), lines)
    check_paid_once(wire, len(lines))
    assert sorted(wire.ran().values()) == [1, 3, 3, 3]


def test_no_job_has_more_bytes_than_max_bytes_per_job(case: Case, gateway: Client, wire: Wire) -> None:
    lines = [line_of(case, f"line {n}", f"{n} " + "x" * 1000) for n in range(8)]
    lines.insert(5, line_of(case, "too large for any job", "y" * 4000))
    batch = gateway.run(lines, "small")
    check_lines(case, gateway, batch, lines, {"too large for any job": "line_too_large"})
    check_paid_once(wire, 8)
    assert 1 < max(wire.ran().values()) <= 3, "four such lines are more than 4,000 bytes, one is much less"


def test_jobs_whose_lines_take_turns_are_merged_in_input_order(case: Case, gateway: Client, wire: Wire) -> None:
    lines = [line_of(case, f"line {n}", f"Say {n}", **(case.apart if n % 2 else {})) for n in range(12)]
    check_lines(case, gateway, gateway.run(lines, "few"), lines)
    check_paid_once(wire, len(lines))
    assert len(wire.accepted()) == 4


def test_results_that_were_cut_short_are_fetched_again(case: Case, gateway: Client, wire: Wire) -> None:
    wire.truncate(2)
    lines = lines_of(case, 6)
    check_lines(case, gateway, gateway.run(lines), lines)
    check_paid_once(wire, len(lines))


def test_a_model_that_the_virtual_key_does_not_allow_fails_its_own_lines_only(
    case: Case, gateway: Client, wire: Wire
) -> None:
    lines = lines_of(case, 5)
    lines[2]["body"]["model"] = "some-other-model"
    check_lines(case, gateway, gateway.run(lines, "listed"), lines, {"line 2": "model_not_allowed"})
    check_paid_once(wire, 4)


def test_one_file_serves_several_batches(case: Case, gateway: Client, wire: Wire) -> None:
    lines = lines_of(case, 4)
    upload = gateway.upload(jsonl(lines))
    for slug in ("lane", "few"):
        check_lines(case, gateway, gateway.until(gateway.order(upload, slug)["id"]), lines)
    check_paid_once(wire, 2 * len(lines))
