# Every target installs what it needs into .venv first; nothing else has to be set up.
PYTHON ?= python3
CONFIG ?= workflow/presets/c10.yaml
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(CURDIR)/build/plugins
SNAKEMAKE := $(BIN)/snakemake --cores all --resources gpu=1

# Snakemake needs a cache folder that can be written: this one, if the usual one cannot.
ifneq ($(shell cache="$${XDG_CACHE_HOME:-$$HOME/.cache}"; mkdir -p "$$cache" 2>&1 && test -w "$$cache" || echo no),)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
endif

.DEFAULT_GOAL := help
.PHONY: help install demo verdict rebuild test test-fast test-gpu test-slurm bench chaos verdict-sim check format clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed  ## create .venv with the pipeline and the tools of development

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sign-ablate needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[pipeline,dev]'
	@touch $@

demo: install  ## run the default campaign (config.yaml) to its report
	$(SNAKEMAKE)
	@echo "Report: results/demo/report.html  Table: results/demo/table1.md  Figures: results/demo/figures/"

verdict: install  ## both stages of a campaign that tunes: make verdict CONFIG=workflow/presets/c10.yaml
	$(SNAKEMAKE) tune --configfile $(CONFIG)
	$(SNAKEMAKE) --configfile $(CONFIG)

rebuild: install  ## ledger and report of results/reference from its tables alone, in results/rebuilt
	$(BIN)/sign-ablate rebuild

test: install  ## unit tests, and a tiny campaign through the report
	$(BIN)/python -m pytest -n auto --dist loadgroup

test-fast: install  ## tests of every part in under a minute: all but those marked slow
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow and not gpu"

test-gpu: install  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

test-slurm: $(PLUGINS)/installed  ## campaigns on a SLURM cluster of one node, and on other queues, where they are installed
	PYTHONPATH=$(PLUGINS) $(BIN)/python -m pytest -m cluster

# Not in .venv: where SLURM's commands are installed without a controller, the plugin slows every Snakemake start.
$(PLUGINS)/installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(PLUGINS) \
		snakemake-executor-plugin-slurm snakemake-executor-plugin-slurm-jobstep snakemake-executor-plugin-cluster-generic
	@touch $@

bench: install  ## measure optimizers, engine and overhead against common alternatives; rewrites docs/bench-*.md
	$(BIN)/python -m benchmarks.optim --output docs/bench-optim.md --measurements results/reference/measurements.parquet
	! $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || \
		{ $(BIN)/python -m benchmarks.gpu --output docs/bench-gpu.md && $(BIN)/python -m benchmarks.card --output docs/bench-card.md; }
	$(BIN)/python -m benchmarks.launches --output docs/bench-launches.md
	$(BIN)/python -m benchmarks.generators --output docs/bench-generators.md
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.aggregate
	$(BIN)/python -m benchmarks.collectives
	$(BIN)/python -m benchmarks.overlap

chaos: install  ## kill the default campaign's processes at random; its numbers must not change
	$(BIN)/python -m benchmarks.chaos

verdict-sim: install  ## error rates of the verdicts on simulated campaigns; rewrites docs/verdict-sim.md
	$(BIN)/python -m benchmarks.verdict_sim

check: install  ## formatting, lint, types, drift of generated files, notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/sign-ablate schema --check
	$(BIN)/nbstripout --verify notebooks/*.ipynb
	$(BIN)/snakemake --lint

format: install  ## rewrite what check would complain about, where that can be done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow
	$(BIN)/sign-ablate schema
	$(BIN)/nbstripout notebooks/*.ipynb

clean:  ## remove what make made; results/ stays
	rm -rf $(VENV) build sign_ablate.egg-info .snakemake/cache .mypy_cache .pytest_cache .ruff_cache
