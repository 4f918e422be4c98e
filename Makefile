# make demo: set up, run the main job on synthetic images, and print its table.
# make test: set up, then run the linter, the type checker and the tests.
# make golden: rewrite the tables and configurations that the tests compare with. Read the diff before you commit.
# make gpu: on a machine with a GPU, run its tests and all measurements.
# make clean: delete .venv and the caches of the tools.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint golden gpu clean

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'dxa_tbs needs Python 3.10 or newer: make PYTHON=<path>')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/python -m dxa_tbs.train experiment=demo
	$(BIN)/python -m dxa_tbs.tables outputs
	@echo "run folder: outputs/demo/phantom_text/adhoc/model1/seed0"

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

golden: setup
	$(BIN)/python tests/golden.py

gpu: setup
	$(BIN)/python scripts/gpu.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
