# otabench: everything people and CI run. `make help` lists the targets.
#
# Each target sets up what it needs and is missing (apt packages, the virtual environment, a kernel with CAN) and does
# nothing twice. Work that needs a CAN bus runs under setup/with-can: on this kernel if it has CAN, else in a guest kernel.

SHELL      := /bin/bash
PYTHON     ?= python3
VENV       := .venv
BIN        := $(VENV)/bin
STAMPS     := $(VENV)/.stamps
HMI_PORT   ?= 8080
BENCH      ?=
FAULT      ?=
TRANSFER   ?=
ENCRYPT    ?=
REQUIRE    ?=
TESTS      ?=
ARGS       ?=

BENCH_OPTIONS = $(if $(BENCH),--bench $(BENCH)) $(if $(FAULT),--fault $(FAULT)) $(if $(TRANSFER),--transfer $(TRANSFER)) \
                $(if $(ENCRYPT),--encrypt) --hmi-port $(HMI_PORT) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup setup-test bench up test test-all test-debian13 sweep fuzz docs lint sbom fmt proto lock kernel guest-selftest clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make bench FAULT=engine:boot-fail   the new engine image never boots: watch both ECUs roll back"
	@echo "  make bench TRANSFER=full            full images instead of patches   (auto, full, delta)"
	@echo "  make bench ENCRYPT=1                every file encrypted for the ECU it is for"
	@echo "  make bench BENCH=my.bench.yaml      another bench file               HMI_PORT=8081 another port for the HMI"
	@echo "  make test  TESTS=tests/ecu          some of the tests                ARGS='-k transfer' more options"

bench: setup  ## the main job: a signed campaign updates two ECUs over vcan0, with a report (exit status tells the result)
	@setup/with-can --fallback $(BIN)/otabench bench run $(BENCH_OPTIONS)

up: setup  ## the same bench, left running: prints the HMI's link, Ctrl-C stops everything
	@setup/with-can --fallback --forward $(HMI_PORT) $(BIN)/otabench up $(BENCH_OPTIONS)

test: setup-test  ## every test (TESTS=path, ARGS=options, REQUIRE=all makes missing capabilities failures)
	@setup/run-tests $(if $(REQUIRE),--require $(REQUIRE)) $(ARGS) $(TESTS)

test-all: setup-test  ## every test, with the full products of combinations of which `make test` runs a pairwise choice
	@setup/run-tests --exhaustive $(if $(REQUIRE),--require $(REQUIRE)) $(ARGS) $(TESTS)

test-debian13:  ## the README's commands and a share of the tests on Debian 13, in a root made by debootstrap (needs root)
	@setup/on-debian trixie setup/test-system $(TESTS)

sweep: setup-test  ## exhaustive sweeps (more than an hour), with the figures for docs/sweeps.md
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target $(SWEEPS)

# Two at the same time: a guest kernel has one processor. The longest comes first.
SWEEPS := sweep-gateway sweep-frames sweep-messages sweep-powercut sweep-random
.PHONY: $(SWEEPS)
sweep-frames:
	@time setup/with-can $(BIN)/otabench perf frames

sweep-messages:
	@time setup/with-can $(BIN)/otabench perf message-cut

sweep-powercut:
	@time $(BIN)/otabench perf powercut

sweep-gateway:
	@time $(BIN)/python -m tests.sweeps

sweep-random:
	@time $(BIN)/python -m pytest -q --exhaustive --hypothesis-show-statistics tests/ecu_firmware_sim/test_random_*.py tests/ecu_firmware_sim/sweep tests/personalities

fuzz: setup-test  ## mutated images, patches, metadata, requests, bench files, captures and control messages (EXAMPLES=20000 of each)
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(BIN)/python -m pytest -q --exhaustive --hypothesis-show-statistics tests/fuzz tests/ecu_firmware_sim/test_random_requests.py

docs: $(STAMPS)/python  ## the documentation site, into site/ (strict: a link that leads nowhere is an error)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html; with search: $(BIN)/python -m http.server --directory site 8000"

lint: $(STAMPS)/python  ## ruff, mypy (strict), and bandit (findings of high severity)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --severity-level high --recursive bench cloud docs_site ecu_firmware_sim proto setup

sbom: $(STAMPS)/python  ## bill of materials of the virtual environment: sbom.json (CycloneDX)
	@test -x .venv-sbom/bin/cyclonedx-py || { python3 -m venv .venv-sbom && .venv-sbom/bin/pip install --quiet 'cyclonedx-bom>=7,<8'; }
	@.venv-sbom/bin/cyclonedx-py environment --output-format JSON --output-file sbom.json $(BIN)/python
	@echo "sbom.json"

fmt: $(STAMPS)/python  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(STAMPS)/python  ## generate proto/ota_pb2*.py from proto/ota.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. otabench/proto/ota.proto

lock: $(STAMPS)/python  ## write requirements.lock from what the virtual environment holds
	$(BIN)/pip freeze --all --exclude pip --exclude-editable > requirements.lock

setup:  ## what `make bench` needs: apt packages, virtual environment, a kernel with CAN
	@setup/packages.sh run
	@$(BOTH)

setup-test:  ## what `make test` needs
	@setup/packages.sh test
	@$(BOTH) $(STAMPS)/labgrid

# At the same time: a kernel's build keeps all processors busy, pip mostly waits for the network.
BOTH = $(MAKE) --silent --no-print-directory --jobs=2 $(STAMPS)/python kernel

kernel:
	@setup/with-can --fallback --build-only >/dev/null

# The virtual environment: made once, brought up to date when requirements.lock or pyproject.toml changed.
$(STAMPS)/python: requirements.lock pyproject.toml setup/venv.sh
	@setup/venv.sh $(PYTHON) $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# An environment of its own for labgrid, whose pyserial replaces ours: only tests of a shared lab use it.
$(STAMPS)/labgrid: setup/labgrid.lock setup/labgrid.sh | $(STAMPS)/python
	@if setup/labgrid.sh $(VENV); then touch $@; fi

guest-selftest: $(STAMPS)/python  ## test the guest kernel's runner from the host
	@setup/guest/selftest.sh

clean:  ## remove runs, traces and caches of the tools
	rm -rf runs traces site .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## and the virtual environment (the guest kernel stays in ~/.cache/otabench)
	rm -rf $(VENV)
