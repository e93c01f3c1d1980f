# Everything runs in .venv, which the first target that needs it builds from constraints.txt.
# CPU-only torch on a machine where pip would choose CUDA:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

PYTHON ?= python3
JOBS ?= 0
BUDGET ?= 60
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test check bench docs gallery slow clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  PYTHON=python3.12   the interpreter that .venv is made from (3.11 or newer)"
	@echo "  JOBS=2              processes of the test suite; 0: no extra process"

demo: $(RUNTIME) ## solve a Poisson PINN by multilevel Levenberg-Marquardt; writes runs/demo/report.html
	$(BIN)/mlopt solve poisson nu=20 width=512 init=normal --method galerkin --levels 2 \
	    --until rmse=1e-3 --seed 0 --out runs/demo
	@echo "Report: $(CURDIR)/runs/demo/report.html"

test: $(DEV) ## run the quick test suite
	$(BIN)/python -m pytest -q -n $(JOBS)

check: $(DEV) ## lint, format, types, import layers, yardsticks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house.py

bench: $(RUNTIME) ## run the benchmarks
	$(BIN)/python -m benchmarks

docs: $(DEV) ## run the examples of the documentation
	$(BIN)/python -m pytest -q tests/test_docs.py

gallery: $(RUNTIME) ## solve every differential equation and write docs/gallery.md; BUDGET=60 seconds each
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.gallery --seconds $(BUDGET)

slow: $(DEV) ## run the tests that take minutes
	$(BIN)/python -m pytest -q -n $(JOBS) -m slow

clean: ## remove .venv, caches and builds; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: the virtual environment, the package, the package with its development tools.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "multilevel_opt needs Python 3.11 or newer, and $(PYTHON) is not: name one by make PYTHON=python3.11"; \
	    exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUNTIME): $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing into $(VENV); torch is large, the first time takes minutes."
	$(PIP) --editable .
	@touch $@

$(DEV): $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing into $(VENV) with the development tools; torch is large, the first time takes minutes."
	$(PIP) --editable '.[dev]'
	@touch $(RUNTIME) $@
