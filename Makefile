# Two commands are enough: `make bench` and `make test`. Each makes the environment it needs, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?= bnsuite
BASE_IMAGE ?=
BENCH_FLAGS ?= --device auto
RUN ?= results/latest

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' suite/bnsuite/__init__.py)
REVISION = $(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)

.PHONY: help setup setup-test bench test check lint types image image-run image-test overhead bench-loops characteristic proofs faults gpu-check defects accept lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.bench ## make .venv from the lock, once

setup-test: $(VENV)/.test

bench: setup ## measure this machine and print the verdict table (BENCH_FLAGS, such as "--profile full")
	$(BIN)/bnsuite $(BENCH_FLAGS)

test: setup-test ## run the tests but those that take minutes (make proofs)
	$(BIN)/pytest

check: lint types test ## lint, types and tests

lint: setup-test ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup-test ## mypy --strict on the package
	$(BIN)/mypy

image: ## build the image (BASE_IMAGE, IMAGE, DOCKER_FLAGS)
	docker build $(DOCKER_FLAGS) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(IMAGE) .

image-run: ## run the image on the CPU, cut off from everything; results in results/image
	mkdir -p results/image
	docker run --rm --network none --read-only --tmpfs /tmp --user "$$(id -u):$$(id -g)" \
	  -v "$(CURDIR)/results/image:/results" $(IMAGE) --device cpu

image-test: setup-test ## run the tests of the image
	BNSUITE_IMAGE=$(IMAGE) $(BIN)/pytest -s tests/test_image.py tests/test_containers.py

overhead: setup-test ## print what the harness adds to a step
	$(BIN)/pytest -q -s tests/overhead.py

bench-loops: setup-test ## print an epoch of a workload against its article's own loop (BNSUITE_DATA)
	$(BIN)/python tests/loops.py

characteristic: setup-test ## print how often the convergence gate rings falsely, and finds slower learning
	PYTHONPATH=tests $(BIN)/python tests/characteristic.py

proofs: setup-test ## run the tests that take minutes
	$(BIN)/pytest -s -m slow

faults: setup-test ## plant every fault and print which check finds it
	PYTHONPATH=tests $(BIN)/python tests/detection.py

gpu-check: setup-test ## run every test that needs a GPU, and print how the clock agrees with triton's
	$(BIN)/pytest -s -m gpu tests/test_gpu.py

defects: setup-test ## write docs/defects.md anew from the catalogue
	PYTHONPATH=tests $(BIN)/python tests/defects.py

accept: setup ## make a run the baseline (RUN, default: the last one)
	$(BIN)/bnsuite accept $(RUN)

lock: ## make the locks anew from pyproject.toml and requirements/pins.txt (needs uv)
	cd requirements && for extra in test bench; do \
	  uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	    --fork-strategy fewest --no-annotate --custom-compile-command "make lock" ../pyproject.toml \
	    $$([ $$extra = test ] && echo "--extra test -c pins.txt" || echo "-c test.txt") -o $$extra.txt; done

clean: ## remove what make made: environment, results, caches
	rm -rf $(VENV) results build .benchmarks .pytest_cache .mypy_cache .ruff_cache suite/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "make: $(PYTHON) is not Python 3.10 to 3.13; name another with PYTHON=python3.x" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make a virtual environment; apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The stamps hold back a second installation; the lock and the package's own metadata call for one.
$(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
