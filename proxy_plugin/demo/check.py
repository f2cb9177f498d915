"""The demo's check of what came back: every line answered once and in order, and counted right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from proxy_plugin.demo.screen import DemoFailed


class _Row(msgspec.Struct):
    custom_id: str


def check_results(source: Path, output: Path, errors: Path) -> tuple[int, int]:
    """Return the rows in the output and in the error file. An absent file is an empty one.

    Raises DemoFailed unless every custom_id of `source` is in exactly one of them, once, and both are in its order.
    """
    counts, files = [0, 0], (_ids(output), _ids(errors))
    heads = [next(ids, None) for ids in files]
    for number, custom_id in enumerate(_ids(source), 1):
        if custom_id not in heads:
            raise DemoFailed(f"line {number}: its row is missing, or not in input order")
        at = heads.index(custom_id)
        counts[at] += 1
        heads[at] = next(files[at], None)
    if heads != [None, None]:
        raise DemoFailed("a result file holds rows that answer no line, or answer one twice")
    return counts[0], counts[1]


def _ids(path: Path) -> Iterator[str]:
    decode = msgspec.json.Decoder(_Row).decode
    with suppress(FileNotFoundError), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decode(line).custom_id
            except msgspec.DecodeError:
                raise DemoFailed(f"{path}, row {number}: not a row with a custom_id") from None


def check_counts(said: dict[str, int], lines: int, answered: int, failed: int) -> None:
    """Raise DemoFailed unless the batch's `request_counts` say what the files hold."""
    held = {"total": lines, "completed": answered, "failed": failed}
    if said != held:
        raise DemoFailed(f"request_counts say {said}, the files hold {held}")
