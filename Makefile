# `make bench` and `make test` are all a user needs. Each creates the environment it needs, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?= bnsuite
BASE_IMAGE ?=
BASE_DIGEST = $(filter sha256:%,$(subst @, ,$(BASE_IMAGE)))
BENCH_FLAGS ?= --device auto
GPU_CHECK_S ?= 600
GPU_PROOFS_S ?= 3600
GPU_CHECK_FLAGS ?=
KIT_PYTHON ?= 3.12
KIT_DATA ?= $(BNSUITE_DATA)
RUN ?= results/latest
SCALING_DEVICE ?= cpu

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' suite/bnsuite/__init__.py)
REVISION = $(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)

.PHONY: help setup setup-test bench test check lint types image image-run image-test overhead bench-loops characteristic proofs faults gpu-check gpu-proofs gpu-kit scaling defects reference docs accept lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(VENV)/.bench ## create .venv from the lock, once

setup-test: $(VENV)/.test

bench: setup ## measure this machine and print the verdict table (BENCH_FLAGS, such as "--profile full")
	$(BIN)/bnsuite $(BENCH_FLAGS)

test: setup-test ## run the tests, without the slow ones (make proofs)
	$(BIN)/pytest

check: lint types test ## run lint, types and test

lint: setup-test ## check format and rules with ruff
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup-test ## check types with mypy --strict
	$(BIN)/mypy

# A digest is a label only if BASE_IMAGE has one: none is looked up.
image: ## build the image (BASE_IMAGE, best with its @sha256 digest; IMAGE, DOCKER_FLAGS)
	docker build $(DOCKER_FLAGS) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
	  $(if $(BASE_DIGEST),--label org.opencontainers.image.base.name=$(firstword $(subst @, ,$(BASE_IMAGE))) \
	  --label org.opencontainers.image.base.digest=$(BASE_DIGEST)) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(IMAGE) .

image-run: ## run the image on the CPU without network, read-only; results in results/image
	mkdir -p results/image
	docker run --rm --network none --read-only --tmpfs /tmp:exec --user "$$(id -u):$$(id -g)" \
	  -v "$(CURDIR)/results/image:/results" $(IMAGE) --device cpu

image-test: setup-test ## test the image
	BNSUITE_IMAGE=$(IMAGE) $(BIN)/pytest -s tests/test_image.py tests/test_containers.py tests/test_image_tags.py

overhead: setup-test ## print the time that the harness adds to a step
	$(BIN)/pytest -q -s tests/overhead.py

bench-loops: setup-test ## print the time of an epoch relative to its article's own loop (BNSUITE_DATA)
	$(BIN)/python tests/loops.py

characteristic: setup-test ## print false-alarm and detection rates of the convergence gate
	PYTHONPATH=tests $(BIN)/python tests/characteristic.py

proofs: setup-test ## run the slow tests
	$(BIN)/pytest -s -m slow

faults: setup-test ## inject every fault and print which check finds it
	PYTHONPATH=tests $(BIN)/python tests/detection.py

gpu-check: setup-test ## check a GPU in ten minutes (GPU_CHECK_S; GPU_CHECK_FLAGS="--device cpu" rehearses it)
	$(BIN)/python tests/gpu_check --seconds $(GPU_CHECK_S) $(GPU_CHECK_FLAGS)

gpu-proofs: setup-test ## run every check of the full profile on a GPU, within GPU_PROOFS_S
	$(BIN)/python tests/gpu_check --only preflight --only checks --seconds $(GPU_PROOFS_S) $(GPU_CHECK_FLAGS)

gpu-kit: setup-test ## gather what an offline GPU host lacks into build/gpu-kit (KIT_PYTHON, KIT_DATA)
	PYTHONPATH=tests $(BIN)/python -m gpu_kit --python $(KIT_PYTHON) $(if $(KIT_DATA),--data "$(KIT_DATA)")

scaling: setup-test ## time steps of 1 and 2 ranks, and of 4 that share cores, and write docs/results/distributed.md
	$(BIN)/bnsuite --device $(SCALING_DEVICE) --profile full -k 'distributed/ and not ranks=4 and not ranks=8' --out results/scaling || true
	$(BIN)/bnsuite --device $(SCALING_DEVICE) --profile full -k 'distributed/ and ranks=4' --oversubscribe --out results/scaling-4 || true
	PYTHONPATH=tests $(BIN)/python tests/scaling.py results/scaling results/scaling-4

defects: setup-test ## regenerate docs/defects.md from the catalogue
	PYTHONPATH=tests $(BIN)/python tests/defects.py

reference: setup-test ## regenerate the pages of docs/reference that are made from the code
	PYTHONPATH=tests $(BIN)/python -m pages

docs: setup-test ## build the documentation site into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

accept: setup ## make a run the baseline (RUN, default: results/latest)
	$(BIN)/bnsuite accept $(RUN)

lock: ## regenerate the locks from pyproject.toml and requirements/pins.txt (needs uv)
	cd requirements && for extra in test bench; do \
	  uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	    --fork-strategy fewest --no-annotate --custom-compile-command "make lock" ../pyproject.toml \
	    $$([ $$extra = test ] && echo "--extra test -c pins.txt" || echo "-c test.txt") -o $$extra.txt; done

clean: ## remove everything that make created: environment, results, caches
	rm -rf $(VENV) results build docs/_build .benchmarks .pytest_cache .mypy_cache .ruff_cache suite/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "make: $(PYTHON) is not Python 3.10 to 3.13; name another with PYTHON=python3.x" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot create a virtual environment; apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The stamp prevents a second installation; a newer lock or pyproject.toml causes one.
$(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
