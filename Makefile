# For a newcomer: `make demo` (the headline table), `make tables` (every table) and `make test`. All make the environment
# first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Stages call `python` and `dvc` by name: the environment comes first on PATH.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: install demo tables test images lint format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The report stage alone, whatever else was run. Tables that came with the repository may need no new run; the page does.
REPORT = dvc repro --force --single-item report && echo
# This machine's numbers beside the committed ones, where there is a commit; that some differ is a result, not a failure.
COMPARE = { ! git rev-parse --quiet --verify HEAD > /dev/null 2>&1 || dlcr compare || [ $$? = 3 ]; } && \
	echo && echo "Done. Open reports/index.html"

# The headline, Table A1 without the other ways to make variants (rows 2, 3 and the oracle), with two training seeds;
# `make tables` makes everything else. Without a commit DVC cannot set a parameter.
HEADLINE = a1/1 a1/4 a1/5 a1/6
SEEDS = seeds=[0, 1]
demo: install
	targets="$$(dlcr targets $(HEADLINE))" && if git rev-parse --quiet --verify HEAD > /dev/null 2>&1; \
	then dvc exp run --set-param '$(SEEDS)' $$targets; else dvc repro $$targets; fi
	@$(REPORT)
	@$(COMPARE)

tables: install
	dvc repro
	@$(REPORT)
	@$(COMPARE)

test: install
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Containers for the stages, by DLCR_ENGINE (docker or podman), recorded in containers/images.yaml.
images:
	containers/build

lint: install
	ruff check .
	ruff format --check .

format: install
	ruff check --fix .
	ruff format .

# What stages made, and the store: all but what git tracks, and the .dvc files of imported sets.
OUTPUTS = data masks descriptions outfits discriminators generated faces runs evaluations/private
clean:
	rm -rf .dlcr reports/pictures
	find $(wildcard $(OUTPUTS)) -mindepth 1 -maxdepth 1 ! -name none ! -name .gitignore ! -name '*.dvc' -exec rm -rf {} +
