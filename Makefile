# Everything one does with this checkout. `make` alone lists it. Variables of the environment reach every command.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of all that is installed only what serving imports is byte-compiled, so that setting up and the first start are both quick.
COMPILE := import cache_service.server, cache_service.api.app, cache_service.embedding.onnx, cache_service.embedding.openvino, cache_service.simulator.server
PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

# Stamps: what is installed, as of which lock. `run` needs no tools of development.
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
MODEL_STAMP := models/cache/manifest.json
LOCK := pyproject.toml setup.py constraints.txt

PYTEST_ARGS ?=
# Processes that run tests; a file's tests stay together, so that what they share is made once, and the slow files come first.
TEST_PROCESSES ?= 2

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup run test lint format bench bench-check model migration lock clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(DEV_STAMP) $(MODEL_STAMP) ## Make .venv with everything in it, and the embedding model
	@echo "Ready. Next: make run"

run: $(RUN_STAMP) $(MODEL_STAMP) ## Serve on http://127.0.0.1:8000 until Ctrl-C (settings: CACHE_SERVICE_…)
	@exec $(BIN)/cache-service serve

test: $(DEV_STAMP) $(MODEL_STAMP) ## Run all tests (PYTEST_ARGS="-k purge" for some, TEST_PROCESSES=0 for pdb)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(DEV_STAMP) ## Check format, lint, types and who imports whom
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(DEV_STAMP) ## Format the code, and mend what the linter can mend
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

bench: $(DEV_STAMP) $(MODEL_STAMP) ## Measure, with percentiles: benchmarks/*.py, one after the other
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

bench-check: $(DEV_STAMP) $(MODEL_STAMP) ## Has anything become slower? Quick benchmarks' ratios against the baseline (ARGS=--update writes it)
	@$(BIN)/python benchmarks/_check.py $(ARGS)

model: $(RUN_STAMP) ## Make the embedding model for serving, and compare it with the original
	@$(BIN)/python -m cache_service.embedding.export
	@$(BIN)/python -m cache_service.verification.artefacts
	@touch $(MODEL_STAMP)

migration: $(DEV_STAMP) ## Write a migration from the tables: make migration m="what changes"
	@test -n "$(m)" || { echo 'say what changes: make migration m="add a column"' >&2; exit 2; }
	@rm -f $(VENV)/schema.db
	@export CACHE_SERVICE_DATABASE_URL=sqlite:///$(VENV)/schema.db; \
		$(BIN)/alembic upgrade head && $(BIN)/alembic revision --autogenerate --message "$(m)"
	@$(BIN)/ruff format --quiet alembic

lock: $(DEV_STAMP) ## Write the versions in .venv to constraints.txt
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --all --exclude-editable \
		| sed -E '/^#/d; /^pip==/d; s/\+[a-z0-9.]+$$//' | LC_ALL=C sort --ignore-case; } > $(VENV)/constraints.new
	@mv $(VENV)/constraints.new constraints.txt

clean: ## Remove what was built (not data/, where entries and pictures are)
	rm -rf $(VENV) build dist *.egg-info models/cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is what comes last into a new environment: without it an earlier attempt was broken off.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
			"Name another with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

# setuptools first and from the lock, so that building the package fetches nothing of its own choice.
$(RUN_STAMP): $(LOCK) | $(BIN)/pip
	@echo "Installing into $(VENV) (the first time takes some minutes) …"
	@$(PIP_INSTALL) setuptools
	@$(PIP_INSTALL) --no-build-isolation --editable '.[model,openvino]'
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c '$(COMPILE)'
	@touch $@

$(DEV_STAMP): $(LOCK) | $(BIN)/pip
	@echo "Installing into $(VENV) with the tools of development (the first time takes some minutes) …"
	@$(PIP_INSTALL) setuptools
	@$(PIP_INSTALL) --no-build-isolation --editable '.[model,openvino,dev]'
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c '$(COMPILE)'
	@touch $(RUN_STAMP) $@

$(MODEL_STAMP): models/manifest.toml models/verifier/manifest.toml | $(RUN_STAMP)
	@$(BIN)/python -m cache_service.embedding.export
	@$(BIN)/python -m cache_service.verification.artefacts
	@touch $@
