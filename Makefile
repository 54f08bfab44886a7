# Two commands matter: `make run` shows the main job, `make test` proves it. Both set everything up first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Most tests wait most of the time, so there may be more at once than there are processors.
PYTEST_WORKERS ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Whatever environment is active in the caller's shell, this is the one to install into.
export VIRTUAL_ENV = $(CURDIR)/$(VENV)
unexport CONDA_PREFIX

.PHONY: generated pictures run test test-pythons check-macos test-real conformance lint bench bench-instructions prove prove-short docs notebooks packages build clean

run: build
	@$(BIN)/python examples/tour.py

test: build
	cargo test --quiet --no-default-features
	cargo test --quiet
	$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile --ignore tests/real $(PYTEST_ARGS)

# The tests on each supported version of Python that pyenv, uv or PATH has, with one wheel; PYTHONS="3.9 3.13" names versions that must
# be there; PYTHONS_ARGS=--install installs a missing one.
test-pythons: build
	rm -rf target/pythons/wheel
	$(BIN)/maturin build --quiet --release --out target/pythons/wheel
	$(BIN)/python tools/pythons.py target/pythons/wheel/*.whl $(PYTHONS) $(PYTHONS_ARGS) -- -n $(PYTEST_WORKERS) $(PYTEST_ARGS)

# The core (trees, codecs, the catalog; no sockets) compiles for macOS, where it is untested.
check-macos:
	@if rustup target add x86_64-apple-darwin 2>/dev/null; then \
	cargo check --quiet --no-default-features --target x86_64-apple-darwin; \
	else echo "not checked for macOS: rustup cannot install the standard library of x86_64-apple-darwin"; fi

# The same calls on every wire of real servers that run already: make test-real OPENSIPS="4.0=udp:127.0.0.1:8080,unix:/run/mi.sock 2.4=fifo:/run/fifo"
# REAL_ARGS takes --opensips-restart "COMMAND {version}", --opensipsctl PATH, and --harm, which stops servers.
test-real: build
	$(BIN)/python -m pytest -q tests/real --opensips "$(OPENSIPS)" $(REAL_ARGS)

lint: build
	cargo fmt --check
	cargo clippy --quiet --no-default-features --all-targets -- -D warnings
	cargo clippy --quiet --features python --all-targets -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/rust_layers.py
	$(BIN)/python tools/prose.py
	$(BIN)/lint-imports >target/imports || { cat target/imports; exit 1; }
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest sipmi._core
	$(BIN)/python tools/typed_options.py
	PYTHONPATH=$(CURDIR)/python $(BIN)/basedpyright --verifytypes sipmi --ignoreexternal >target/types || { cat target/types; exit 1; }

# What is written by programs: the stub's docstrings, the man page, the page of values. Pictures are made by `make pictures`.
generated: build
	$(BIN)/python tools/stub_docs.py
	$(BIN)/python tools/shipped.py
	PYTHONPATH=tests/support $(BIN)/python tools/shapes.py

pictures: build
	PYTHONPATH=tests/support $(BIN)/python tools/screenshots.py
	PYTHONPATH=tests/support $(BIN)/python tools/terminal_pictures.py

# Replays what real servers answered against the fake, and prints what is identical and what is not.
conformance: build
	PYTHONPATH=tests/support $(BIN)/python tools/conformance.py $(CONFORMANCE_ARGS)

# The documentation's site, into `site/`; a warning fails it. It needs no network, neither to be built nor to be read.
docs: build $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Runs the notebooks of the documentation. NOTEBOOK_ARGS=--write keeps what their cells say.
notebooks: build $(VENV)/.docs
	$(BIN)/python docs/tools/execute.py $(NOTEBOOK_ARGS)

# Ratios against named baselines, measured in one run. Nothing is asserted.
bench: build
	cargo bench --quiet --no-default-features --bench core
	$(BIN)/python tests/bench/run.py $(BENCH_ARGS)
	$(BIN)/python tests/bench/large.py
	$(BIN)/python tests/bench/scale.py
	$(BIN)/python tests/bench/processes.py
	$(BIN)/python tests/bench/fleet.py
	$(BIN)/python tests/bench/in_flight.py
	$(BIN)/python tests/bench/gateway.py

# Instructions of one call on each path, from callgrind: repeatable on a busy machine. Fails where a path takes 2 in 100 more than
# tests/bench/instructions.json; INSTRUCTIONS_ARGS="--write tests/bench/instructions.json" keeps new figures.
bench-instructions: build
	$(BIN)/python tests/bench/instructions.py --compare tests/bench/instructions.json $(INSTRUCTIONS_ARGS)

# Long proofs: many more random cases, and minutes under fire.
prove: build
	PROPTEST_CASES=20000 cargo test --quiet --release --no-default-features
	$(BIN)/python tests/bench/scale.py --calls 10000000 --nodes 10000000
	SIPMI_PROVE_SECONDS=60 $(BIN)/python -m pytest -q --timeout 600 tests/server/test_fire.py tests/server/test_fire_processes.py tests/client/test_recorded_replies.py
	SIPMI_PROVE_EXITS=200 $(BIN)/python -m pytest -q tests/server/test_lifetime.py -k exits
	SIPMI_PROVE_CALLS=100000 $(BIN)/python -m pytest -q --timeout 900 tests/server/test_faults.py

prove-short: build
	PROPTEST_CASES=2000 cargo test --quiet --no-default-features
	SIPMI_PROVE_SECONDS=15 $(BIN)/python -m pytest -q tests/server/test_fire.py tests/server/test_fire_processes.py

# Wheel and source distribution as their users get them, and tests of them in clean environments, one for each extra.
packages: build
	rm -rf target/packages
	CARGO_TARGET_DIR=$(CURDIR)/target $(BIN)/maturin build --quiet --release --sdist --out target/packages
	$(BIN)/python -m pytest -q --timeout 900 tests/packages.py

build: $(VENV)/.ready
	$(BIN)/maturin develop --quiet --release

$(VENV)/.ready: tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "maturin>=1.9,<2" -r tests/requirements.txt
	touch $@

$(VENV)/.docs: $(VENV)/.ready docs/requirements.txt
	$(BIN)/pip install --quiet -r docs/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) target site python/sipmi/*.so
