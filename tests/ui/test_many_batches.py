"""10,000 batches of one workspace, by the browser's own clock. UI_PAINT_MS holds the figure to a bound."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable

from tests.support.lines import chat_lines, jsonl
from tests.support.stack import KEY, Gateway
from tests.ui.person import Person

MANY = 10_000
PAINTED = """() => new Promise((resolve) => {
    const began = performance.now();
    const look = () => document.querySelectorAll("table.batches tbody tr").length >= 50
        ? requestAnimationFrame(() => resolve(performance.now() - began)) : requestAnimationFrame(look);
    document.querySelector("form.sign-in button").click();
    look();
})"""


def copies(gateway: Gateway, batch_id: str) -> None:
    """Put 10,000 copies of an ended batch with its part into the registry, while no gateway runs."""
    with sqlite3.connect(gateway.data / "registry.sqlite3") as conn:
        for table, own in (("batches", "id"), ("parts", "batch_id")):
            names = [row[1] for row in conn.execute(f"PRAGMA table_info({table})") if row[1] != "seq"]
            taken = {own: "printf('batch_%016x', n.value)", "mark": "printf('mark%06d', n.value)"}
            taken["idempotency_key"] = "NULL"
            values = ", ".join(taken.get(name, f"t.{name}") for name in names)
            conn.execute(
                f"INSERT INTO {table} ({', '.join(names)}) WITH RECURSIVE n (value) AS"
                f" (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {MANY})"
                f" SELECT {values} FROM n JOIN {table} t ON t.{own} = ?",
                (batch_id,),
            )


def test_ten_thousand_batches_are_painted_within_a_second(person: Callable[..., Person], gateway: Gateway) -> None:
    batch = gateway.until(gateway.create(gateway.upload(jsonl(chat_lines(2))))["id"])
    gateway.kill()
    copies(gateway, batch["id"])
    gateway.start()
    one = person()
    one.page.goto(one.url + "/ui/")
    one.page.get_by_label("Your key of this gateway").fill(KEY)
    took = one.page.evaluate(PAINTED)
    one.page.get_by_text("and there are more").wait_for()
    one.shot("many")
    first = one.page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"\nfirst paint of the page {first:.0f} ms; 50 rows of {MANY} after the sign-in {took:.0f} ms")  # noqa: T201
    assert one.page.locator("table.batches tbody tr").count() == 50
    assert took < float(os.environ.get("UI_PAINT_MS", "inf"))
