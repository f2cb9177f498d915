"""Write the tables of the README that are made from code; `python -m docs.tables --check` fails if they are stale."""

from __future__ import annotations

import sys
from pathlib import Path

from providers import matrix

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- matrix: made by `make docs` from the capability records -->\n", "<!-- end of matrix -->"


def rendered(text: str) -> str:
    """Return the README with its provider matrix as the capability records have it now."""
    head, _, rest = text.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}\n{matrix.markdown()}\n\n{END}{tail}"


def main() -> int:
    """Write the tables, or with `--check` return 1 if that would change anything."""
    text = README.read_text()
    new = rendered(text)
    if "--check" in sys.argv:
        return int(text != new)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
