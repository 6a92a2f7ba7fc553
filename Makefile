# `make run` and `make test` do all their own set-up; nothing needs to be installed before.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test bench clean

run: $(VENV)/.installed
	$(BIN)/python launch.py --config=configs/acgan_covid.py
	$(BIN)/python launch.py --mode=evaluate --workdir=runs/acgan_covid

test: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(VENV)/.installed-bench
	$(BIN)/python bench/table.py

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(PIP) --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) runs
