# Milecastle: every target first sets up what it needs (scripts/setup; nothing when it is there).

CONFIG ?= config/milecastled.yaml
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/sbin:/sbin

.PHONY: help setup run test demo bench clean

help:
	@echo "make run          inspect this host's AI traffic, in monitor mode, until Ctrl-C (root)"
	@echo "make test         ruff, mypy and every test; root for those that need the kernel"
	@echo "make demo         real clients through the agent in a lab of namespaces (root)"
	@echo "make bench        the table of speed and memory; bench-NAME: one of benchmarks/"
	@echo "make setup        .venv, packages and users only"
	@echo "make clean        remove what these targets made in the checkout"

setup:
	@scripts/setup

run:
	@scripts/setup run
	@exec $(BIN)/milecastled --config $(CONFIG) --show

test:
	@scripts/setup test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest

demo:
	@scripts/setup demo
	@exec $(BIN)/python -m tests.lab --demo

bench:
	@scripts/setup bench
	@set -e; for each in $(sort $(wildcard benchmarks/bench_*.py)); do \
		echo "== $$each"; $(BIN)/python $$each; done

bench-%: benchmarks/bench_%.py
	@scripts/setup bench
	@exec $(BIN)/python $<

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache tests/lab/node_modules
	find agent addons tests benchmarks scripts -name __pycache__ -type d -exec rm -rf {} +
