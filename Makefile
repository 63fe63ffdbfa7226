# The targets of a checkout. `make help` lists them.
# Choose another interpreter with: make test PYTHON=python3.12
# Tests run in JOBS processes side by side, a file in one of them; with JOBS=0 in pytest's own, as --pdb needs it.

PYTHON ?= python3
VENV ?= .venv
STATE ?= .run
CLUSTER ?= cluster.example.yml
JOBS ?= 4
ARGS ?=

SHELL := /bin/sh
.DEFAULT_GOAL := help

PYTHON_VERSION := $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
STAMP := $(VENV)/set-up-with-$(PYTHON_VERSION)
BIN := $(VENV)/bin

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# ---- set-up: done once, and again when what it installs or the interpreter changes

$(STAMP): pyproject.toml pyclient/pyproject.toml scripts/set_up
ifeq ($(PYTHON_VERSION),)
	@echo "$(PYTHON) is not a Python that runs here. Name another one: make test PYTHON=python3.12" >&2; exit 1
endif
	@$(PYTHON) scripts/set_up --venv $(VENV)
	@touch $@

.PHONY: set-up
set-up: $(STAMP)  ## make the virtual environment and install both distributions into it

# ---- run

.PHONY: run
run: $(STAMP)  ## start three nodes on loopback; Ctrl-C stops them, their state stays in .run
	@$(BIN)/python scripts/run_cluster --cluster $(CLUSTER) --state $(STATE)

# ---- check

.PHONY: test
test: $(STAMP)  ## run the tests; ARGS go to pytest: make test ARGS='-k raft -x'
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: floor
floor:  ## test the client with the oldest versions of what it needs; ARGS go to pytest
	@$(PYTHON) scripts/test_floor -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: integration
integration: $(STAMP)  ## crash, pause and restart real nodes, and print figures; ARGS: names of scenarios
	@$(BIN)/python scripts/integration $(ARGS)

.PHONY: losses
losses: $(STAMP)  ## 100 holders that are paused, 100 that are cut off: who knows of the loss first; ARGS: --runs N
	@$(BIN)/python -m tests.integration.losses $(ARGS)

.PHONY: simulate
simulate: $(STAMP)  ## 500 simulated clusters in trouble; ARGS: --first SEED --seeds N --nodes 5 --mutant FAULT
	@$(BIN)/python -m tests.simulation.run --seeds 500 $(ARGS)

.PHONY: mutants
mutants: $(STAMP)  ## switch the defences off, one at a time, and see the simulator find each
	@$(BIN)/python -m tests.simulation.run --hunt --seeds 1000 $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP)  ## ten minutes of bad input for each surface; ARGS: --surface rpc|peers|disk|connections --seconds N --seed N
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

.PHONY: bench
bench: $(STAMP)  ## measure one lock and fail-over, about a minute; ARGS: for bench/one_lock.py, such as --rounds
	@$(BIN)/python bench/one_lock.py $(ARGS)
	@$(BIN)/python bench/failover.py

.PHONY: bench-many
bench-many: $(STAMP)  ## measure 100,000 held locks and their end, under two minutes; ARGS: --locks, --sessions
	@$(BIN)/python bench/many_locks.py $(ARGS)

.PHONY: bench-greedy
bench-greedy: $(STAMP)  ## measure what a caller that asks for all does to another one, about two minutes; ARGS: --kind
	@$(BIN)/python bench/greedy.py $(ARGS)

.PHONY: lint
lint: $(STAMP)  ## style, types, who imports whom, generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_proto --check

.PHONY: format
format: $(STAMP)  ## let ruff rewrite the sources in the house's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: proto
proto:  ## make the generated code again from lockd/proto/*.proto
	@$(PYTHON) scripts/generate_proto

# ---- tidy

.PHONY: clean
clean:  ## remove the environments, the state of make run, and caches
	rm -rf $(VENV) $(STATE) .proto-venv .floor-venv build dist pyclient/build pyclient/dist *.egg-info pyclient/*.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .import_linter_cache
	find lockd pyclient tests -name __pycache__ -type d -prune -exec rm -rf {} +
