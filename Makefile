# Everything runs in a project-local environment that these targets make by themselves. What the machine must
# have stands in README.md, and is looked at before anything is fetched.
#
#   make test PYTHON=3.10                   on TFX 1.16, in .venv-3.10 (PYTHON: a version or a path)
#   UV_PROJECT_ENVIRONMENT=/tmp/env ...     another environment folder
#   make demo ARGS="--output /tmp/run"      arguments of tfx-edge demo
#   make test ARGS="-k pruner"              arguments of pytest
#   make test JOBS=1                        in one process

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo demo-tree test test-fast test-all test-tfx116 test-tfx121 find-tfx121 other-line test-install test-fresh test-image
.PHONY: soak test-tfx-examples test-flink test-prism engines fetch-flink fetch-prism lint proto report-schema metadata-schema golden lock bench clean

UV_VERSION := 0.13.8
PYTHON ?=
# TFX 1.21's wheels are for glibc 2.39 and newer. Without PYTHON the first of these Pythons that is on the machine
# serves, and uv fetches the first of all where none is.
HAS_GLIBC_239 := $(shell printf '%s\n' 2.39 "$$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort -VC && echo yes)
PYTHONS := $(if $(HAS_GLIBC_239),3.12 3.13 3.11,3.10)
# Each interpreter has an environment of its own: .venv, or .venv-3.12 for PYTHON=3.12 or the path of one.
PYTHON_VERSION := $(if $(PYTHON),$(or $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
  2>/dev/null),$(PYTHON)))
