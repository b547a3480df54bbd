# Model Trainer: `make` alone lists what there is. Everything runs in .venv, which is made when first needed.

PROFILE ?= dev
MODEL ?= gpt2
TORCH ?= cpu
TEST_WORKERS ?= 2
PYTEST_ARGS ?=
N ?= 100
SEED ?= 1
REPORT ?=

ifeq ($(OS),Windows_NT)
  PYTHON ?= py -3
  BIN := .venv/Scripts
else
  # The first Python 3.11+ that really runs: a version manager's shim may be on PATH without its Python.
  PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
  BIN := .venv/bin
endif
INSTALLED := .venv/.installed-$(TORCH)

# What docker-compose.yml asks for: how to log, the build of torch, and who owns the folders it mounts.
start stop restart clean: export APP_ENV := $(filter dev prod,$(PROFILE))
export TORCH
export GIT_COMMIT := $(shell git rev-parse --verify --quiet HEAD 2>/dev/null)
ifneq ($(OS),Windows_NT)
  ifneq ($(shell id -u),0)
    export CONTAINER_UID := $(shell id -u)
    export CONTAINER_GID := $(shell id -g)
  endif
endif
COMPOSE_FILES := $(if $(filter cuda,$(TORCH)),-f docker-compose.yml -f docker-compose.cuda.yml)
COMPOSE := docker compose $(COMPOSE_FILES) $(PROFILE:%=--profile %)

CHECKS := check-format check-style check-types check-guards check-floors check-stubs check-constraints check-openapi check-map

.DEFAULT_GOAL := help
.PHONY: help demo demo-detector test test-fast lint lint-check up start stop restart clean constraints openapi map bench chaos $(CHECKS)

help: ## List the targets
	@echo "make TARGET, with PROFILE=$(PROFILE) MODEL=$(MODEL) TORCH=$(TORCH) unless you say otherwise:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Train a small model on text this machine already has (MODEL=gpt2 or char_lstm)
	$(BIN)/model-trainer demo --model $(MODEL)

demo-detector: $(INSTALLED) ## Train a small writer and a detector of its texts, here and without a download
	$(BIN)/model-trainer demo --model text_detector

# As workers do (SPIN_COUNT in core/config/settings.py): on shared cores, threads that spin while they wait slow everybody down.
demo-detector test test-fast bench chaos: export GOMP_SPINCOUNT ?= 1000

test: lint-check ## Everything CI runs: all checks, then every test with coverage
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

test-fast: $(INSTALLED) ## The quick tests alone, as pre-commit runs them
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) -m "not slow" tests/unit $(PYTEST_ARGS)

lint: $(INSTALLED) ## Fix what can be fixed, then check
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .
	$(MAKE) --no-print-directory lint-check

lint-check: $(INSTALLED) ## Format, lint, types, guards, floors, stubs and generated files; changes nothing
	@$(MAKE) --keep-going --no-print-directory $(CHECKS)

check-format: $(INSTALLED)
	$(BIN)/ruff format --check .

check-style: $(INSTALLED)
	$(BIN)/ruff check .

check-types: $(INSTALLED)
	$(BIN)/mypy

check-guards: $(INSTALLED)
	$(BIN)/python scripts/guards.py

check-floors: $(INSTALLED)
	$(BIN)/lint-imports --no-logo

check-stubs: export MYPYPATH = stubs
check-stubs: $(INSTALLED)
	$(BIN)/stubtest $(notdir $(wildcard stubs/*)) --ignore-missing-stub --allowlist scripts/stubtest_allowlist.txt

check-constraints: $(INSTALLED)
	$(BIN)/python scripts/check_constraints.py

check-openapi: $(INSTALLED)
	$(BIN)/model-trainer openapi --check openapi.json

constraints: $(INSTALLED) ## Write constraints.txt from poetry.lock
	$(BIN)/python scripts/check_constraints.py --write

openapi: $(INSTALLED) ## Write openapi.json from the code
	$(BIN)/model-trainer openapi --output openapi.json

check-map: $(INSTALLED)
	$(BIN)/python scripts/write_map.py --check

map: $(INSTALLED) ## Write docs/map.md from the files' docstrings
	$(BIN)/python scripts/write_map.py

bench: $(INSTALLED) ## Run every script under benchmarks/
	@for script in $(wildcard benchmarks/*.py); do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

chaos: $(INSTALLED) ## Kill processes under real runs and ask the oracle (N=100 SEED=1 REPORT=file.json)
	$(BIN)/python -m tests.chaos --kills $(N) --seed $(SEED) --report "$(REPORT)"

up: $(INSTALLED) ## Redis, API, workers and maintenance in the foreground, without containers
	$(BIN)/model-trainer up

start: ## Build and start the containers (PROFILE=dev or prod, PROFILE="dev discord" with the bot)
	$(PYTHON) scripts/prepare_folders.py
	$(COMPOSE) up -d --build

stop: ## Stop the containers, the bot too; data stays
	$(COMPOSE) --profile discord stop

restart: ## Stop the containers, rebuild and start them
	$(COMPOSE) stop
	$(PYTHON) scripts/prepare_folders.py
	$(COMPOSE) up -d --build

clean: ## Remove this stack's containers, images and volumes, start afresh; artifacts/ and corpus/ stay
	$(COMPOSE) --profile discord down --volumes --rmi all --remove-orphans
	$(PYTHON) scripts/prepare_folders.py
	$(COMPOSE) up -d --build

$(INSTALLED): pyproject.toml constraints.txt scripts/install.py
	$(if $(strip $(PYTHON)),,$(error Python 3.11 or newer is needed, with its venv module; none was found on PATH))
	$(PYTHON) -m venv .venv
	$(BIN)/python scripts/install.py --torch $(TORCH) --extras all,dev --stamp $@
