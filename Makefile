# make setup   a virtual environment in .venv with everything that the tests need
# make test    the tests
# make check   what CI runs: format, lint, types, tests
# make demo    the main job with the offline teacher
# make lock    write constraints.txt anew from the newest versions that fit

PYTHON ?= python3
# many tests wait for a server or a child process: a worker more than a small machine has cores
WORKERS ?= 3
BIN := .venv/bin
# pip reads a folder of wheels from PIP_FIND_LINKS where one is set; uv wants it under its own name
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# tests must not fetch models or data sets, and torch is quicker on one thread for small models
TEST_ENV := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 OMP_NUM_THREADS=1

.PHONY: setup test check lint types demo lock

setup: .venv/.done

.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

test: setup
	$(TEST_ENV) $(BIN)/pytest -q -n $(WORKERS) --dist loadfile

check: lint types test

demo: setup
	$(BIN)/synth run self-instruct

lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip install --quiet --python .venv-lock/bin/python '.[dev]'
	.venv-lock/bin/uv pip freeze --python .venv-lock/bin/python | grep -v '^synth' | sed 's/+cpu$$//' > constraints.new
	{ sed -n '/^#/p' constraints.txt; cat constraints.new; } > constraints.tmp && mv constraints.tmp constraints.txt
	rm -rf .venv-lock constraints.new
