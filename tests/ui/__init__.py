"""The dashboard in a real Chromium. Only in an environment that has Playwright: `make test-ui` makes it."""
