# Two commands do everything: `make run` opens the workshop, `make test` proves it. Each is safe to repeat.
.DEFAULT_GOAL := help
.PHONY: help run demo test check docs clean
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
FREE_MIB_NEEDED := 5000

help:  ## show this
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

run: .venv/ready  ## install, fetch the base model, fill the sample dataset, open the app
	@$(BIN)/python -m factory serve

demo: .venv/ready  ## the whole line in this terminal: data in, adapter and credits out
	@$(BIN)/python -m factory demo

test: .venv/ready-for-tests .venv/browser  ## every test: fast ones, real training, a real browser
	@$(BIN)/ruff check . && $(BIN)/mypy
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not browser"
	@$(BIN)/python -m pytest -m "slow or browser"

check: .venv/ready-for-tests  ## format, lint, types, shape, docs, fast tests: a few minutes
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not browser"

docs: .venv/ready  ## print the generated pages of docs/ anew
	@$(BIN)/python -m factory.reference

clean:  ## remove the virtual environment; data stays
	rm -rf .venv

.venv/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Model Factory needs Python 3.11 or newer. Install one, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; fi
	@free=$$(df -Pm . | awk 'NR == 2 {print $$4}'); if [ "$$free" -lt $(FREE_MIB_NEEDED) ]; then \
		echo "This disk has $$free MiB free, and the packages and the base model need $(FREE_MIB_NEEDED); free some space and try again."; exit 1; fi
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "Python could not make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@

.venv/ready: requirements.txt | .venv/python
	@echo "Installing the packages of requirements.txt: a minute or two, once."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt || { \
		echo "The packages could not be installed. Is the network (or the disk) there? Look above, then run the same command again."; exit 1; }
	@touch $@

.venv/ready-for-tests: requirements-dev.txt .venv/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt || { \
		echo "The packages for tests could not be installed. Is the network there? Look above, then run the same command again."; exit 1; }
	@touch $@

# A browser for the tests: the system's; else Debian's when we are root; else the one that Playwright brings.
.venv/browser: .venv/ready-for-tests
	@if command -v chromium chromium-browser google-chrome >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the browser tests."; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null; \
	else $(BIN)/playwright install chromium; fi || { \
		echo "No browser could be installed for the tests; install Chromium, then run make test again."; exit 1; }
	@touch $@
