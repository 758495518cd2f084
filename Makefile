# One entry for people and for CI. `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := bash
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo python3 -m uv)
WORKERS ?= 2

.PHONY: help demo test chaos check bench bench-peers bench-loops bench-prompts bench-schemas bench-burst docs wheel-check fmt

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Everything below needs the environment; the lock file decides what is in it.
.venv/.synced: pyproject.toml uv.lock
	@# Some systems keep pip out of their own packages unless told otherwise.
	@$(UV) --version >/dev/null 2>&1 || python3 -m pip install --quiet uv 2>/dev/null \
	  || python3 -m pip install --quiet --user --break-system-packages uv
	$(UV) sync --frozen
	@touch $@

demo: .venv/.synced  ## watch a runaway agent spend, then watch it stop at its cap (offline)
	$(BIN)/tokenguard demo

test: .venv/.synced  ## run every test, README, docs and examples included, and check the coverage gates
	@# By file: the blocks of one document go on where the one before ended.
	@# Each run starts from nothing, or the gate would judge lines that are gone.
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report= $(PYTEST)
	$(BIN)/python -m coverage json --quiet -o .coverage.json
	$(BIN)/python scripts/coverage_gate.py .coverage.json

ROUNDS ?= 300
SEED ?= 0
chaos: .venv/.synced  ## kill, restart and cut off eight processes at random, ROUNDS=300 times on each database
	$(BIN)/python -W ignore scripts/chaos.py --rounds $(ROUNDS) --seed $(SEED)

check: .venv/.synced  ## formatting, lint, types (mypy and pyright strict), import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright
	@# The cache of the import graph misses modules that appear.
	$(BIN)/lint-imports --no-cache

fmt: .venv/.synced  ## format, and repair what lint can repair
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# One after the other, all of them even where one is below its bar; `make bench BENCHES=lag` runs one.
BENCHES ?= imports price counting ledger busy allowances fleet_curve calls lag memory routing
bench: .venv/.synced  ## measure our own bars, as ratios within one run, and keep the figures in benchmarks/results
	@failed=""; for name in $(BENCHES); do \
	  options=--write; test $$name != memory || options="--write --million"; \
	  echo "== $$name"; LITELLM_LOCAL_MODEL_COST_MAP=True $(BIN)/python -W ignore benchmarks/$$name.py $$options \
	    || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "below their bar:$$failed"; exit 1; }

.venvs/peers/.synced: benchmarks/peers/requirements.txt
	$(UV) venv --quiet --clear .venvs/peers
	$(UV) pip install --quiet --python .venvs/peers/bin/python -r benchmarks/peers/requirements.txt
	@touch $@

bench-peers: .venv/.synced .venvs/peers/.synced  ## run other budget guards through the same race, side by side
	$(BIN)/python -W ignore benchmarks/peers/race.py .venvs/peers/bin/python --write

bench-loops: .venv/.synced  ## measure the repetition rules on the recorded runs in ../shared, beside other projects' rules
	$(BIN)/python -W ignore benchmarks/loops.py --write

.venvs/prompts/.synced: benchmarks/prompts/requirements.txt
	$(UV) venv --quiet --clear .venvs/prompts
	$(UV) pip install --quiet --python .venvs/prompts/bin/python -r benchmarks/prompts/requirements.txt
	@touch $@

bench-burst: .venv/.synced  ## a recorded burst over three replicas and a cloud, beside LiteLLM's Router (6 minutes)
	LITELLM_LOCAL_MODEL_COST_MAP=True $(BIN)/python -W ignore benchmarks/burst.py --write

bench-prompts: .venv/.synced .venvs/prompts/.synced  ## measure folding: tokens beside other formats, dollars in replays, the accuracy kit
	@failed=""; for name in "fold_json .venvs/prompts/bin/python" fold_text fold_speed fold_dollars accuracy; do \
	  set -- $$name; echo "== $$1"; \
	  LITELLM_LOCAL_MODEL_COST_MAP=True $(BIN)/python -W ignore benchmarks/$$1.py $$2 --write || failed="$$failed $$1"; \
	done; test -z "$$failed" || { echo "below their bar:$$failed"; exit 1; }

.venvs/schemas/.synced: benchmarks/peers/schemas-requirements.txt
	$(UV) venv --quiet --clear .venvs/schemas
	$(UV) pip install --quiet --python .venvs/schemas/bin/python -r benchmarks/peers/schemas-requirements.txt
	@touch $@

bench-schemas: .venv/.synced .venvs/schemas/.synced  ## count the tokens of schemas and tools in a prompt, beside BAML
	$(BIN)/python -W ignore benchmarks/schemas.py .venvs/schemas/bin/python --write

docs: .venv/.synced  ## build the documentation site into site/
	$(UV) run --frozen --group docs mkdocs build --strict

wheel-check: .venv/.synced  ## sdist, wheel from the sdist, clean environment, smoke test
	$(BIN)/python scripts/wheel_check.py
