# The commands of edsr-triton. `make` alone lists them.

# Release of NVIDIA's container that Dockerfile.triton builds on.
TRITON_VERSION := 26.07

PYTHON ?= python3
VENV ?= .venv
HTTP_PORT ?= 8000
GRPC_PORT ?= 8001
METRICS_PORT ?= 8002
BIND ?= 127.0.0.1
PRECISION ?= auto

PY := $(VENV)/bin/python
SERVER_OPTIONS = --bind $(BIND) --http-port $(HTTP_PORT) --grpc-port $(GRPC_PORT) --metrics-port $(METRICS_PORT) \
	--precision $(PRECISION) $(addprefix --model ,$(MODEL))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit lint format fetch onnx configs serve start stop status image clean

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Make the Python environment .venv (once; again when its lists change)

$(VENV)/.installed: pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) tools/check_system.py
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about a minute and 3 GB"
	@$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable './client[grpc]' --editable '.[conversion,serving,demo,dev]'
	@# We run its tritonserver directly; its Python dependencies are not needed and rule out numpy 2.
	@$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps nvidia-pytriton
	@touch $@

demo: onnx ## Upscale a photograph on a real Triton and show the gain; IMAGE=path for your own
	@$(PY) demo/run.py $(if $(IMAGE),"$(IMAGE)")

test: onnx ## Run all tests; T=path or T="-k name" narrows
	@$(PY) -m pytest $(T)

test-unit: setup ## Run the tests that start no process
	@$(PY) -m pytest tests/unit $(T)

lint: setup ## Check style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: setup ## Format the code and mend what can be mended
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

fetch: setup ## Bring EDSR_x3.pb, verified; PB=/path/EDSR_x3.pb takes a local file
	@$(PY) -m edsr_conversion fetch $(if $(PB),--from "$(PB)")

onnx: setup ## Convert every model whose graph is present (MODEL= narrows)
	@$(PY) -m edsr_conversion onnx $(addprefix --model ,$(MODEL))

configs: setup ## Render model_repository/*/config.pbtxt from models/models.toml
	@$(PY) -m edsr_conversion configs

serve: onnx ## Serve in the foreground (HTTP_PORT= GRPC_PORT= BIND= MODEL= PRECISION=)
	@$(PY) -m edsr_serving run $(SERVER_OPTIONS)

start: onnx ## Serve in the background
	@$(PY) -m edsr_serving start $(SERVER_OPTIONS)

stop: setup ## Stop the server in the background
	@$(PY) -m edsr_serving stop

status: setup ## Is it running, and with which models
	@$(PY) -m edsr_serving status

image: onnx ## Build the container image (needs Docker)
	docker build --build-arg TRITON_VERSION=$(TRITON_VERSION) -f Dockerfile.triton -t edsr-triton .

clean: ## Remove what was built; the environment stays
	rm -rf demo/out .run build dist model_repository/*/1
