# considerate: everything a newcomer types. The environment is made on first use and follows the locks.

VENV ?= .venv
ARGS ?=
HOME_FOLDER := $(if $(CONSIDERATE_HOME),$(CONSIDERATE_HOME),var)
BIN := $(VENV)/bin

# Nothing here reports to anybody.
export BENTOML_DO_NOT_TRACK := True
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
# The UI shows; it has no jobs to run.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false

.DEFAULT_GOAL := help
.PHONY: help preflight env demo serve mlflow test check format bench-load bench-accuracy bench-beginnings bench-overhead \
    bench-scale fuzz consent-report lock clean

help:  ## list the targets
	@echo "make TARGET [ARGS=...] [PYTHON=python3.12]"
	@echo
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do printf '  %-16s %s\n' "$$target" "$$text"; done

preflight:  ## check for Python 3.11 to 3.13 with headers and venv, git and a C compiler; name the packages to install
	@python=$$(sh requirements/preflight.sh) && echo "Everything is there; Python: $$python"

env:  ## make the environment .venv from the locks, or bring it up to date
	@sh requirements/environment.sh $(VENV)

demo: env  ## from a year of real purchases to consent-checked suggestions (ARGS=--once ends after the tour)
	@$(BIN)/python pipelines/demo.py $(ARGS)

serve: env  ## start the service (ARGS="--workers 2 --config configs/service.toml")
	@$(BIN)/considerate serve $(ARGS)

mlflow: env  ## show the experiments in the MLflow UI at http://127.0.0.1:5000 (ARGS="--port 5001")
	@mkdir -p $(HOME_FOLDER)
	@$(BIN)/mlflow server --host 127.0.0.1 --workers 1 --no-serve-artifacts \
	    --backend-store-uri sqlite:///$(HOME_FOLDER)/mlflow.db $(ARGS)

test: env  ## run every test (ARGS="-m 'not slow'" for the quick ones)
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

check: env  ## what CI checks besides the tests: style, types, layers, spelling, the rules of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/pytest -q -m "not slow" tests/house

format: env  ## put the code into shape: ruff's fixes, then its format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench-load: env  ## time reading and storing Complete Journey, beside pandas (ARGS=--quick samples)
	@$(BIN)/python tests/bench/bench_load.py $(ARGS)

bench-accuracy: env  ## print every accuracy beside its references (ARGS=--final reads the test parts)
	@$(BIN)/python tests/bench/bench_accuracy.py $(ARGS)

bench-beginnings: env  ## show what is accurate with 0, 50 and 500 consenting customers
	@$(BIN)/python tests/bench/bench_beginnings.py $(ARGS)

bench-overhead: env  ## time our fit and evaluation beside implicit's own
	@$(BIN)/python tests/bench/bench_overhead.py $(ARGS)

bench-scale: env  ## fit and judge up to 10 million synthetic interactions: time, memory, accuracy
	@$(BIN)/python tests/bench/bench_scale.py $(ARGS)

fuzz: env  ## the service's own description under schemathesis, 10 minutes (ARGS=--quick: 10 seconds)
	@$(BIN)/python -W ignore -m tests.report.fuzz $(ARGS)

consent-report: env  ## try every promise on consent against a real service on SQLite and PostgreSQL (ARGS=--quick)
	@$(BIN)/python -W ignore -m tests.report.consent_report $(ARGS)

lock: env  ## write the locks anew from pyproject.toml (ARGS=--upgrade for newer versions)
	$(BIN)/uv pip compile $(LOCK) requirements/uv.in -o requirements/uv.txt $(ARGS)
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --all-extras -o requirements/dev.txt $(ARGS)

# For every supported Python and platform, with hashes; without the index or the command line of whoever ran it.
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url

clean:  ## remove the environment and caches, never var/ or data/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist src/*.egg-info
	find src pipelines tests -name __pycache__ -type d -prune -exec rm -rf {} +
