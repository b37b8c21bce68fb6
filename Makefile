# Everything a developer types. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GRAPHIQL := app/web/graphiql
STATIC := app/web/static

# An active virtual environment, or pip settings for one, must not redirect what happens here.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A stamp's name has the checksum of all that it stands for: what is up to date does not run again, and a checkout that
# moved, or another lock file, installs anew.
checksum = $(shell { echo "$(CURDIR)"; find $(1) -type f -not -path '*/node_modules/*' | LC_ALL=C sort | xargs cat; } 2>/dev/null | cksum | tr ' ' -)
INSTALLED := $(VENV)/.installed-$(call checksum,requirements.lock pyproject.toml)
INSTALLED_DEV := $(VENV)/.installed-dev-$(call checksum,requirements-dev.lock)
GRAPHIQL_TRIED := $(VENV)/.graphiql-$(call checksum,$(GRAPHIQL))

.DEFAULT_GOAL := help
.PHONY: help run test slow equality benchmarks image lint lock graphiql schema clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

run: $(INSTALLED) $(GRAPHIQL_TRIED) ## install what is missing, then serve on http://127.0.0.1:8000
	@exec $(BIN)/slipway serve

test: $(INSTALLED_DEV) lint ## install what is missing, then run every check, and the tests that take no longer than minutes
	$(BIN)/python -m pytest -n 2

slow: $(INSTALLED_DEV) ## run the tests that `make test` leaves out since they take long: faults, races, whole tables
	$(BIN)/python -m pytest -n 2 -m slow

equality: $(INSTALLED_DEV) ## answer generated documents with the compiler and without (EQUALITY_DOCUMENTS=2000, EQUALITY_WORDINGS=1, EQUALITY_SEED=1)
	$(BIN)/python -m pytest -n 2 -m equality tests/compiler

benchmarks: $(INSTALLED_DEV) ## see that each benchmark starts
	$(BIN)/python -m pytest -m benchmark tests/test_benchmarks.py

image: $(INSTALLED_DEV) ## build the image and try what it promises; needs a Docker engine, as tests/engine.py starts one
	$(BIN)/python -m pytest -m image

lint: $(INSTALLED_DEV) ## style, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(INSTALLED_DEV) ## write the lock files from pyproject.toml (UPGRADE=--upgrade for the newest releases)
	$(BIN)/uv pip compile $(UPGRADE) --group build $(LOCK_OPTIONS) --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile $(UPGRADE) --group dev $(LOCK_OPTIONS) --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml

LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	--custom-compile-command 'make lock'

graphiql: ## build GraphiQL's static files; needs npm
	cd $(GRAPHIQL) && npm ci && npm run build

schema: $(INSTALLED) ## write schema.graphql from the code
	$(BIN)/slipway schema > schema.graphql.new
	mv schema.graphql.new schema.graphql

clean: ## remove what was installed and built; data in .slipway stays
	rm -rf $(VENV) $(STATIC) $(GRAPHIQL)/node_modules build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find app tests migrations -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Slipway needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@echo "Installing into $(VENV), which takes a minute and happens once."
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-[0-9]* && touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo "Installing the tools for development."
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	@rm -f $(VENV)/.installed-dev-* && touch $@

# Tried once for each state of the sources, so that a machine without npm or network starts as fast the next time.
$(GRAPHIQL_TRIED): $(INSTALLED)
	@if command -v npm >/dev/null; then \
		echo "Building GraphiQL, which takes a minute and happens once."; \
		{ cd $(GRAPHIQL) && npm ci --silent --fetch-retries=1 && npm run --silent build; } >/dev/null || \
			echo "GraphiQL could not be built; the server does without it. 'make graphiql' tries again."; \
	fi
	@rm -f $(VENV)/.graphiql-* && touch $@
