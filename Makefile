# Two commands do everything on a fresh machine with Python ≥ 3.11 and make: `make demo`, `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q
# Whoever is measured takes three times as long: only the tests of the pure packages' own rooms are,
# but for those that run long histories (tests/conftest.py).
PURE   := assets consensus ledger market

.PHONY: help demo test check fmt lock nightly model simulate mutants papers link-failure p4-consensus targets bench clean setup
.DEFAULT_GOAL := help

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (once) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vppd needs Python 3.11 or newer; try: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.ready

demo: $(VENV)/.ready  ## A whole trading day: one operator, four DERs, real processes (about a minute)
	@$(BIN)/vppd dev -n 5 --exit

test: $(VENV)/.ready  ## Every test, in parallel; the pure packages with coverage by their own tests
	@$(PYTEST) $(PURE:%=tests/%) -m measured --cov --cov-report=
	@$(BIN)/python -m coverage report --include='vppd/assets/*,vppd/consensus/*,vppd/ledger/*,vppd/market/*' --fail-under=95
	@$(PYTEST) tests -m "not measured"

check: $(VENV)/.ready  ## Lint, format, strict types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_architecture.py

fmt: $(VENV)/.ready  ## Format
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

nightly: $(VENV)/.ready  ## The long run (hours): thousands of seeds, twins, fuzzing, kills; writes docs/nightly.md
	@$(BIN)/python -m tests.nightly

model: $(VENV)/.ready  ## Models of the protocol, shipped and broken rules; installs spin where missing (SPIN=skip: without)
	@$(BIN)/python -m spec

simulate: $(VENV)/.ready  ## 300 seeded clusters of 1 to 10 nodes with all faults
	@for n in 1 2 3 4 5 6 7 8 9 10; do $(BIN)/vppd simulate -n $$n --seeds $$((n*30-29))..$$((n*30)) || exit 1; done

mutants: $(VENV)/.ready  ## Break the consensus core and the gate in a hundred places: a test must notice each (writes docs/mutants.md)
	@$(BIN)/python -m tests.mutants --write

papers: $(VENV)/.ready  ## The papers' experiments again, on daemons and in the simulator (writes bench/results)
	@for e in fig12 fig13 fig14 fig15 day; do $(BIN)/vppd bench paper $$e --real && $(BIN)/vppd bench paper $$e --sim || exit 1; done
	@for e in dpos cda; do $(BIN)/vppd bench paper $$e || exit 1; done

link-failure: $(VENV)/.ready  ## One DER's link failing in 0 to 100 % of heights, BNCM against PBFT (about an hour)
	@$(BIN)/python bench/link_failure.py

p4-consensus: $(VENV)/.ready  ## Malicious agents under votes by stake and under the composite score (three minutes)
	@$(BIN)/python bench/p4_consensus.py

targets: $(VENV)/.ready  ## What one machine comes to against its limits, five runs each (forty minutes); writes bench/results/targets
	@$(BIN)/python bench/targets.py

bench: $(VENV)/.ready  ## Micro-benchmarks of every room, beside the last results (two minutes); writes bench/results/micro
	@$(BIN)/python -m vppd.bench.micro --full --out bench/results/micro

lock: $(VENV)/.ready  ## Rewrite requirements.lock from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --all-extras --group dev pyproject.toml -o requirements.lock

clean:  ## Remove the environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage* demo
