# Two commands are enough: `make sweep` runs the main job, `make test` the tests. Both set everything up by themselves.
# A stamp with the checksum of pyproject.toml remembers an installation. The stamp is written last, so that an interrupted
# or outdated installation is done again; an up-to-date one costs nothing.

VENV := .venv
PYTHON := $(VENV)/bin/python
STUDY := beta_mnist
ARGS :=
# The PyTorch build that set-up installs: `make sweep TORCH=cpu` spares the CUDA libraries (4.5 of 6.3 GB). See uv's --torch-backend.
TORCH :=

SUM := $(shell cksum < pyproject.toml | tr -c '0-9\n' '-')
USABLE := $(shell $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo yes)
INSTALLED := $(VENV)/.installed-$(SUM)
INSTALLED_DEV := $(VENV)/.installed-dev-$(SUM)
INSTALLED_RAY := $(VENV)/.installed-ray-$(SUM)
INSTALLED_BENCH := $(VENV)/.installed-bench-$(SUM)
# uv installs, because it shows progress, is fast, and knows dependency groups (pip before 25.1 does not). Where it is not
# on the PATH, it is installed into $(VENV).
UV = $$(command -v uv || echo $(VENV)/bin/uv)
ADD = $(UV) pip install --python $(PYTHON) $(if $(TORCH),--torch-backend=$(TORCH))

# Otherwise every process would compile the source of all packages anew where this is set, as in many containers: seconds each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install install-dev install-ray sweep test test-all test-benchmarks faults gate lint ui report docs wheel bench bench-gpu curves search-race known-truth clean again
.DEFAULT_GOAL := help

help: ## list what can be made
	@echo 'make TARGET [ARGS="further options"]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-18s%s\n", $$1, $$2}'

install: $(INSTALLED) ## set up .venv to run studies (TORCH=cpu: without CUDA)

install-dev: $(INSTALLED_DEV) ## the same, with what the tests need

install-ray: $(INSTALLED_RAY) ## the same, with Ray, whose tests are skipped without it

sweep: $(INSTALLED) ## run the main study, or continue it (STUDY=beta_mnist, ARGS="--trials 80")
	@$(PYTHON) -P -m vaeexp sweep --study '$(STUDY)' $(ARGS)

report: $(INSTALLED) ## write the report of STUDY again
	@$(PYTHON) -P -m vaeexp report --study '$(STUDY)' $(ARGS)

ui: $(INSTALLED) ## browse the runs in MLflow's pages
	@$(PYTHON) -P -m vaeexp ui $(ARGS)

# Files of tests side by side, the longest first. One more than there are cores, because tests of servers, kills and
# pages wait much; five need about 8 GiB.
TESTERS = $(shell $(PYTHON) -c 'import joblib; print(min(4, joblib.cpu_count()) + 1)')
test: $(INSTALLED_DEV) ## run the tests (ARGS="tests/vaeexp -k prior")
	@$(PYTHON) -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: ## the same, with the slow ones
	@$(MAKE) --no-print-directory test ARGS="-m '' $(ARGS)"

test-benchmarks: ## run the tests of the benchmarks (ARGS="-m ''": the slow ones, too)
	@$(MAKE) --no-print-directory test ARGS="benchmarks/tests $(ARGS)"

faults: $(INSTALLED_DEV) ## kill, fill and damage what a study needs, and count what is lost (ARGS="--committed")
	@$(PYTHON) tests/faults/campaign.py $(ARGS)

gate: $(INSTALLED_DEV) ## compare this working tree with the commit FORMER, to the bit (tests/gate/README.md)
	@$(PYTHON) tests/gate/compare.py '$(FORMER)' $(ARGS)

lint: $(INSTALLED_DEV) ## check style, formatting and types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

docs: $(INSTALLED_DEV) ## write the generated pages of docs/reference again
	@$(PYTHON) docs/reference_pages.py --write

