# Duplex Arena. Each target sets up what it needs; before it: make and Python 3.11 or newer.

PYTHON ?=
TEST_EXTRAS ?= dev
PYTEST_ARGS ?=
export PYTHON TEST_EXTRAS

.DEFAULT_GOAL := help
.PHONY: help demo test check bench base dev

help:
	@echo "make demo    the page in your browser, with the model that is in this repository"
	@echo "make test    all tests: Python, the page in a real browser, JavaScript"
	@echo "make check   format, lint, types, then all tests: what a change has to pass"
	@echo "make bench   measures latency and quality on this machine"
	@echo ""
	@echo "make test PYTEST_ARGS='-m \"not e2e\" -x'    options for pytest"
	@echo "make demo PYTHON=/path/to/python3.12       another Python (first set-up only)"

demo: base
	@.venv/bin/duplex serve --open

test: dev
	@sh scripts/test.sh $(PYTEST_ARGS)

check: dev
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@command -v npm >/dev/null || { echo "make check: npm was not found; the JavaScript type check needs Node.js 20 or newer" >&2; exit 1; }
	@npm ci --no-audit --no-fund
	@npm run --silent check
	@sh scripts/audit.sh
	@$(MAKE) --no-print-directory test

bench: base
	@.venv/bin/duplex bench all

base dev:
	@sh scripts/setup.sh $@
