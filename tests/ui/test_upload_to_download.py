"""The whole way in a browser: a file is dropped, planned, made a batch over two providers, followed, and downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import KEY, Gateway
from tests.ui.conftest import RUN_SECONDS
from tests.ui.person import OTHER_KEY, Person

Come = Callable[..., Person]
LINES = chat_lines(40, marker={7: "[[sandbox:error=400]]", 21: "[[sandbox:error=429]]"})
NAME = "reviews-november"
DROP = """([text, name]) => {
    const items = new DataTransfer();
    items.items.add(new File([text], name));
    document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: items, bubbles: true}));
}"""


def new_batch(one: Person, content: bytes = jsonl(LINES), target: str = "pc-split") -> None:
    one.at("#/new", "New batch")
    one.page.get_by_label("Where the lines go").select_option(label=target)
    one.page.evaluate(DROP, [content.decode(), f"{NAME}.jsonl"])


def finished(one: Person) -> None:
    one.page.locator("h1 + .badge", has_text="completed").wait_for()


def downloaded(one: Person, button: str) -> list[dict[str, object]]:
    with one.page.expect_download() as waiting:
        one.page.get_by_role("button", name=button).click()
    return [json.loads(line) for line in Path(waiting.value.path()).read_text().splitlines()]


def test_from_upload_to_download_over_two_providers(person: Come) -> None:
    one = person().signed_in(KEY)
    new_batch(one)
    create = one.page.get_by_role("button", name="Create the batch of 40 lines")
    create.wait_for()
    plan = one.page.get_by_role("region", name="Plan")
    assert plan.get_by_role("cell", name="openai-prod").count() == 1
    assert plan.get_by_role("cell", name="claude-prod").count() == 1
    one.shot("plan")
    assert one.findings() == []
    create.click()
    one.page.get_by_role("heading", level=1, name=NAME).wait_for()
    one.page.locator("h1 + .badge", has_text="in progress").wait_for()
    finished(one)  # the page is told by its stream: nothing is loaded anew

    jobs = one.page.get_by_role("region", name="Jobs by provider")
    for provider in ("openai", "anthropic"):
        jobs.get_by_role("heading", level=3, name=provider).wait_for()
    told = one.page.get_by_role("region", name="Timeline").get_by_role("listitem").all_inner_texts()
    assert [each.split("\n")[0] for each in told if "part 0" not in each and "part 1" not in each] == [
        "Created", "Split into jobs", "Merging the results", "Merged: completed",
    ]  # fmt: skip
    assert sum(each.startswith("Accepted by the provider") for each in told) == 2
    cost = one.page.get_by_role("region", name="Cost").inner_text()
    assert cost.count("$") >= 4, "estimated, real, by ordinary calls, saved"
    assert "50 % less" in cost
    one.page.get_by_role("button", name="Show lines: failed 429").or_(
        one.page.get_by_role("button", name="Show lines: failed rate_limit_exceeded")
    ).first.wait_for()
    one.shot("batch", whole=True)
    assert one.findings() == []

    answers = downloaded(one, "Download answers")
    errors = downloaded(one, "Download errors")
    assert [each["custom_id"] for each in answers] == [
        line["custom_id"] for n, line in enumerate(LINES) if n not in (7, 21)
    ]
    assert {each["custom_id"] for each in errors} == {LINES[7]["custom_id"], LINES[21]["custom_id"]}
    assert len(downloaded(one, "Download lines")) == 40

    one.page.get_by_role("button", name="Retry failed lines").click()
    one.page.get_by_role("heading", level=1, name=NAME).wait_for()
    one.page.wait_for_function("() => document.querySelector('main').innerText.includes('.retry.jsonl')")


def test_lines_of_a_code_are_shown(person: Come, gateway: Gateway) -> None:
    batch = gateway.until(gateway.create(gateway.upload(jsonl(LINES)), metadata={"name": "with errors"})["id"])
    assert batch["request_counts"]["failed"] == 2
    one = person().signed_in(KEY).at(f"#/batch/{batch['id']}", "with errors")
    one.page.get_by_role("button", name="Show lines: failed").first.click()
    one.page.get_by_role("cell", name=str(LINES[7]["custom_id"])).or_(
        one.page.get_by_role("cell", name=str(LINES[21]["custom_id"]))
    ).first.wait_for()


def test_a_file_that_would_fail_is_not_sent(person: Come) -> None:
    one = person().signed_in(KEY)
    new_batch(one, b'{"custom_id": "a"}\n', "openai-prod (openai)")
    one.page.get_by_text("This batch would fail as a whole").wait_for()
    assert one.page.get_by_role("button", name="Create the batch").is_disabled()
    one.page.get_by_role("button", name="Discard the file").click()
    one.page.get_by_text("This batch would fail as a whole").wait_for(state="detached")


def test_a_batch_is_cancelled_when_it_was_asked_twice(person: Come, gateway: Gateway, sandbox_of_two: Sandbox) -> None:
    sandbox_of_two.control.options("openai", run_seconds=3600)
    made = gateway.create(gateway.upload(jsonl(chat_lines(5))), metadata={"name": "to be cancelled"})
    one = person().signed_in(KEY).at(f"#/batch/{made['id']}", "to be cancelled")
    one.page.get_by_role("button", name="Cancel", exact=True).click()
    one.page.get_by_role("button", name="Cancel the batch").click()
    one.page.locator("h1 + .badge", has_text="cancelled").wait_for()
    assert gateway.batch(made["id"])["status"] == "cancelled"
    sandbox_of_two.control.options("openai", run_seconds=RUN_SECONDS)


def test_two_people_of_two_workspaces_see_only_their_own(person: Come, gateway: Gateway) -> None:
    mine = gateway.create(gateway.upload(jsonl(chat_lines(2))), metadata={"name": "of the first"})
    gateway.until(mine["id"])
    first, second = person().signed_in(KEY), person().signed_in(OTHER_KEY)
    first.page.get_by_role("link", name="of the first").first.wait_for()
    second.page.get_by_text("There is no batch yet.").wait_for()
    second.at(f"#/batch/{mine['id']}", "Batches")
    second.page.get_by_role("alert").get_by_text("No batch found").wait_for()
    second.complaints = [each for each in second.complaints if "404" not in each]
    assert second.page.get_by_role("link", name="Operator").count() == 0
    assert first.page.get_by_role("link", name="Operator").count() == 1


def test_the_key_is_kept_nowhere(person: Come) -> None:
    one = person().signed_in(KEY)
    kept = one.page.evaluate("() => JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    assert KEY not in kept
    one.page.reload()
    one.page.get_by_role("button", name="Sign in").wait_for()


def test_a_wrong_key_is_told(person: Come) -> None:
    one = person()
    one.page.goto(one.url + "/ui/")
    one.page.get_by_label("Your key of this gateway").fill("wrong")
    one.page.get_by_role("button", name="Sign in").click()
    one.page.get_by_role("alert").get_by_text("Invalid API Key").wait_for()
    assert one.findings() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desk", "phone"])
def test_all_pages_can_be_used_by_everybody(person: Come, gateway: Gateway, scheme: str, size: str) -> None:
    gateway.until(gateway.create(gateway.upload(jsonl(LINES)), metadata={"name": "looked at"})["id"])
    view = {"width": 1280, "height": 900} if size == "desk" else {"width": 390, "height": 844}
    one = person(color_scheme=scheme, viewport=view, has_touch=size == "phone").signed_in(KEY)
    pages = {"batches": "Batches", "new": "New batch", "usage": "Usage", "operator": "Operator"}
    for place, heading in pages.items():
        one.at(f"#/{place}", heading)
        one.page.wait_for_load_state("networkidle")
        one.shot(f"{place}-{scheme}-{size}")
        assert one.findings() == [], place
        wide = one.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{place} is {wide} pixels wider than the screen"


def test_the_keyboard_is_enough(person: Come, gateway: Gateway) -> None:
    gateway.until(gateway.create(gateway.upload(jsonl(chat_lines(2))), metadata={"name": "by keyboard"})["id"])
    one = person()
    one.page.goto(one.url + "/ui/")
    one.page.get_by_label("Your key of this gateway").wait_for()
    one.page.keyboard.type(KEY)
    one.page.keyboard.press("Enter")
    one.page.get_by_role("link", name="by keyboard").first.wait_for()
    for _ in range(60):
        one.page.keyboard.press("Tab")
        if one.page.evaluate("() => document.activeElement.textContent") == "by keyboard":
            break
    one.page.keyboard.press("Enter")
    one.page.get_by_role("heading", level=1, name="by keyboard").wait_for()
    one.page.keyboard.press("n")
    one.page.get_by_role("heading", level=1, name="New batch").wait_for()


def test_a_list_goes_on_by_itself(person: Come, gateway: Gateway) -> None:
    one = person().signed_in(KEY)
    made = gateway.create(gateway.upload(jsonl(chat_lines(3))), metadata={"name": "followed"})
    one.page.reload()
    one.signed_in(KEY)
    row = one.page.locator(f"tr[data-id={made['id']}]")
    row.get_by_text("in progress").or_(row.get_by_text("validating")).wait_for()
    row.get_by_text("completed").wait_for()


def test_a_gateway_that_is_away_is_told_and_found_again(
    person: Come, gateway: Gateway, sandbox_of_two: Sandbox
) -> None:
    sandbox_of_two.control.options("openai", run_seconds=3600)
    made = gateway.create(gateway.upload(jsonl(chat_lines(2))), metadata={"name": "left alone"})
    one = person().signed_in(KEY).at(f"#/batch/{made['id']}", "left alone")
    one.page.locator("h1 + .badge", has_text="in progress").wait_for()
    gateway.kill()
    one.page.get_by_text("The gateway cannot be reached").wait_for()
    gateway.start()
    one.page.get_by_text("The gateway is there again").wait_for()
    gateway.call("POST", f"/batches/{made['id']}/cancel")
    one.page.locator("h1 + .badge", has_text="cancelled").wait_for()
    one.complaints = [each for each in one.complaints if "Failed to load resource" not in each]
    sandbox_of_two.control.options("openai", run_seconds=RUN_SECONDS)


def test_what_callers_wrote_is_text(person: Come, gateway: Gateway) -> None:
    name = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    lines = [line | {"custom_id": f"{name}{n}"} for n, line in enumerate(chat_lines(2))]
    made = gateway.until(gateway.create(gateway.upload(jsonl(lines)), metadata={"name": name})["id"])
    one = person().signed_in(KEY).at(f"#/batch/{made['id']}", name)
    one.page.get_by_role("button", name="Show lines: succeeded").click()
    one.page.get_by_role("cell", name=f"{name}0").wait_for()
    assert one.page.locator("main img").count() == 0


def test_a_breach_of_the_policy_is_heard(person: Come) -> None:
    one = person().signed_in(KEY)
    one.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'breached'";
            document.head.append(script);
        }"""
    )
    one.page.wait_for_function("() => true")
    assert any("CSP: script-src" in each for each in one.complaints), one.complaints
    assert one.page.title() != "breached"
    one.complaints.clear()


def test_filters_are_in_the_address(person: Come, gateway: Gateway) -> None:
    gateway.until(gateway.create(gateway.upload(jsonl(chat_lines(2))), metadata={"name": "done"})["id"])
    one = person().signed_in(KEY)
    one.page.get_by_label("Status", exact=True).select_option("failed")
    one.page.wait_for_url("**/ui/#/batches?status=failed")
    one.page.get_by_role("link", name="done").wait_for(state="detached")
    one.at("#/batches?status=completed&provider=openai", "Batches")
    one.page.get_by_role("link", name="done").first.wait_for()
    assert one.page.get_by_label("Status", exact=True).input_value() == "completed"
