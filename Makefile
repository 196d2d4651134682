# Everything happens in .venv beside this file: no root, no service, nothing outside the checkout.
# PYTHON=/path/to/python chooses the interpreter; pip's own settings say where packages come from.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?=
BIN := .venv/bin
PACKAGES := shiftlead.config shiftlead.queues shiftlead.agents shiftlead.coordinator
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The locks are complete, so nothing is resolved; byte code is made afterwards, on every core.
INSTALL := $(PIP) install --quiet --no-deps --no-compile --require-hashes
COMPILE := $(BIN)/python -m compileall -q -j 0 .venv/lib

.PHONY: help demo up down test check lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 16

demo: .venv/.ready ## set up, and show the main job from start to end
	@$(BIN)/shiftlead demo

up: .venv/.ready ## set up, start everything and stay up (Ctrl-C stops it)
	@$(BIN)/shiftlead up

down: .venv/.ready ## stop what `shiftlead up` started
	@$(BIN)/shiftlead down

check: .venv/.test-ready ## style, types and the direction of the imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@mkdir -p .build && ln -sfn .. .build/shiftlead
	@MYPYPATH=.build $(BIN)/mypy --strict $(addprefix -p ,$(PACKAGES))
	@$(BIN)/lint-imports

test: check ## check, and every test
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not quiet"
	@$(BIN)/pytest -m quiet

lock: ## write both lock files anew from pyproject.toml (needs uv)
	@compile() { echo 'setuptools>=77' > .build/build.in; uv pip compile --universal --python-version 3.11 \
	    --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet "$$@"; }; \
	mkdir -p .build; \
	compile pyproject.toml .build/build.in --upgrade -o requirements.lock; \
	compile pyproject.toml --extra test -c requirements.lock --upgrade -o tests/requirements.lock \
	    $$(sed -n 's/^\([A-Za-z0-9_.-]*\)==.*/--no-emit-package \1/p' requirements.lock)

clean: ## remove .venv and whatever the tools left behind
	@rm -rf .venv .build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.python:
	@find_python() { \
	    for python in "$$@"; do \
	        if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	            command -v "$$python"; return; \
	        fi; \
	    done; \
	    echo "Shiftlead needs Python 3.11 or newer, and found none: $$*." >&2; \
	    echo "Install one, or name it: make demo PYTHON=/path/to/python3.12" >&2; \
	    return 1; \
	}; \
	python="$$(find_python $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.14 python))"; \
	echo "Setting up .venv with $$("$$python" --version) (once) ..."; \
	rm -rf .venv; \
	if ! problem="$$("$$python" -m venv .venv 2>&1)"; then \
	    echo "$$problem" >&2; rm -rf .venv; \
	    echo "$$python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	    exit 1; \
	fi; \
	touch $@

.venv/.locked: .venv/.python requirements.lock
	@$(INSTALL) -r requirements.lock
	@$(COMPILE)
	@touch $@

.venv/.ready: .venv/.locked pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/.test-ready: .venv/.ready tests/requirements.lock
	@$(INSTALL) -r tests/requirements.lock
	@$(COMPILE)
	@touch $@
