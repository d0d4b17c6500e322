# make demo | test | check | bench; IMAGE=/path/scan.nii.gz makes the demo segment that scan instead of phantoms.
PYTHON ?= python3
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || echo 2)
BIN := .venv/bin

.PHONY: demo test check bench
demo: .venv/ready
	PYTHON=$(BIN)/python IMAGE="$(IMAGE)" bash demo.sh

test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow"

check: .venv/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks --size full

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@
