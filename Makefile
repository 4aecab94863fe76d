# make demo    a whole cluster, an image and five pulls at once, on this machine
# make test    everything that CI runs
# make bench   the benchmarks; see bench/README.md
# make venv    the environment for development, in .venv

VENV := .venv
BIN := $(VENV)/bin
# Tests that share nothing run two at a time; clusters and faults run alone, for they load the machine themselves.
PARALLEL_TESTS := tests/unit tests/contracts
SERIAL_TESTS := $(wildcard tests/simulation tests/integration tests/faults)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types tests bench venv docs clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.runtime
	$(BIN)/kraken demo

test: lint types tests

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy

tests: $(VENV)/.dev
	scripts/install-test-packages
	scripts/install-helm $(VENV)
	$(BIN)/pytest -n 2 $(PARALLEL_TESTS)
ifneq ($(SERIAL_TESTS),)
	$(BIN)/pytest $(SERIAL_TESTS)
endif

bench: $(VENV)/.dev
	scripts/install-test-packages
	$(BIN)/python -m bench

venv: $(VENV)/.dev

docs: $(VENV)/.runtime
	$(BIN)/kraken config show all --markdown > docs/configuration.md

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache

# Stamps: the environment is made again only when what it is made of has changed.
$(VENV)/.runtime: pyproject.toml constraints.txt scripts/make-venv
	scripts/make-venv $(VENV)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/make-venv
	scripts/make-venv $(VENV) dev
	@touch $@ $(VENV)/.runtime
