# The targets make their own virtual environment in .venv; nothing is installed outside this folder.
# All paths are relative, so that the folder may be anywhere, also under a path with spaces.

PYTHON ?= python3
BIN := .venv/bin
NEEDED := the package python3-venv (Debian, Ubuntu: apt-get install python3-venv)
# No addresses of package indexes in the lock files: they are resolved by name, wherever they are used.
LOCK := $(BIN)/python -m uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate pyproject.toml
# A process per core. The tests of a file stay together, in order: some share what is made once.
PARALLEL := --numprocesses=logical --maxprocesses=8 --dist=loadfile --no-loadscope-reorder
# JupyterLab keeps its layout in .venv, so that the reader's own stays as it is; the reader's own settings hold.
LAYOUT := JUPYTERLAB_WORKSPACES_DIR="$(CURDIR)/.venv/workspaces" JUPYTER_CONFIG_PATH="$(CURDIR)/binder$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}"
.DEFAULT_GOAL := help
# What stands on the command line of make, by name; the values are in the environment: no shell reads them.
NAMED = $(filter-out PYTHON BIN,$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
.PHONY: help demo report reports lab test book links vectors schemas interop check unit notebooks style types lock bench campaign clean

help: ## list the targets
	@echo "make TARGET, with TARGET one of:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name words; do printf '%-12s %s\n' "$$name" "$$words"; done

demo: .venv/book ## run the book and write readable pages, with a search, to build/book
	@$(BIN)/python -m tools.book

lab: .venv/layout ## open JupyterLab at notebook 00, with the table of contents beside it
	@$(BIN)/python -m jupyter trust notebooks/*.ipynb >/dev/null 2>&1 || true
	@$(LAYOUT) exec $(BIN)/python -m jupyterlab $(shell [ "$$(id -u)" = 0 ] && echo --allow-root) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

report: .venv/book ## a page about one crash: make report CRASHED=recipient STEP=3.2 LOST=log
	@$(BIN)/python -m tools.report --named "$(NAMED)"

reports: .venv/book ## a gallery of such pages for every crash: make reports MATRIX=small
	@$(BIN)/python -m tools.report --matrix full --named "$(NAMED)"

test: style types unit notebooks check ## all tests: style, types, unit tests, notebooks compared strictly

unit: .venv/dev ## the unit tests
	$(BIN)/python -m pytest $(PARALLEL) tests

notebooks: .venv/dev ## the notebooks under nbval: every stored output must come out again
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=300 -p no:cacheprovider notebooks

check: .venv/dev ## run the book and compare it byte for byte
	$(BIN)/python -m tools.book --check

style: .venv/dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: .venv/dev
	$(BIN)/python -m mypy

book: .venv/book ## run the notebooks and write them back in canonical form
	@$(BIN)/python -m tools.book --write
	@$(BIN)/python -m tools.clauses --write

links: .venv/book ## refresh the links inside the notebooks, without running them, and those of docs/clauses.md
	@$(BIN)/python -m tools.links --write
	@$(BIN)/python -m tools.clauses --write

vectors: .venv/book ## make the test vectors in tests/vectors anew, the same bytes every time
	@$(BIN)/python -m tools.vectors

interop: tests/interop/node_modules ## verify the test vectors in another language, with Node and two packages of npm's
	@command -v node >/dev/null || { echo "Node 18 or later is needed (Debian, Ubuntu: apt-get install nodejs npm)."; exit 1; }
	@node tests/interop/check.mjs

lock: .venv/base ## resolve the ranges of pyproject.toml anew into both requirements files
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) --extra book --custom-compile-command "make lock" -o requirements.txt
	$(LOCK) --extra book --extra dev -c requirements.txt --custom-compile-command "make lock" -o requirements-dev.txt

schemas: .venv/book ## write the JSON Schemas, the endpoints as OpenAPI and the message tables to docs
	@$(BIN)/python -m tools.schemas

bench: .venv/dev ## how fast it is, beside what signatures, encoding and disk alone allow (some minutes)
	@$(BIN)/python -m tools.bench
	@$(BIN)/python -m tools.bench_transfers
	@$(BIN)/python -m tools.bench_storage
	@$(BIN)/python -m tools.bench_recovery
	@$(BIN)/python -m tools.bench_explorer
	@$(BIN)/python -m tools.bench_lab

campaign: .venv/dev ## many more random schedules than `make test` runs, every crash and every takeover: make campaign SCHEDULES=20000
	SCHEDULES=$(or $(SCHEDULES),20000) $(BIN)/python -m pytest $(PARALLEL) tests/test_channel_machine.py tests/test_recovery_machine.py tests/test_replacement_machine.py
	CAMPAIGN=all $(BIN)/python -m pytest $(PARALLEL) tests/test_recovery_campaign.py tests/test_recovery_link.py tests/test_replacement_campaign.py

clean: ## remove the virtual environment and everything that was built
	rm -rf .venv build tests/interop/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

tests/interop/node_modules: tests/interop/package-lock.json
	@command -v npm >/dev/null || { echo "Node 18 or later is needed, and npm (Debian, Ubuntu: apt-get install nodejs npm)."; exit 1; }
	@npm ci --prefix tests/interop --ignore-scripts --no-audit --no-fund
	@touch $@

# The environment: made when it is missing or when what it should contain has changed.
.venv/base:
	@command -v "$(PYTHON)" >/dev/null || { echo "Python 3.11 or later is needed (Debian, Ubuntu: apt-get install python3 python3-venv)."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; $(PYTHON) is older. Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install $(NEEDED)."; exit 1; }
	@echo "Making a virtual environment in .venv; this happens once."
	@"$(PYTHON)" -m venv .venv
	@touch $@

.venv/book: .venv/base requirements.txt pyproject.toml
	@echo "Installing what the book needs (a minute the first time)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/layout: .venv/book binder/workspace.json
	@$(LAYOUT) $(BIN)/python -m jupyterlab workspaces import binder/workspace.json >/dev/null 2>&1
	@touch $@

.venv/dev: .venv/book requirements-dev.txt
	@echo "Installing what the tests need."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
