# Everything a person runs. Each target sets up what it needs; nothing but Python >= 3.11 and make is assumed.

PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
READY := .venv/.ready

# One folder holds the state of this installation: Dagster's storage, the lake, the table catalog, the embedded broker's lock.
export DAGSTER_HOME ?= $(CURDIR)/.hwosim
export UV_PYTHON_DOWNLOADS ?= never
# The packages are Python wheels by the hundred; a copy is slower than a link but works across file systems.
export UV_LINK_MODE ?= copy

.DEFAULT_GOAL := help
.PHONY: help install demo dev test check format integration bench docs lock clean

help: ## Say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort | expand -t 14

install: $(READY) ## Install the locked environment into .venv

$(UV):
	$(PYTHON) -c 'import sys; sys.exit("HWOsim needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + "; set PYTHON=python3.12" if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

$(READY): pyproject.toml uv.lock | $(UV)
	$(UV) sync --locked --quiet --all-extras --no-extra spark --python $(PYTHON)
	@touch $@

demo: $(READY) ## Run the whole chain on a generated archive and show where to look
	$(BIN)/hwosim demo

dev: $(READY) ## Open Dagster's UI with both code locations and the embedded services
	$(BIN)/hwosim dev

test: $(READY) ## Run every test that needs nothing beyond this machine
	$(BIN)/pytest -m 'not integration' -n auto --dist loadfile

check: $(READY) ## Check format, lint, types and that both code locations load
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --no-incremental
	@mkdir -p $(DAGSTER_HOME)
	$(BIN)/dagster definitions validate --log-level error

format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

integration: $(READY) ## Run the tests against real servers and a browser; installs what is missing where it may
	./tests/integration/install
	-$(UV) sync --locked --quiet --all-extras --python $(PYTHON) # Spark, 430 MB; where it cannot be had its tests skip
	$(BIN)/pytest -m integration tests

bench: $(READY) ## Print time and memory of every stage, and of what one would take instead
	$(UV) sync --locked --quiet --inexact --all-extras --no-extra spark --group bench --python $(PYTHON)
	$(BIN)/python -m benchmarks.chain
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.queries
	$(BIN)/python -m benchmarks.reports
	$(BIN)/python -m benchmarks.orchestration
	$(BIN)/python -m benchmarks.headers
	$(BIN)/python -m benchmarks.perturb
	$(BIN)/python -m benchmarks.stream_plan
	$(BIN)/python -m benchmarks.stream
	$(BIN)/python -m benchmarks.stream_pacing
	$(BIN)/python -m benchmarks.on_the_fly

docs: $(READY) ## Make the generated pages and pictures of docs/
	$(BIN)/python docs/make_effect_pictures.py
	$(BIN)/python docs/make_pages.py

lock: | $(UV) ## Resolve the dependencies anew
	$(UV) lock --upgrade

clean: ## Remove the environment; the state in .hwosim stays
	rm -rf .venv .tools .mypy_cache .ruff_cache
