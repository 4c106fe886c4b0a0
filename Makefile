# Two commands for a newcomer: `make demo` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One test process per core, at most four, a file at a time: tests of one file share models and clusters. JOBS=0: no workers.
# Files in the order of tests/conftest.py, the longest first: xdist would begin with those of most tests.
JOBS ?= logical
SPREAD := -n $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# The oldest libraries supported, in front of those of $(VENV): what constraints-oldest.txt does not name is shared.
OLDEST := $(VENV)-oldest
SITE := -c 'import site; print(site.getsitepackages()[0])'
OLDEST_TESTS := $(addprefix tests/,activations cli generation method model \
	jobs/test_architectures.py jobs/test_prune_to_adapter.py)
CHECK := PYTHONPATH=scripts $(BIN)/python -m checks

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-oldest test-slow walk faults coverage lint format docs clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints-cpu.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints-cpu.txt --editable '.[dev]'
	touch $(READY)

$(OLDEST)/.ready: $(READY) constraints-oldest.txt
	$(BIN)/python -m venv --clear $(OLDEST)
	echo "import site; site.addsitedir('$$($(BIN)/python $(SITE))')" > "$$($(OLDEST)/bin/python $(SITE))/shared.pth"
	$(OLDEST)/bin/python -m pip install --quiet --requirement constraints-oldest.txt
	touch $@

demo: $(READY)  ## Fix a small published model and show it before and after: 16 minutes on two slow cores, once set up.
	$(BIN)/prosafeprune demo --overwrite

test: $(READY)  ## Run all tests that need no real model, one process per core (JOBS=0 for one process).
	$(BIN)/python -m pytest $(SPREAD)

test-fast: $(READY)  ## Run those of them that take seconds.
	$(BIN)/python -m pytest $(SPREAD) -m "not slow and not browser and not long"

test-oldest: $(OLDEST)/.ready  ## Run tests of models with the oldest supported libraries, torch apart.
	$(OLDEST)/bin/python -m pytest $(SPREAD) -m "not slow and not browser and not long" $(OLDEST_TESTS)

test-slow: $(READY)  ## Run the tests that need real models, notebooks or Chromium, and those for GPUs on the CPU.
	$(BIN)/python -m pytest -m "slow or browser"
	PROSAFEPRUNE_GPU_TEST_DEVICE=cpu $(BIN)/python -m pytest -m gpu tests/gpu

walk: $(READY)  ## Run every command that README and guides show, on tiny models.
	$(BIN)/python -m pytest -m slow tests/slow/test_walk.py

faults: $(READY)  ## Run the long fault campaign: kills, bad inputs, hostile text, full disks.
	PYTHONPATH=src:tests:scripts $(BIN)/python -m fault_campaign

coverage: $(READY)  ## Run the tests of make test and report which lines and branches they reach.
	$(BIN)/python -m pytest $(SPREAD) --cov --cov-report=term

lint: $(READY)  ## Check style, types, import contracts, and wording.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(CHECK).wording

format: $(READY)  ## Let ruff rewrite the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## Build the documentation site into site/, strictly.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## Remove everything that the other targets made.
	rm -rf $(VENV) $(OLDEST) demo-output build dist site .coverage .coverage.*
