# `make help` lists the targets. People and CI run the same ones.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PROTOS := $(wildcard protos/goodstanding/*/v1/*.proto)
CODE := services gateway tests benchmarks migrations tools

.DEFAULT_GOAL := help
.PHONY: help setup up test check format generate generated-up-to-date image lock freshness flood storm conformance bench bench-crls bench-import bench-peers bench-page bench-scale debian-weak-keys clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

setup: .venv/.installed ## set up .venv (needs only python3 >= 3.11 with venv)

# Wheels first, the build tools among them; then what comes as source, built with those; then ourselves.
.venv/.installed: requirements/build.txt requirements/dev.txt requirements/sdist.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("goodstanding needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make setup PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "python3 -m venv failed: install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation -r requirements/sdist.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

up: setup ## set up .venv if needed, then: goodstanding up --data data
	@exec $(BIN)/goodstanding up --data data

test: setup ## set up .venv if needed, then run every test
ifeq ($(strip $(ARGS)),)
	$(BIN)/pytest -q -n auto --dist worksteal --ignore tests/freshness --ignore tests/flood
	$(BIN)/pytest -q tests/freshness tests/flood
else
	$(BIN)/pytest -q -n auto --dist worksteal $(ARGS)
endif

freshness: setup ## revoke under load while one thing after the other fails, for longer than `make test` has time for
	FRESHNESS_SECONDS=$${FRESHNESS_SECONDS:-8} $(BIN)/pytest -q -n 2 --dist worksteal tests/freshness $(ARGS)

storm: setup ## kill -9 of the ca in a storm of issues and revocations, a hundred times in a row (STORM_KILLS, STORM_SEED)
	STORM_KILLS=$${STORM_KILLS:-100} $(BIN)/pytest -q -s -o faulthandler_timeout=0 tests/storm $(ARGS)

flood: setup ## an hour's worth of random questions in minutes: what hot answers keep of their rate (FLOOD_SECONDS)
	$(BIN)/python -m tests.flood $(ARGS)

check: setup generated-up-to-date ## formatting, lint, types, contracts, generated code, imports
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks migrations tools
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against protos/image.binpb
	$(BIN)/lint-imports --no-cache

format: setup ## format the code and the contracts
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix --quiet $(CODE)
	$(BIN)/buf format -w protos

generate: setup ## generate the Python code of the contracts
	@for out in python grpc_python mypy mypy_grpc; do flags="$$flags --$${out}_out=$(or $(OUT),protos)"; done; \
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos $$flags $(PROTOS) 2> >(grep -v '^Writing mypy' >&2)

generated-up-to-date: setup
	@out=$$(mktemp -d) && $(MAKE) --no-print-directory generate OUT=$$out && status=0; \
	for file in $$(cd $$out && find goodstanding -type f); do \
	  cmp -s $$out/$$file protos/$$file || { echo "protos/$$file is out of date: run make generate" >&2; status=1; }; done; \
	rm -rf $$out; exit $$status

image: setup ## record the contracts as they are, for `buf breaking` to compare with: once a release
	$(BIN)/buf build protos --exclude-source-info -o protos/image.binpb

lock: ## resolve the requirements anew (needs uv)
	@for set in build sdist; do uv pip compile requirements/$$set.in -o requirements/$$set.txt $(LOCK); done
	@uv pip compile pyproject.toml --extra dev -o requirements/dev.txt $(LOCK)
	@uv pip compile pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt $(LOCK)
	@uv pip compile requirements/bench.in -o requirements/bench.txt $(LOCK)
	@uv pip compile requirements/gateway.in -c requirements/dev.txt -o requirements/gateway.txt $(LOCK)
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --upgrade

conformance: setup ## run the conformance tests, and write docs/conformance.md from what they show
	$(BIN)/pytest -q -n auto --dist worksteal tests/conformance --ignore tests/conformance/test_page.py \
	  --conformance-page docs/conformance.md $(ARGS)

bench: setup ## measure OCSP answers, revoking and issuing beside nginx and openssl (ARGS=--quick: a minute)
	$(BIN)/python -m benchmarks $(ARGS)

bench-crls: setup ## measure revocation lists of a million entries: seconds and memory
	$(BIN)/python -m benchmarks.crls $(ARGS)

bench-import: setup ## import a million certificates by their statuses: seconds and memory (IMPORT_ROWS)
	$(BIN)/python -m benchmarks.imports --rows $${IMPORT_ROWS:-1000000} $(ARGS)

bench-peers: setup ## measure beside cfssl and django-ca, which it installs for the time being
	$(BIN)/python -m benchmarks.peers $(ARGS)

bench-scale: setup ## compare ten million certificates with ten thousand; takes long, and 20 GB (ARGS="--count 100000": a minute)
	$(BIN)/python -m benchmarks.scale $(ARGS)

# `make bench ARGS="--json docs/performance.json"` measures; this types.
bench-page: .venv/.bench ## put docs/performance.json, peers.json and scale.json into the pages and the picture
	$(BIN)/python -m benchmarks.page $(ARGS)

.venv/.bench: .venv/.installed requirements/bench.txt
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/bench.txt
	@touch $@

debian-weak-keys: setup ## make the lists of services/known_keys/debian anew; takes a day, or hours with gmpy2
	$(BIN)/python -m tools.debian_weak_keys $(ARGS)

clean: ## remove what was built, and .venv; data folders stay
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
