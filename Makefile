PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
RESOLVE := $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-strip-extras \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate $(UPGRADE)
SECONDS ?= 120
MINUTES ?= 3

.PHONY: serve test lint exhaustive golden mutants platforms fuzz bench soak lock generated clean

serve: $(VENV)/serve.done ## start on :8000
	$(BIN)/python -m service serve

test: $(VENV)/test.done lint ## run everything that CI runs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry service
	$(BIN)/deptry . --exclude '$(VENV)|openapi' --non-dev-dependency-groups test,bench
	$(BIN)/python -m service openapi --check
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --cov --cov-report=term

lint: $(VENV)/test.done ## lint the OpenAPI document by Redocly's rules, if npm is installed
	@command -v npm > /dev/null || echo "npm is not installed: the OpenAPI document is not linted"
	@! command -v npm > /dev/null || $(MAKE) --no-print-directory openapi/node_modules/.done
	! command -v npm > /dev/null || (cd openapi && node_modules/.bin/redocly lint openapi.json)

openapi/node_modules/.done: openapi/package-lock.json
	npm ci --prefix openapi --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

exhaustive: $(VENV)/test.done ## test every binary32 word; takes minutes
	$(BIN)/python -m pytest -m exhaustive

golden: $(VENV)/test.done ## add new rows to the golden tables; fails if an old row does not hold
	$(BIN)/python -m tests.golden

mutants: $(VENV)/test.done ## make sixty small changes to the code, each of which a test must notice; a quarter of an hour (ONLY=part of a name)
	$(BIN)/python -m tests.mutants $(if $(ONLY),--only "$(ONLY)")

platforms: $(VENV)/test.done ## compare the golden bytes on emulated machines, with Debian's packages; minutes (needs qemu-user-static)
	$(BIN)/python -m tests.platforms

fuzz: $(VENV)/test.done ## send valid and mutated requests for minutes: agreement, refusals, cost (MINUTES=3 SEED=… CASE=…)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case $(CASE))

bench: $(VENV)/bench.done ## measure speed and memory, side by side with torch
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/bounds.py
	$(BIN)/python benchmarks/cold.py

generated: $(VENV)/serve.done ## write the OpenAPI document and the table of settings
	$(BIN)/python -m service openapi > openapi/openapi.json
	$(BIN)/python -m service.settings

soak: $(VENV)/test.done ## run mixed load for minutes: errors, latencies, memory (SECONDS=120)
	$(BIN)/python benchmarks/soak.py --seconds $(SECONDS)
	$(BIN)/python benchmarks/soak.py --memory

lock: | $(BIN)/uv ## lock the dependencies in pyproject.toml; versions stay as long as they fit (UPGRADE=--upgrade)
	$(RESOLVE) -o requirements.lock pyproject.toml
	$(RESOLVE) -c requirements.lock --group test -o requirements-test.lock pyproject.toml
	$(RESOLVE) -c requirements-test.lock --group build -o requirements-build.lock
	$(RESOLVE) -c requirements-test.lock --group bench -o requirements-bench.lock

clean:
	rm -rf $(VENV) .platforms openapi/node_modules

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 serve")'
	$(PYTHON) -m venv $(VENV)

# The locks are complete: nothing is resolved, so no release of a dependency can break an installation.
$(VENV)/serve.done: requirements.lock | $(VENV)/bin/python
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	$(PIP) check
	touch $@

$(VENV)/test.done: requirements-test.lock pyproject.toml $(VENV)/serve.done
	$(PIP) install --no-deps --require-hashes -r requirements-test.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(PIP) check
	touch $@

$(BIN)/uv: | $(VENV)/bin/python
	$(PIP) install --no-deps --require-hashes -r requirements-test.lock

$(VENV)/bench.done: requirements-bench.lock $(VENV)/test.done
	$(PIP) install --no-deps --require-hashes -r requirements-bench.lock
	$(PIP) check
	touch $@
