# make demo | test | test-monailabel | check | bench. Each sets up .venv on its first call.
# make demo IMAGE=/path/scan.nii.gz segments your own image; BUNDLE=casnet_bundle takes that method, not the one that fits.
PYTHON ?= python3
# MONAI's warnings to developers are left out; ours to users are shown
RUN := $(CURDIR)/.venv/bin/python -W ignore::FutureWarning -W ignore::DeprecationWarning
BUNDLE ?= casnet_bundle
CASES ?= 2
SEED ?= 90000# no training has used it
PHANTOM := $(if $(filter syncas_bundle,$(BUNDLE)),--modality ncct,--shape 256,256,224 --spacing 0.45)
XCA := $(filter casrnet_bundle svsnet_bundle,$(BUNDLE))# X-ray angiograms, else CT

.PHONY: demo test test-monailabel check bench
ifdef IMAGE
demo: .venv/ready
	$(RUN) -m common segment "$(IMAGE)" --out demo $(if $(filter file,$(origin BUNDLE)),,--bundle $(BUNDLE))
else ifneq ($(XCA),)
demo: .venv/ready
	$(RUN) -m common phantom demo/data --modality xca --cases $(CASES) --seed $(SEED) --validation 0 --test 1 --workers 2
	cd bundles/$(BUNDLE) && $(RUN) -m monai.bundle run --config_file configs/inference.yaml --dataset_dir $(CURDIR)/demo/data/images --output_dir $(CURDIR)/demo/masks
	cd bundles/$(BUNDLE) && $(RUN) -m monai.bundle run evaluating --config_file configs/evaluate.yaml --dataset_dir $(CURDIR)/demo/data --output_dir $(CURDIR)/demo
	mv demo/masks/*_film.gif demo
else
demo: .venv/ready
	$(RUN) -m common phantom demo/data --cases $(CASES) --seed $(SEED) $(PHANTOM) --validation 0 --test 1 --workers 2
	cd bundles/$(BUNDLE) && $(RUN) -m monai.bundle run --config_file configs/inference.yaml --dataset_dir $(CURDIR)/demo/data/images --output_dir $(CURDIR)/demo/masks --overlap 0.25
	$(RUN) -m common evaluate demo/masks demo/data/labels demo && mv demo/summary.json demo/metrics.json
	$(RUN) -m common preview demo/data/images demo/masks demo --label demo/data/labels
endif
	@echo "Look at the pictures in demo/"

test: .venv/ready
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n 2 --dist loadfile -m "not slow"

test-monailabel: .venv-monailabel/ready
	OMP_NUM_THREADS=1 .venv-monailabel/bin/python -m pytest -q -m monailabel tests/monailabel

check: .venv/ready
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	.venv/bin/black --check common bundles && .venv/bin/isort --check common bundles  # as the model zoo checks what zips hold
	.venv/bin/flake8 --max-line-length 120 --extend-ignore E203,W503,E704 common bundles

bench: .venv/ready
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks --size full

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable ".[dev]"
	touch $@

.venv-monailabel/ready: tests/monailabel/make_venv.sh $(wildcard tests/monailabel/stubs/*/pyproject.toml)
	PYTHON=$(PYTHON) tests/monailabel/make_venv.sh .venv-monailabel
	touch $@
