# Needs Python 3.11 or later and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SECONDS ?=

.PHONY: help demo test check bench soak day docs wheels clean

help:
	@echo "make demo [SECONDS=30]  run the whole thing on a rendered gate scene, until Ctrl-C"
	@echo "make test               every test but the long ones"
	@echo "make check              lint, types, generated files, known vulnerabilities"
	@echo "make bench              benchmarks: a table, and JSON in .bench/"
	@echo "make soak               the long tests: minutes to hours of breaking things"
	@echo "make day                24 hours of the whole box on a virtual clock, in about ten minutes"
	@echo "make docs               generate the reference pages anew"
	@echo "make wheels             build the three wheels into dist/"

$(STAMP): pyproject.toml plugins/heldard-zones/pyproject.toml plugins/heldard-anpr/pyproject.toml
	@echo "Installing into $(VENV) (once; a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
		-e '.[worker,ffmpeg,pyav]' -e plugins/heldard-zones -e plugins/heldard-anpr --group test --group check
	@touch $@

demo: $(STAMP)
	@$(BIN)/heldard demo $(if $(SECONDS),--seconds $(SECONDS))

test: $(STAMP)
	@$(BIN)/python -m pytest -m "not long"

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pip_audit --skip-editable --progress-spinner off

bench: $(STAMP)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --group bench || echo "supervision cannot be had here: its columns stay empty"
	@$(BIN)/python -m tests.bench

soak: $(STAMP)
	@$(BIN)/python -m pytest -m long --timeout 7200

day: $(STAMP)
	@$(BIN)/python -m pytest -m long tests/day --timeout 7200 -s

docs: $(STAMP)
	@$(BIN)/python -m tests.docs.generate

wheels: $(STAMP)
	@$(BIN)/uv build --quiet --wheel --out-dir dist .
	@$(BIN)/uv build --quiet --wheel --out-dir dist plugins/heldard-zones
	@$(BIN)/uv build --quiet --wheel --out-dir dist plugins/heldard-anpr
	@ls dist

clean:
	rm -rf $(VENV) dist .demo .bench
