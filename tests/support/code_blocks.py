"""The blocks of code of the documents, with the page and the line where each stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(?P<language>[a-z]*)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class CodeBlock(NamedTuple):
    """One block; `name` is the file that it says it is, if any."""

    page: str
    line: int
    language: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return what people read: the README, CONTRIBUTING and all of `docs/`."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def of(page: Path) -> Iterator[CodeBlock]:
    """Yield the blocks of a page."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield CodeBlock(str(page.relative_to(ROOT)), line, found["language"], found["name"] or "", found["text"])


def every() -> list[CodeBlock]:
    """Return the blocks of all pages."""
    return [block for page in pages() for block in of(page)]


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a shell block, each in one line; comments are left out."""
    for line in text.replace("\\\n", " ").splitlines():
        command = re.sub(r"(^|\s)#.*$", "", line).strip()
        if command:
            yield command
