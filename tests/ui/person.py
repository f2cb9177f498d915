"""One person before one browser: signs in, looks, is told by axe what others could not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OTHER_KEY = "key-of-another-workspace"
WAIT = 15_000  # milliseconds that nothing takes on a quiet machine
VIOLATIONS = """document.addEventListener("securitypolicyviolation",
    (event) => console.error("CSP: " + event.violatedDirective + " " + event.blockedURI + " " + event.sourceFile));"""
SERIOUS = {"serious", "critical"}


class Person:
    """Has a page of its own. `complaints` are errors of it and violations of its policy, which no test may leave."""

    def __init__(self, browser: Any, url: str, home: Path, shots: Path | None, **options: Any) -> None:
        self.url, self.home, self._shots = url, home, shots
        self.complaints: list[str] = []
        wanted = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "locale": "en-GB"} | options
        self.context = browser.new_context(**wanted)
        self.context.set_default_timeout(WAIT)
        if shots is not None:
            self.context.tracing.start(screenshots=True, snapshots=True)
        self.page = self.context.new_page()
        self.page.add_init_script(VIOLATIONS)
        self.page.on("console", lambda said: self._heard(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _heard(self, kind: str, text: str) -> None:
        refused = "status of 401" in text  # the page asks without a key first, as a gateway may need none
        if kind in ("error", "warning") and not refused:
            self.complaints.append(f"{kind}: {text}")

    def signed_in(self, key: str, path: str = "/ui/") -> Person:
        """Open the page and sign in."""
        self.page.goto(self.url + path)
        self.page.get_by_label("Your key of this gateway").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()
        return self

    def at(self, place: str, heading: str) -> Person:
        """Go to a page of the dashboard and wait for its heading."""
        self.page.evaluate("(place) => { location.hash = place; }", place)
        self.page.get_by_role("heading", level=1, name=heading, exact=True).wait_for()
        return self

    def shot(self, name: str, *, whole: bool = False) -> None:
        """Keep a picture of what is seen, or of the whole page, where the run is to keep some (UI_SHOTS)."""
        if self._shots is not None:
            self._shots.mkdir(parents=True, exist_ok=True)
            self.page.evaluate("() => { document.getElementById('said').textContent = ''; }")
            self.page.screenshot(path=str(self._shots / f"{name}.png"), full_page=whole)

    def findings(self) -> list[str]:
        """Return axe's serious and critical findings of what is shown."""
        from axe_playwright_python.base import AXE_FILE_PATH

        self.page.evaluate(Path(AXE_FILE_PATH).read_text())  # past the page's policy, as the browser's own tools are
        found = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'] for node in each['nodes']][:3]}"
            for each in found
            if each["impact"] in SERIOUS
        ]

    def leave(self, name: str) -> None:
        """Close the browser window. Fails for what the page has complained of.

        Where the run keeps pictures, the whole of it is in `NAME.zip`, which `playwright show-trace` plays.
        """
        if self._shots is not None:
            self.context.tracing.stop(path=str(self._shots / f"{name}.zip"))
        self.context.close()
        assert self.complaints == [], self.complaints
