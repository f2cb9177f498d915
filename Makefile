# Needs Python 3.11 or newer and make; everything else is installed into .venv by the targets themselves.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PROVIDER ?= openai
WORKERS ?= 2

.PHONY: help demo test test-fast test-sdks test-oracles check fix docs bench contract kills upgrade fuzz attacks audit clients clean bench-peers
help:
	@echo "make demo    the main job, end to end, on the sandbox provider"
	@echo "make test    the test suite (under 15 min on 2 cores)"
	@echo "make test-fast  the part of it that starts no process (under 90 s)"
	@echo "make test-oracles  the translators before litellm and the official SDKs (own environment, about 310 MB)"
	@echo "make test-sdks  the stand-ins before the providers' own SDKs (own environment, about 470 MB)"
	@echo "make check   lint, format, types"
	@echo "make fix     apply what the linter and the formatter can"
	@echo "make docs    write the tables of the documents that are made from code"
	@echo "make bench   measure memory, event loop gaps, start time (minutes)"
	@echo "make bench-peers  100,000 lines to Bedrock and Vertex AI beside LiteLLM (minutes; own environment, about 250 MB)"
	@echo "make contract  the contract and the scenes of the engine, whole, for every lane (the test suite runs a part)"
	@echo "make kills   the whole kill and fault campaign (the test suite runs a slice)"
	@echo "make upgrade BEFORE=DIR  kills again, each first in the checkout of an earlier version and finished by this one"
	@echo "make fuzz    random requests made from the OpenAPI descriptions, property tests with new examples (minutes; the test suite runs a slice)"
	@echo "make attacks what one workspace, visitor or provider can do to another, with figures (minutes; the test suite runs a slice)"
	@echo "make audit   known advisories against the locked versions (needs an advisory service)"
	@echo "make clients every method of every stock client against the gateway (minutes; needs Node, or CLIENTS=--skip-node)"

$(VENV)/.runtime: pyproject.toml constraints/runtime.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/runtime.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime constraints/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/dev.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.runtime
	$(BIN)/proxy-plugin demo --provider $(PROVIDER)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --durations=25 tests

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) tests/unit tests/architecture

# Uncompiled: of litellm's 5,000 modules a run imports a part, and what it imports is kept compiled.
$(VENV)-oracles/.made: pyproject.toml constraints/oracles.txt
	$(PYTHON) -m venv $(VENV)-oracles
	$(VENV)-oracles/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		-c constraints/oracles.txt -e '.[oracles]'
	@touch $@

test-oracles: $(VENV)-oracles/.made
	$(VENV)-oracles/bin/python -m tests.oracles.corpus
	$(VENV)-oracles/bin/python -m tests.oracles
	$(VENV)-oracles/bin/python -m tests.oracles.calls
	$(VENV)-oracles/bin/python -m tests.oracles.few_lines

$(VENV)-sdks/.made: pyproject.toml constraints/sdks.txt
	$(PYTHON) -m venv $(VENV)-sdks
	$(VENV)-sdks/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		-c constraints/sdks.txt -e '.[dev,sdks]'
	@touch $@

test-sdks: $(VENV)-sdks/.made
	$(VENV)-sdks/bin/python -m pytest -n $(WORKERS) tests/providers/sandbox/sdks tests/whole/test_portkey_pages_sdk.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python -m tools.tables

bench: $(VENV)/.dev
	$(BIN)/python -m bench

$(VENV)-peers/.made: constraints/peers.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/peers.txt litellm boto3 google-auth requests
	@touch $@

bench-peers: $(VENV)/.dev $(VENV)-peers/.made
	$(BIN)/python -m bench peers

contract: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --campaign --durations=25 tests/whole/contract tests/whole/lanes

kills: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --campaign tests/whole/kills

upgrade: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --campaign --before=$(BEFORE) tests/whole/kills/test_kill_matrix.py

fuzz: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --campaign tests/openapi tests/unit

$(VENV)-audit/.made: constraints/audit.txt
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/audit.txt pip-audit
	@touch $@

audit: $(VENV)-audit/.made
	$(VENV)-audit/bin/python -m tools.audit

attacks: $(VENV)/.dev
	$(BIN)/python -m pytest --campaign -s tests/attacks

clients: $(VENV)/.dev
	$(BIN)/python -m tests.clients $(CLIENTS)

clean:
	rm -rf $(VENV) $(VENV)-oracles $(VENV)-peers $(VENV)-sdks $(VENV)-audit build dist *.egg-info .mypy_cache .ruff_cache
