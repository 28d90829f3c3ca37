# make demo   stylize the bundled photos into out/
# make test   lint, types, import layers, tests
# Both make .venv and install into it first. Another Python: make test PYTHON=python3.12
# torch from another index, for a CPU or a CUDA build: make demo PIP_ARGS="--extra-index-url URL"

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/installed
	$(BIN)/stylecli stylize src/stylecli/photos out

test: lint
	$(BIN)/pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): torch is large, this takes minutes"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): torch is large, this takes minutes"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) out dist
