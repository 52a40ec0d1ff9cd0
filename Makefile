# `make help` lists what there is.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup demo test fuzz lint types format bench bench-peers constraints clean distclean

# The first Python on PATH that is new enough; `make setup PYTHON=/path/to/python3.12` says another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; done; echo python3)
PORT ?= 8000
# More arguments for pytest: `make test ARGS="-x -k batched"`.
ARGS ?=

MOTET_FUZZ ?= 20000

VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml constraints.txt src/motet/_version.py

# A stamp is written after the last step only, and `.unfinished` stands in the environment while it changes: an
# environment that was left half-made (Ctrl-C, a full disk, a lost network) is thrown away and made anew.
# pip and not uv, because pip honours the settings of the machine (indexes, local builds of torch).
# hatchling goes first so that the build needs no second, unpinned environment; torch comes in the same step as
# everything that asks for it, so that nothing can ask for another one.
define install
	@if [ -e $(VENV)/.unfinished ]; then echo "The last setup didn't finish; starting anew."; rm -rf $(VENV); fi
	@if [ -e $(VENV) ] && ! $(BIN)/python -c $(IS_NEW_ENOUGH) 2>/dev/null; then \
		echo "$(VENV) has no working Python 3.11 or newer; starting anew."; rm -rf $(VENV); fi
	@$(PYTHON) -c $(IS_NEW_ENOUGH) 2>/dev/null || { \
		echo "Motet needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo 'not there')." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@mkdir -p $(VENV) && touch $(VENV)/.unfinished && rm -f $(VENV)/.ready-*
	@[ -x $(BIN)/pip ] || { echo "Creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt hatchling editables
	$(BIN)/python -m pip install --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.$(1)'
	@rm $(VENV)/.unfinished
	@touch $(addprefix $(VENV)/.ready-,$(2))
endef
IS_NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'

$(VENV)/.ready-core: $(SOURCES)
	$(call install,,core)

$(VENV)/.ready-demo: $(SOURCES)
	$(call install,[demo],core demo)

$(VENV)/.ready-dev: $(SOURCES)
	$(call install,[dev$(COMMA)demo],core demo dev)

COMMA := ,

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready-core ## create .venv with motet in it
	@echo "Ready. Next: $(BIN)/motet --help, or make demo"

demo: $(VENV)/.ready-demo ## serve examples/ask_docs on port 8000 (PORT=...)
	@exec $(BIN)/motet serve examples/ask_docs/app.py:app --port $(PORT)

test: lint types ## everything that has to pass: lint, types, tests (ARGS="..." for pytest)
	@if command -v chromedriver >/dev/null; then exec $(BIN)/python -m pytest $(ARGS); \
	else echo "Tests in a browser are left out: no chromedriver here (Debian: apt-get install chromium chromium-driver)"; \
		exec $(BIN)/python -m pytest -m "not browser" $(ARGS); fi

fuzz: $(VENV)/.ready-dev ## send mutated requests to the gateway for longer than make test does (MOTET_FUZZ=number of them)
	MOTET_FUZZ=$(MOTET_FUZZ) $(BIN)/python -m pytest -o faulthandler_timeout=0 tests/integration/test_gateway_conformance.py \
		tests/integration/test_openapi_conformance.py $(ARGS)

lint: $(VENV)/.ready-dev ## ruff, formatting, the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

types: $(VENV)/.ready-dev ## mypy and pyright, both strict
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

format: $(VENV)/.ready-dev ## format, and fix what can be fixed safely
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready-dev ## measure (needs wrk; ARGS="--only hop" for a part)
	$(BIN)/python bench/run.py $(ARGS)

bench-peers: $(VENV)/.ready-dev ## measure beside other frameworks, which it installs into .bench (1.1 GB)
	$(BIN)/python bench/run.py --peers $(ARGS)

constraints: $(VENV)/.ready-dev ## write constraints.txt from the environment
	@$(BIN)/python -m pip check
	@sed -n '/^#/p' constraints.txt > $(VENV)/constraints.new
	@$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//' >> $(VENV)/constraints.new
	@mv $(VENV)/constraints.new constraints.txt

clean: ## remove caches and build results
	rm -rf dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests typing_tests examples bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## the same, and remove .venv and .bench
	rm -rf $(VENV) .bench