wheel: $(INSTALLED_DEV) ## build dist/vaeexp-*.whl
	@$(UV) build --quiet --wheel --out-dir dist .
	@ls dist/*.whl

# What is measured, and how long each takes: benchmarks/measurements.md. The results lie beside each other, by day and machine.
BENCHMARKS := benchmarks
MEASURED = $(BENCHMARKS)/results/$(shell date +%Y-%m-%d)-$(shell uname -n)

RACED := 'tpe + median' 'curves + promotion' 'optuna: tpe + median' 'ray: asha'

bench: $(INSTALLED_BENCH) ## measure vaeexp against what people use today, on the CPU
	@$(PYTHON) $(BENCHMARKS)/throughput.py --device cpu --json $(MEASURED)/throughput-cpu.json --png $(MEASURED)/throughput-cpu.png $(ARGS)
	@$(PYTHON) $(BENCHMARKS)/sweeps_race.py --images 2000 --epochs 5 --json $(MEASURED)/sweeps.json
	@$(PYTHON) $(BENCHMARKS)/costs.py --repeats 3 --trials 4 --epochs 1 --json $(MEASURED)/costs.json
	@$(PYTHON) $(BENCHMARKS)/driver_cost.py --json $(MEASURED)/driver.json
	@$(PYTHON) $(BENCHMARKS)/evaluation.py --repeats 3 --json $(MEASURED)/evaluation.json
	@PYTHONPATH=. $(PYTHON) $(BENCHMARKS)/search/race.py --out $(MEASURED) --lanes 4 --repeats 10 --methods $(RACED)
	@$(PYTHON) $(BENCHMARKS)/precisions.py --epochs 4 --json $(MEASURED)/precisions.json --png $(MEASURED)/precisions.png

GPU_PYTHON = $(or $(shell command -v $(PYTHON)),python3)
# Nothing is installed for this one: it takes PYTHON, where that is there, else python3, with torch, numpy, pandas and matplotlib.
bench-gpu: ## the first of the benchmarks on a CUDA machine, a profile and the cost of evaluation
	@PYTHONPATH=. $(GPU_PYTHON) $(BENCHMARKS)/throughput.py --device cuda --json $(MEASURED)/throughput-cuda.json --png $(MEASURED)/throughput-cuda.png $(ARGS)
	@PYTHONPATH=. $(GPU_PYTHON) $(BENCHMARKS)/gpu_profile.py --json $(MEASURED)/profile-cuda.json
	@PYTHONPATH=. $(GPU_PYTHON) $(BENCHMARKS)/evaluation.py --device cuda --images 1000 --json $(MEASURED)/evaluation-cuda.json

# Hours of training, which may be stopped at any time and goes on; $(BENCHMARKS)/search/curves.py says what there is.
curves: $(INSTALLED) ## train learning curves that searches are graded on (ARGS="--space A --hours 2")
	@$(PYTHON) $(BENCHMARKS)/search/curves.py $(ARGS)

# Searches of other projects run where they are installed; $(BENCHMARKS)/search/race.py says how to add those that need an environment of their own.
search-race: $(INSTALLED) ## race searches on tables of learning curves (ARGS="--space A --repeats 50")
	@PYTHONPATH=. $(PYTHON) $(BENCHMARKS)/search/race.py --out $(MEASURED) $(ARGS)

# One line per study is kept in $(BENCHMARKS)/results/, so that a run that was stopped goes on.
known-truth: $(INSTALLED_DEV) ## measure how often reports are right where the truth is known (1 to 2 hours of a processor)
	@PYTHONPATH=. $(PYTHON) $(BENCHMARKS)/planted.py $(ARGS)

clean: ## remove caches and builds; the runs, reports and .venv stay
	@rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks *.egg-info
	@find sweeps vaeexp tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

ifneq ($(USABLE),yes)
$(INSTALLED): again
endif

$(INSTALLED):
	@rm -f $(VENV)/.installed-*
	@echo 'Setting up $(VENV). The first time this takes some minutes, because PyTorch is large.'
	@[ '$(USABLE)' = yes ] || if command -v uv >/dev/null; then uv venv --quiet --clear --python '>=3.11' $(VENV); else \
	    found=; for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	        if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo 'make: vaeexp needs Python 3.11 or newer with its venv module (on Debian and Ubuntu: apt install python3-venv).' >&2; \
	        echo "make: python3 here is: $$(python3 --version 2>&1 || true)" >&2; exit 2; \
	    fi; \
	    $$found -m venv --clear $(VENV); \
	fi
	@command -v uv >/dev/null || [ -x $(VENV)/bin/uv ] || { \
	    { $(PYTHON) -m pip --version || $(PYTHON) -m ensurepip; } >/dev/null 2>&1; $(PYTHON) -m pip install -qq --disable-pip-version-check uv; }
	@$(ADD) -e .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo 'Adding to $(VENV) what the tests need.'
	@$(ADD) -e . --group dev
	@touch $@

$(INSTALLED_RAY): $(INSTALLED_DEV)
	@echo 'Adding Ray to $(VENV).'
	@$(ADD) -e '.[ray]' --group dev
	@touch $@

$(INSTALLED_BENCH): $(INSTALLED_DEV)
	@echo 'Adding to $(VENV) what vaeexp is measured against.'
	@$(ADD) -e . --group dev --group bench
	@touch $@