VENV := $(or $(UV_PROJECT_ENVIRONMENT),.venv$(if $(PYTHON),-$(PYTHON_VERSION)))
ARGS ?=
# Processes that share the tests, file by file; each takes up to 4 GB.
JOBS ?= 2
SYNC ?=
# The version that an environment gets, or the first that it may get.
LINE = $(or $(PYTHON_VERSION),$(firstword $(PYTHONS)))
IS_TFX116 = $(filter 3.10 3.10.%,$(LINE))
CONSTRAINTS := deploy/constraints.txt
IMAGE_UV := deploy/image/uv.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# There while uv installs. Found at the start, the run before was killed, and the environment is made
# anew: uv takes a package that is half there for a whole one.
UNFINISHED := .uv/unfinished-$(subst /,_,$(VENV))
PROTOS := $(notdir $(wildcard proto/messages/*.proto))

help: ## This list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Run the digits pipeline, and print what each step cost and gained.
	@$(BIN)/tfx-edge demo $(ARGS)

demo-tree: $(READY) ## Run the digits pipeline over all routes to a file, and push the best (DATA=DIR: signs, from there).
	@$(BIN)/tfx-edge $(if $(DATA),run tests/bench/signs_tree.py --pipeline-root demo-tree-output/signs \
	  --set data='$(abspath $(DATA))' --beam-arg=--sdk_container_image=none,demo --tree --output demo-tree-output) $(ARGS)

# The tests come longest first; xdist keeps that order.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0

test: lint ## Lint, then all tests, whole pipelines included.
	$(PYTEST) $(ARGS)

test-fast: $(READY) ## The tests that neither convert, train nor start TFX, in three minutes.
	$(PYTEST) --fast $(ARGS)

# The line that is not the default.
OTHER_LINE := $(if $(HAS_GLIBC_239),test-tfx116,test-tfx121)
test-all: test $(OTHER_LINE) ## All tests on both lines of TFX: the default, then the other.

other-line:
	@echo $(OTHER_LINE)

test-tfx116:
	$(MAKE) test PYTHON=3.10 ARGS='$(ARGS)'

# On a host with an older glibc a Python that brings its own C library can serve: MODERN_PYTHON names a script that
# makes one in the folder it is given.
MODERN_PYTHON ?= ../shared/tools/modern-python.sh
TFX121_PYTHON := .uv/tfx121-python
test-tfx121: find-tfx121
	$(MAKE) test PYTHON="$$(cat $(TFX121_PYTHON))" ARGS='$(ARGS)'

find-tfx121:
	@mkdir -p .uv; rm -f $(TFX121_PYTHON); \
	if [ -n '$(HAS_GLIBC_239)' ]; then \
	  echo 3.12 >$(TFX121_PYTHON); \
	elif [ -f '$(MODERN_PYTHON)' ]; then \
	  bash '$(MODERN_PYTHON)' .uv/modern >.uv/modern.log; echo '$(CURDIR)/.uv/modern/bin/python' >$(TFX121_PYTHON); \
	else \
	  echo 'make: TFX 1.21 needs glibc 2.39 (Debian 13, Ubuntu 24.04 or newer), and this host has' \
	    "$$(getconf GNU_LIBC_VERSION); run it there, or make test alone." >&2; exit 1; \
	fi

test-tfx-examples: $(READY) ## TFX's own examples and templates, all of them, and one on Kubeflow's launcher.
	$(BIN)/python -m pytest --all-tfx-examples tests/e2e/tfx_examples_test.py tests/e2e/tfx_examples_on_kubeflow.py $(ARGS)

# Real engines. Their tests have names that `make test` does not look for, and run in namespaces of their own, which
# need root: no process and no network interface is left, however they end. ARGS='-m short': the short form.
ON_PRIVATE_HOST := $(BIN)/python -m tests.engines.private_host $(BIN)/python -m pytest
ENGINES := .engines
FLINK := $(ENGINES)/flink
PRISM_VERSION := 2.74.0
PRISM := $(ENGINES)/prism-$(PRISM_VERSION)
DEPENDENCY_PLUGIN := org.apache.maven.plugins:maven-dependency-plugin:3.6.1

test-flink: $(READY) $(FLINK)/pom.xml ## On Flink with the numbers of deploy/: a pipeline, a calibration and faults (root, JDK 11, Maven).
	$(ON_PRIVATE_HOST) tests/engines/*_on_host.py tests/engines/flink/*_on_flink.py $(ARGS)

test-prism: $(READY) $(PRISM) ## On Beam's Prism: a pipeline and a calibration (root, Go).
	PRISM=$(abspath $(PRISM)) $(ON_PRIVATE_HOST) tests/engines/prism/*_on_prism.py $(ARGS)

engines: fetch-flink fetch-prism ## Fetch and build what test-flink and test-prism start.
fetch-flink: $(FLINK)/pom.xml
fetch-prism: $(PRISM)

# The pom lies beside the jars once all are there. deploy/flink/Dockerfile does the same.
$(FLINK)/pom.xml: deploy/flink/pom.xml deploy/flink/BeamJobServer.java
	@for tool in javac:openjdk-17-jdk-headless mvn:maven; do \
	  if ! command -v $${tool%%:*} >/dev/null; then \
	    echo "make: $${tool%%:*} is not on this machine; test-flink needs a JDK, 11 or newer, and Maven:" \
	      "apt-get install $${tool##*:}." >&2; exit 1; \
	  fi; \
	done
	@echo "fetching Flink and Beam's job server with Maven into $(FLINK)/"
	@rm -rf $(FLINK).unfinished $(FLINK)
	@mvn -B -q -f $< $(DEPENDENCY_PLUGIN):copy-dependencies -DoutputDirectory=$(abspath $(FLINK).unfinished)
	@javac -cp '$(FLINK).unfinished/*' -d $(FLINK).unfinished/own deploy/flink/BeamJobServer.java && \
	  jar --create --file $(FLINK).unfinished/beam-job-server.jar -C $(FLINK).unfinished/own . && \
	  rm -r $(FLINK).unfinished/own
	@cp $< $(FLINK).unfinished/ && mv $(FLINK).unfinished $(FLINK)

$(PRISM):
	@if ! command -v go >/dev/null; then \
	  echo 'make: go is not on this machine; test-prism builds Prism with it: apt-get install golang-go.' >&2; exit 1; \
	fi
	@echo "building Beam's Prism with Go into $(ENGINES)/"
	@mkdir -p $(ENGINES)
	@GOBIN=$(abspath $(ENGINES)/unfinished) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(PRISM_VERSION)
	@mv $(ENGINES)/unfinished/prism $@

# Into an environment of nothing but the wheel and what pip brings, outside of the checkout. Only Python 3.10
# may use a compiler: for the others it is one that fails.
test-install: $(READY) ## Install the wheel with pip into a bare environment, and run the README's snippet there.
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  $(BIN)/python -m build --wheel --no-isolation --outdir "$$folder" . >"$$folder/build.log" && \
	  "$$($(BIN)/python -c 'import sys; print(sys._base_executable)')" -m venv "$$folder/bare" && \
	  if [ "$$($(BIN)/python -c 'import sys; print(sys.version_info[1])')" != 10 ]; then export CC=false CXX=false; fi && \
	  "$$folder/bare/bin/pip" install --quiet --disable-pip-version-check --no-deps -r $(CONSTRAINTS) "$$folder"/*.whl && \
	  cd "$$folder" && \
	  { bare/bin/pip check || true; } | sed '/^tensorflow-data-validation .* requirement pyfarmhash<0.4/d; /^No broken/d' >broken && \
	  if [ -s broken ]; then echo 'make: the list of $(CONSTRAINTS) does not fit together:' >&2; cat broken >&2; exit 1; fi && \
	  bare/bin/python -W ignore -c 'import runpy, sys; runpy.run_path(sys.argv[1], run_name="__main__")' \
	    '$(CURDIR)/tests/pipelines/readme_snippets.py' 2>log || { cat log >&2; exit 1; }

test-fresh: ## As root: install and run the demo on bare Debian 12 and 13, with only the packages README.md names.
	python3 -B -m tests.fresh $(ARGS)

# TFX_EDGE_IMAGE_STORAGE=DIR keeps the layers for the next run.
test-image: $(READY) ## As root: build deploy/Dockerfile with buildah, and run the demo, a pool and a derived image of it.
	$(BIN)/python -m pytest tests/deploy/image_build.py -s -rs $(ARGS)

lint: $(READY) ## Style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What both lines must read or is compared on both is made on the older.
MADE_ON_TFX116 = $(if $(IS_TFX116),,$(error the $(1) are made on Python 3.10: 'make $@ PYTHON=3.10'))
proto: $(READY) ## Make proto/messages/*_pb2.py again.
	$(call MADE_ON_TFX116,modules)
	@draft=$$(mktemp -d) && trap 'rm -rf "$$draft"' EXIT && \
	  $(BIN)/python -W ignore -m grpc_tools.protoc -Itfx_edge/proto=proto/messages --python_out="$$draft" \
	    $(PROTOS:%=tfx_edge/proto/%) && \
	  mv "$$draft"/tfx_edge/proto/*_pb2.py proto/messages/
	@ls proto/messages/*_pb2.py

# The compiler that belongs to the flatbuffers package of both lines.
FLATC_VERSION := 25.12.19rc0
SCHEMA_FOLDER := components/core/litert/file
report-schema: $(READY) ## Make report.schema.json, of EdgeEvaluator's report, again from the report's classes.
	PYTHONPATH=. $(BIN)/python -W ignore -m tests.components.core.evaluation.report_schema

metadata-schema: $(READY) ## Make metadata_schema_generated.py, TFLite's metadata format, again from metadata_schema.fbs.
	@uv=$$(command -v uv || echo $(FETCHED_UV)); \
	$$uv tool run --quiet --from flatc==$(FLATC_VERSION) flatc --python --gen-onefile -o $(SCHEMA_FOLDER) \
	  $(SCHEMA_FOLDER)/metadata_schema.fbs
	@ls $(SCHEMA_FOLDER)/*_generated.py

# The toolkit has an environment of its own, so that no test finds it by chance.
BENCHES := bench-compression bench-qat bench-step-cost bench-batch-norm bench-calibration bench-evaluation \
  bench-fidelity bench-fidelity-cost bench-little-data bench-steps bench-dense-scales bench-first-step \
  bench-devices bench-sparse bench-tree bench-tables
.PHONY: $(BENCHES)
bench: $(BENCHES) ## Beside TensorFlow Model Optimization and the stock converter (hours; DATA=DIR says where the data is).
$(BENCHES): bench-%:
	$(MAKE) .venv-bench/.ready UV_PROJECT_ENVIRONMENT=.venv-bench PYTHON=3.10 SYNC='--group bench'
	PYTHONPATH=. .venv-bench/bin/python -W ignore tests/bench/$(subst -,_,$*)_bench.py \
	  $(if $(and $(DATA),$(filter-out step-cost calibration evaluation fidelity fidelity-cost first-step sparse tree,$*)),--data '$(DATA)') $(ARGS)

soak: $(READY) ## Kill steps, fill their disks, run them twice at a time, and see what is left (root; ARGS='--kills 10').
	PYTHONPATH=. TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -W ignore -m tests.soak $(ARGS)

golden: $(READY) ## Make the golden files of the tests again (ARGS='digits ...' exports these nets anew).
	$(call MADE_ON_TFX116,golden files)
	PYTHONPATH=. $(BIN)/python -W ignore tests/golden/make_golden.py $(ARGS)
	PYTHONPATH=. $(BIN)/python -W ignore tests/pipelines/kubeflow/golden/make_golden.py

# The complete list for pip, extras included: it knows no overrides, so it can only install the list as it is.
lock: ## Make uv.lock, deploy/constraints.txt (the same versions, for pip) and the image's uv from pyproject.toml again.
	@uv=$$(command -v uv || echo .uv/$(UV_VERSION)/bin/uv); \
	$$uv lock && \
	$$uv export --quiet --frozen --no-hashes --no-emit-project --no-default-groups --all-extras --no-annotate --no-header \
	  --output-file $(CONSTRAINTS).unfinished && \
	mv $(CONSTRAINTS).unfinished $(CONSTRAINTS) && \
	echo 'uv==$(UV_VERSION)' | $$uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	  --output-file $(IMAGE_UV).unfinished - && \
	mv $(IMAGE_UV).unfinished $(IMAGE_UV)

clean: ## Remove the environment and everything made here.
	rm -rf .venv .venv-* .uv .debian .engines .packages .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info demo-output demo-tree-output
	find components pipelines proto tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A uv on PATH serves when it is not older than the pinned one; otherwise one is installed into .uv/.
FETCHED_UV := .uv/$(UV_VERSION)/bin/uv
UV = $(shell for uv in uv $(FETCHED_UV); do \
  if printf '%s\n' $(UV_VERSION) "$$($$uv --version 2>/dev/null | cut -d' ' -f2)" | sort -VC; then echo $$uv; break; fi; done)

# What is missing on the machine ends make in one line, before anything is fetched or written.
is_missing = $(shell command -v $(1) >/dev/null || echo yes)
install = $(if $(call is_missing,apt-get),$(if $(call is_missing,dnf),install $(1),dnf install $(2)),apt-get install $(1))
CHECK_COMPILER = $(if $(and $(IS_TFX116),$(call is_missing,$(firstword $(CXX)))),$(error Python 3.10 needs a C++ compiler \
  for pyfarmhash, and there is no $(firstword $(CXX)): '$(call install,g++,gcc-c++)'))
CHECK_VENV = $(if $(UV)$(shell python3 -c 'import ensurepip, venv' 2>/dev/null && echo yes),,$(error uv is fetched by a \
  python3 with venv and ensurepip, and there is none: '$(call install,python3-venv,python3)'))

# pyenv shows only the Python that it is set to, so each version is asked for twice.
define FIND_PYTHON
python=; \
for version in $(or $(PYTHON),$(PYTHONS)); do \
  for shown in "$${PYENV_VERSION:-}" $$version; do \
    if found=$$(PYENV_VERSION=$$shown $$uv python find --system --no-project --no-python-downloads $$version 2>/dev/null); then \
      python=$$found; break 2; \
    fi; \
  done; \
done
endef

# As on Ubuntu 22.04, where the system's own Python is 3.10; one that uv fetches has them.
define CHECK_HEADERS
if [ -n '$(IS_TFX116)' ] && [ -n "$$python" ] && \
  ! "$$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null; then \
  echo "make: $$python has no Python.h, with which pyfarmhash is compiled: '$(call install,python3.10-dev,python3-devel)'" >&2; \
  exit 1; \
fi
endef

# A path to links named as the packages are. setuptools installs them by an import hook, since the folders have other
# names, and a hook is what no editor asks; setup.py has the same folders.
define LINK_PACKAGES
mkdir -p .packages/tfx_edge; \
ln -sfn ../../components/package/__init__.py .packages/tfx_edge/__init__.py; \
ln -sfn ../../components .packages/tfx_edge/components; \
ln -sfn ../../pipelines .packages/tfx_edge/pipelines; \
ln -sfn ../../proto/messages .packages/tfx_edge/proto; \
site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
echo '$(CURDIR)/.packages' >"$$site/tfx_edge_links.pth"
endef

$(READY): pyproject.toml uv.lock
	@$(CHECK_COMPILER)$(CHECK_VENV)uv='$(UV)'; \
	if [ -z "$$uv" ]; then \
	  uv=$(FETCHED_UV); \
	  echo 'installing uv $(UV_VERSION) into .uv/'; \
	  python3 -m venv --clear .uv/$(UV_VERSION); \
	  .uv/$(UV_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	fi; \
	$(FIND_PYTHON); \
	$(CHECK_HEADERS); \
	export UV_PROJECT_ENVIRONMENT=$(VENV); \
	sync="$$uv sync --locked --quiet $(SYNC) --python $${python:-$(or $(PYTHON),$(firstword $(PYTHONS)))}"; \
	$$sync --dry-run; \
	if [ -e $(UNFINISHED) ]; then rm -rf $(VENV); fi; \
	mkdir -p .uv; touch $(UNFINISHED); \
	echo 'installing the locked packages into $(VENV)/'; \
	trap 'exit 130' INT TERM; \
	status=0; $$sync || status=$$?; \
	if [ $$status -lt 128 ]; then rm $(UNFINISHED); fi; \
	if [ $$status -ne 0 ]; then exit $$status; fi; \
	$(LINK_PACKAGES); \
	touch $@
