# `make run` and `make test` do all their own set-up; install nothing before.
#
#   PYTHON=python3.11   use this Python, not the newest tested one that is installed
#   ACCEL=cpu           use cpu, cuda12, cuda13 or tpu, not the accelerator that is found
#
# `make run DATA=scans` inspects your own images, trains a network that fits them and evaluates it.
#
#   TASK=classify       train gan, unet or classify, not what fits
#   ARGS='--restart'    more flags of launch.py; settings need TASK, too

MAKEFLAGS += --no-builtin-rules
.NOTPARALLEL:  # all targets write into one environment
VENV ?= .venv
BIN = $(VENV)/bin
ifneq ($(word 2,$(VENV)),)
$(error VENV is "$(VENV)", but its path must not have spaces)
endif

# Each has a file in constraints/; looked for on the PATH, then among pyenv's. The whole suite runs
# on the suite's at every change, a short look on the newest.
TESTED = 3.13 3.12 3.11
SUITES = 3.11 3.12 3.13
ifndef PYTHON
PYTHON = $(call python,$(TESTED))
test: PYTHON = $(call python,$(SUITES))
endif
NEWER = $(call find_python,$(filter-out $(firstword $(SUITES)),$(TESTED)))
python = $(or $(call find_python,$(1)),$(error found none of the Pythons $(1): set PYTHON=path))
find_python = $(shell for python in $(foreach version,$(1),python$(version) \
	"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(version).*[0-9]/bin/python); do \
	"$$python" -c "import ensurepip" 2>/dev/null && command -v "$$python" && break; done)

# The versions that were tested with the environment's Python.
CONSTRAINTS ?= constraints/$$($(BIN)/python -c "import sys; print('%d.%d' % sys.version_info[:2])").txt
# Python compiles what is imported when it is; to compile all was 32 of 59 s of an installation's CPU
# time.
PIP = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint $(CONSTRAINTS)

# What is imported is compiled once, not by each program that a test starts.
export PYTHONDONTWRITEBYTECODE =

# More than two cores have to do: some tests wait for programs that they have started.
PYTEST = $(BIN)/python -m pytest -n 4 --dist worksteal

ifeq ($(ACCEL),cpu)  # even if packages of another one are installed
export JAX_PLATFORMS = cpu
endif
ACCEL ?= $(shell "$(PYTHON)" -m common.devices.accelerator)
ACCELS = cpu cuda12 cuda13 tpu
accel = $(or $(filter $(ACCELS),$(1)),$(error ACCEL is "$(1)"; it must be one of: $(ACCELS)))

.PHONY: run test quick checks suite coverage smoke test-lowest test-newest bench site clean install

ifneq ($(DATA)$(filter command,$(origin DATA)),)  # given, if only as an empty word
export DATA  # so that the shell does not interpret it
run: install $(addprefix $(VENV)/.installed-,dicom nifti pictures)
	$(BIN)/python launch.py --mode=run --input="$$DATA" $(TASK:%=--config=configs/%.py) $(ARGS)
else
# Chosen on phantoms (docs/quality.md), of which there are as many as slices of COVID-CT to train on.
OF_PHANTOMS = --config.loss.class_weight=0.5 --config.loss.class_of_generated=False
run: install
	$(BIN)/python launch.py --config=configs/acgan_covid_best.py --config.train.num_steps=1250 \
	--config.data.num_phantoms=425 $(OF_PHANTOMS) --workdir=runs/phantoms
	$(BIN)/python launch.py --mode=evaluate --truncation=0.85 --workdir=runs/phantoms
endif

test:  # beside the suite the checks and, where there is a newer Python, the smoke test
	$(if $(NEWER),$(MAKE) smoke & newer=$$!;) \
	$(MAKE) install $(VENV)/.installed-test PYTHON="$(PYTHON)" && { \
		$(MAKE) checks PYTHON="$(PYTHON)" & checks=$$!; \
		$(MAKE) suite PYTHON="$(PYTHON)"; suite=$$?; \
		wait $$checks && (exit $$suite); \
	}; rest=$$?; wait $$newer && exit $$rest

quick: install checks  # before each commit, in three minutes
	$(PYTEST) $$($(BIN)/python -m tests.near)

checks: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

suite: $(VENV)/.installed-test
	-$(BIN)/python -m pytest --collect-only --quiet > /dev/null  # compiles what all workers import
	$(PYTEST)

coverage: $(VENV)/.installed-coverage  # the suite, and which lines it does not run
	$(PYTEST) --cov --cov-report=term

smoke:  # with what users have where a Python is found that is newer than the suite's
	$(MAKE) .venv-smoke/.installed-cpu VENV=.venv-smoke PYTHON="$(NEWER)"
	.venv-smoke/bin/python tests/smoke.py

# The suite with the lowest versions that pyproject.toml allows, and with the newest there are.
test-lowest:
	$(MAKE) suite VENV=.venv-lowest PYTHON="$(call python,3.11)" CONSTRAINTS=constraints/lowest.txt

test-newest: test-newest-3.12 test-newest-3.13

test-newest-%:
	rm -f .venv-newest-$*/.installed-test
	PIP_UPGRADE=1 PIP_UPGRADE_STRATEGY=eager \
	$(MAKE) suite VENV=.venv-newest-$* PYTHON="$(call python,$*)" CONSTRAINTS=/dev/null

bench: install $(VENV)/.installed-bench
	$(BIN)/python bench/table.py

site: $(VENV)/.installed-docs  # the documents as pages: open build/site/index.html
	$(BIN)/python docs/site/gather.py build/docs
	$(BIN)/zensical build --clean --strict

install:  # the only target that looks at the hardware
	@$(MAKE) --no-print-directory $(VENV)/.installed-$(call accel,$(ACCEL)) PYTHON="$(PYTHON)"

$(VENV)/.installed-%: pyproject.toml $(wildcard constraints/*.txt)
	test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV)
	$(PIP) --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv* $(VENV) runs build .cache
