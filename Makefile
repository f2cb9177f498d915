# Needs Python 3.11 or newer and make; everything else is installed into .venv by the targets themselves.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PROVIDER ?= openai
REPLICAS ?=
WORKERS ?= 2

.PHONY: help demo test test-fast test-sdks test-oracles test-litellm test-package test-ui check fix docs bench contract kills replicas clouds upgrade fuzz attacks audit clients clean bench-peers
help:
	@echo "make demo    the main job, end to end, on the sandbox provider; with REPLICAS=3 on PostgreSQL and an object store"
	@echo "make test    the test suite (under 15 min on 2 cores)"
	@echo "make test-fast  the part of it that starts no process (under 90 s)"
	@echo "make test-oracles  the translators before litellm and the official SDKs (own environment, about 310 MB)"
	@echo "make test-sdks  the stand-ins before the providers' own SDKs (own environment, about 470 MB)"
	@echo "make test-litellm  inside, in front of and beside the real LiteLLM proxy (own environment, about 430 MB)"
	@echo "make test-package  builds wheels and source distributions, checks them, and runs what they install (own environment, about 450 MB)"
	@echo "make test-ui the dashboard in Debian's Chromium (own environment, about 280 MB; needs chromium, or UI_BROWSER=PATH)"
	@echo "make check   lint, format, types"
	@echo "make fix     apply what the linter and the formatter can"
	@echo "make docs    write the tables of the documents that are made from code"
	@echo "make bench   measure memory, event loop gaps, start time (minutes)"
	@echo "make bench-peers  100,000 lines to Bedrock and Vertex AI beside LiteLLM, and three gateways (minutes; own environments, about 700 MB, with Node)"
	@echo "make contract  the contract and the scenes of the engine, whole, for every lane (the test suite runs a part)"
	@echo "make kills   the whole kill and fault campaign (the test suite runs a slice)"
	@echo "make replicas  three gateways on PostgreSQL and an object store, killed, stopped and refused for ten minutes (the test suite runs a slice)"
	@echo "make clouds  object stores that are no S3: Azure Blob by Azurite (needs Node, about 360 MB), and Cloud Storage by a stand-in"
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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/dev.txt -e '.[dev,replicas]'
	@touch $@

$(VENV)/.replicas: $(VENV)/.runtime constraints/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/dev.txt -e '.[replicas,replicas-demo]'
	@touch $@

demo: $(VENV)/.$(if $(REPLICAS),replicas,runtime)
	$(BIN)/proxy-plugin demo --provider $(PROVIDER) $(if $(REPLICAS),--replicas $(REPLICAS))

# AGAIN=3: of a suite that ran to its end up to three tests that failed beside others are run once more, alone.
test: $(VENV)/.dev
	rm -rf .pytest_cache
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --durations=25 tests || { \
	[ $$? = 1 ] && [ $$(grep -c : .pytest_cache/v/cache/lastfailed) -le $(or $(AGAIN),0) ] && \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none tests; }

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
	$(VENV)-oracles/bin/python -m tests.oracles.streams
	$(VENV)-oracles/bin/python -m tests.oracles.few_lines

$(VENV)-sdks/.made: pyproject.toml constraints/sdks.txt
	$(PYTHON) -m venv $(VENV)-sdks
	$(VENV)-sdks/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		-c constraints/sdks.txt -e '.[dev,sdks]'
	@touch $@

# Its proxy extra pins packages that are in no index: what the proxy imports is listed one by one.
$(VENV)-litellm/.made: pyproject.toml constraints/litellm.txt
	$(PYTHON) -m venv $(VENV)-litellm
	$(VENV)-litellm/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		-r constraints/litellm.txt
	$(VENV)-litellm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

test-litellm: $(VENV)-litellm/.made
	$(VENV)-litellm/bin/python -m pytest -W default --confcutdir=tests/litellm --timeout 600 tests/litellm

$(VENV)-ui/.made: pyproject.toml constraints/ui.txt
	$(PYTHON) -m venv $(VENV)-ui
	$(VENV)-ui/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/ui.txt -e '.[ui]'
	@touch $@

# UI_SHOTS=DIR keeps pictures, and what each browser did (playwright show-trace); UI_PAINT_MS=1000 holds the list to a second.
test-ui: $(VENV)-ui/.made
	@if command -v "$${UI_BROWSER:-chromium}" >/dev/null; then $(VENV)-ui/bin/python -m pytest -s tests/ui; \
	else echo "Left out, for there is no browser: apt-get install chromium, or name one as UI_BROWSER=PATH"; fi

test-sdks: $(VENV)-sdks/.made
	$(VENV)-sdks/bin/python -m pytest -n $(WORKERS) tests/providers/sandbox/sdks tests/whole/test_portkey_pages_sdk.py

$(VENV)-package/.made: constraints/package.txt
	$(PYTHON) -m venv $(VENV)-package
	$(VENV)-package/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		-r constraints/package.txt
	@touch $@

# The tools get no package of ours: what they run is installed from the wheels.
test-package: $(VENV)-package/.made
	rm -rf build dist packages/client/build
	$(VENV)-package/bin/python -m build --quiet --outdir dist .
	$(VENV)-package/bin/python -m build --quiet --outdir dist packages/client
	$(VENV)-package/bin/twine check --strict dist/*
	$(VENV)-package/bin/python -m pytest -c tests/packages/pytest.ini --rootdir . --confcutdir tests/packages tests/packages

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

$(VENV)-peers/.node: $(VENV)-peers/.made
	npm install --silent --no-fund --no-audit --ignore-scripts --prefix $(VENV)-peers/node @portkey-ai/gateway@1.15.2
	@touch $@

# Without Node, or where LiteLLM's proxy cannot be installed, the table has fewer columns.
bench-peers: $(VENV)/.dev $(VENV)-peers/.made
	-command -v npm && $(MAKE) $(VENV)-peers/.node
	-$(MAKE) $(VENV)-litellm/.made
	$(BIN)/python -m bench peers

contract: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --campaign --durations=25 tests/whole/contract tests/whole/lanes

kills: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --campaign tests/whole/kills

replicas: $(VENV)/.dev
	$(BIN)/python -m pytest -s --campaign --timeout 1800 tests/whole/replicas

$(VENV)-clouds/.made:
	npm install --silent --no-fund --no-audit --ignore-scripts --prefix $(VENV)-clouds azurite@3.37.0
	@touch $@

clouds: export AZURITE = $(abspath $(VENV)-clouds/node_modules/.bin/azurite-blob)
clouds: $(VENV)/.dev $(VENV)-clouds/.made
	$(BIN)/python -m pytest --campaign tests/api/test_object_stores.py tests/api/test_files_on_replicas.py
	for store in cloud_storage azurite; do $(BIN)/python -m pytest --campaign --store $$store \
	tests/whole/replicas/test_any_of_them.py tests/whole/replicas/test_servers_away.py \
	tests/whole/replicas/test_lost_machines.py || exit; \
	$(BIN)/python -m pytest --store $$store tests/whole/replicas/test_storm.py || exit; done

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
	rm -rf $(VENV) $(VENV)-oracles $(VENV)-peers $(VENV)-sdks $(VENV)-litellm $(VENV)-audit $(VENV)-package $(VENV)-ui $(VENV)-clouds build dist *.egg-info packages/client/build packages/client/*.egg-info .mypy_cache .ruff_cache
