# Two commands do everything: `make demo` and `make test`. Each first makes .venv from the lock file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGE := $(VENV)/.package
WEB := hatch_build.py $(shell find app/pages/web -name node_modules -prune -o -type f -print)
HOST ?= 127.0.0.1
PORT ?= 8000
DEMO_DIR ?= .demo

.PHONY: install demo test check docs licences sbom bench bench-templates bench-differences lock clean

install: $(PACKAGE)

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Skyloom needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

# The installation builds the scripts of the pages.
$(PACKAGE): $(STAMP) pyproject.toml $(WEB)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	@nice $(BIN)/skyloom warm-up >/dev/null 2>&1 & \
	$(BIN)/skyloom demo --data-dir $(DEMO_DIR) --host $(HOST) --port $(PORT)

test: install
	$(BIN)/python -m pytest $(ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build

licences: install
	$(BIN)/python .ci/supply.py licences > docs/licences.md

sbom: install
	$(BIN)/python .ci/supply.py sbom > sbom.cdx.json

bench: install
	$(BIN)/python -m benchmarks $(ARGS)

bench-templates: install
	$(BIN)/python -m benchmarks.templates $(ARGS)

bench-differences: install
	$(BIN)/python -m benchmarks.diffim $(ARGS)

lock:
	uv pip compile pyproject.toml --extra demo --extra otel --group dev --group docs --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock

clean:
	rm -rf $(VENV) $(DEMO_DIR) .pytest_cache .mypy_cache .ruff_cache build dist \
	  app/pages/static/built app/pages/web/node_modules
