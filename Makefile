# Everything runs in a project-local environment that these targets make by themselves. Needed on the
# machine: make, and a python3 with venv and pip (to fetch uv, unless uv is there already).
#
#   make test PYTHON=3.12                   on TFX 1.21, in .venv-3.12 (PYTHON: a version or a path)
#   UV_PROJECT_ENVIRONMENT=/tmp/env ...     another environment folder
#   make demo ARGS="--output /tmp/run"      arguments of tfx-edge demo
#   make test ARGS="-k pruner"              arguments of pytest
#   make test JOBS=1                        in one process

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-all test-tfx121 find-tfx121 test-install lint proto golden lock bench clean

UV_VERSION := 0.13.8
PYTHON ?=
# Each interpreter has an environment of its own: .venv, or .venv-3.12 for PYTHON=3.12 or the path of one.
PYTHON_VERSION := $(if $(PYTHON),$(or $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
  2>/dev/null),$(PYTHON)))
VENV := $(or $(UV_PROJECT_ENVIRONMENT),.venv$(if $(PYTHON),-$(PYTHON_VERSION)))
ARGS ?=
# Processes that share the tests, file by file; each takes up to 4 GB.
JOBS ?= 2
SYNC ?=
CONSTRAINTS := deploy/constraints.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# There while uv installs. Found at the start, the run before was killed, and the environment is made
# anew: uv takes a package that is half there for a whole one.
UNFINISHED := .uv/unfinished-$(subst /,_,$(VENV))
PROTOS := $(notdir $(wildcard proto/messages/*.proto))

help: ## This list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Run the digits pipeline, and print what each step cost and gained.
	@$(BIN)/tfx-edge demo $(ARGS)

# The tests come longest first; xdist keeps that order.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0

test: lint ## Lint, then all tests, whole pipelines included.
	$(PYTEST) $(ARGS)

test-fast: $(READY) ## For every save: the tests that neither convert, train nor start TFX, in two minutes.
	$(PYTEST) --fast $(ARGS)

test-all: test test-tfx121 ## All tests on both lines: TFX 1.16 (Python 3.10), then TFX 1.21 (Python 3.12).

# TFX 1.21's wheels need glibc 2.38. On an older host a Python that brings its own C library can serve:
# MODERN_PYTHON names a script that makes one in the folder it is given.
MODERN_PYTHON ?= ../shared/tools/modern-python.sh
TFX121_PYTHON := .uv/tfx121-python
test-tfx121: find-tfx121
	$(MAKE) test PYTHON="$$(cat $(TFX121_PYTHON))" ARGS='$(ARGS)'

find-tfx121:
	@mkdir -p .uv; rm -f $(TFX121_PYTHON); \
	if printf '%s\n' 2.38 "$$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort -VC; then \
	  echo 3.12 >$(TFX121_PYTHON); \
	elif [ -f '$(MODERN_PYTHON)' ]; then \
	  bash '$(MODERN_PYTHON)' .uv/modern >.uv/modern.log; echo '$(CURDIR)/.uv/modern/bin/python' >$(TFX121_PYTHON); \
	else \
	  echo 'make: TFX 1.21 needs glibc 2.38 (Debian 13, Ubuntu 24.04 or newer), and this host has' \
	    "$$(getconf GNU_LIBC_VERSION); run it there, or make test alone." >&2; exit 1; \
	fi

# Into an environment of nothing but the wheel and what pip brings, outside of the checkout. Only Python 3.10
# may use a compiler: for the others it is one that fails.
test-install: $(READY) ## Install the wheel with pip into a bare environment, and run the README's snippet there.
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  $(BIN)/python -m build --wheel --no-isolation --outdir "$$folder" . >"$$folder/build.log" && \
	  "$$($(BIN)/python -c 'import sys; print(sys._base_executable)')" -m venv "$$folder/bare" && \
	  if [ "$$($(BIN)/python -c 'import sys; print(sys.version_info[1])')" != 10 ]; then export CC=false CXX=false; fi && \
	  "$$folder/bare/bin/pip" install --quiet --disable-pip-version-check --no-deps -r $(CONSTRAINTS) "$$folder"/*.whl && \
	  cd "$$folder" && bare/bin/python -W ignore -c 'import runpy, sys; \
	    runpy.run_path(sys.argv[1])["test_snippet_adds_the_five_components_to_a_pipeline"](); \
	    from tfx import v1; print("the snippet of README.md runs with TFX", v1.__version__)' \
	    '$(CURDIR)/tests/pipelines/readme_test.py' 2>log || { cat log >&2; exit 1; }

lint: $(READY) ## Style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .types/tfx_edge
	@ln -sfn ../../components/package/__init__.py .types/tfx_edge/__init__.py
	@for folder in components pipelines; do ln -sfn ../../$$folder .types/tfx_edge/$$folder; done
	@ln -sfn ../../proto/messages .types/tfx_edge/proto
	$(BIN)/mypy

proto: $(READY) ## Make proto/messages/*_pb2.py again.
	@draft=$$(mktemp -d) && trap 'rm -rf "$$draft"' EXIT && \
	  $(BIN)/python -W ignore -m grpc_tools.protoc -Itfx_edge/proto=proto/messages --python_out="$$draft" \
	    $(PROTOS:%=tfx_edge/proto/%) && \
	  mv "$$draft"/tfx_edge/proto/*_pb2.py proto/messages/
	@ls proto/messages/*_pb2.py

# The toolkit has an environment of its own, so that no test finds it by chance.
BENCHES := bench-compression bench-qat bench-step-cost bench-batch-norm bench-calibration bench-evaluation
.PHONY: $(BENCHES)
bench: $(BENCHES) ## Beside TensorFlow Model Optimization and the stock converter (hours; DATA=DIR says where the data is).
$(BENCHES): bench-%:
	$(MAKE) .venv-bench/.ready UV_PROJECT_ENVIRONMENT=.venv-bench SYNC='--group bench'
	.venv-bench/bin/python -W ignore tests/bench/$(subst -,_,$*)_bench.py \
	  $(if $(and $(DATA),$(filter-out step-cost calibration evaluation,$*)),--data '$(DATA)') $(ARGS)

golden: $(READY) ## Make the golden files of the tests again (ARGS='digits ...' exports these nets anew).
	PYTHONPATH=. $(BIN)/python -W ignore tests/golden/make_golden.py $(ARGS)
	PYTHONPATH=. $(BIN)/python -W ignore tests/pipelines/kubeflow/golden/make_golden.py

# The complete list for pip, extras included: it knows no overrides, so it can only install the list as it is.
lock: ## Make uv.lock and deploy/constraints.txt (the same versions, for pip) from pyproject.toml again.
	@uv=$$(command -v uv || echo .uv/$(UV_VERSION)/bin/uv); \
	$$uv lock && \
	$$uv export --quiet --frozen --no-hashes --no-emit-project --no-default-groups --all-extras --no-annotate --no-header \
	  --output-file $(CONSTRAINTS).unfinished && \
	mv $(CONSTRAINTS).unfinished $(CONSTRAINTS)

clean: ## Remove the environment and everything made here.
	rm -rf .venv .venv-* .uv .types .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info demo-output
	find components pipelines proto tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A uv on PATH serves when it is not older than the pinned one; otherwise one is installed into .uv/.
# The interpreter: PYTHON, or the first of 3.10 (TFX 1.16, any glibc) and 3.12, 3.11, 3.13 (TFX 1.21,
# glibc 2.38 or newer) that is on the machine, or a 3.10 that uv fetches.
$(READY): pyproject.toml uv.lock .python-version
	@uv=$$(command -v uv || true); \
	if [ -z "$$uv" ] || ! printf '%s\n' $(UV_VERSION) "$$($$uv --version | cut -d' ' -f2)" | sort -VC; then \
	  uv=.uv/$(UV_VERSION)/bin/uv; \
	  if ! $$uv --version >/dev/null 2>&1; then \
	    echo 'installing uv $(UV_VERSION) into .uv/'; \
	    python3 -m venv --clear .uv/$(UV_VERSION); \
	    .uv/$(UV_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	  fi; \
	fi; \
	python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
	  versions=3.10; \
	  if printf '%s\n' 2.38 "$$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort -VC; then \
	    versions='3.10 3.12 3.11 3.13'; \
	  fi; \
	  for version in $$versions; do \
	    if $$uv python find --no-project --no-python-downloads $$version >/dev/null 2>&1; then \
	      python=$$version; break; \
	    fi; \
	  done; \
	fi; \
	export UV_PROJECT_ENVIRONMENT=$(VENV); \
	sync="$$uv sync --locked --quiet $(SYNC) --python $${python:-3.10}"; \
	$$sync --dry-run; \
	if [ -e $(UNFINISHED) ]; then rm -rf $(VENV); fi; \
	mkdir -p .uv; touch $(UNFINISHED); \
	echo 'installing the locked packages into $(VENV)/'; \
	trap 'exit 130' INT TERM; \
	status=0; $$sync || status=$$?; \
	if [ $$status -lt 128 ]; then rm $(UNFINISHED); fi; \
	if [ $$status -ne 0 ]; then exit $$status; fi; \
	touch $@
