# The commands of edsr-triton. `make` alone lists them.

# Release of NVIDIA's containers: Triton's, and TensorRT's that builds the engines for it. Both must be the same.
TRITON_VERSION := 26.07

PYTHON ?= python3
VENV ?= .venv
HTTP_PORT ?= 8000
GRPC_PORT ?= 8001
METRICS_PORT ?= 8002
BIND ?= 127.0.0.1
PRECISION ?= auto

PY := $(VENV)/bin/python
# fp16, fp32 and int8 are engines' precisions; auto, int8, bf16 and f32 the CPU's. An engine's auto is fp16.
ENGINE_OPTIONS = --gpu "$(GPU)" $(addprefix --model ,$(MODEL)) --precision $(if $(filter auto,$(PRECISION)),fp16,$(PRECISION))
FLAVOUR ?= auto
IMAGE_NAME ?= edsr-triton
CONTAINER := edsr-triton
# What the server inside needs on the host's side: pinned buffers and shared memory for answers of 224 MB.
DOCKER_GPU := --gpus all --shm-size=2g --ulimit memlock=-1 --ulimit stack=67108864

# What must be made before serving: engines are made by a command of their own.
TO_SERVE = $(if $(GPU),setup,$(if $(filter int8,$(PRECISION)),int8,onnx))
SERVER_OPTIONS = --bind $(BIND) --http-port $(HTTP_PORT) --grpc-port $(GRPC_PORT) --metrics-port $(METRICS_PORT) \
	--precision $(PRECISION) $(addprefix --model ,$(MODEL)) $(if $(GPU),--gpu "$(GPU)")
need-gpu = $(if $(GPU),,$(error Name a card: make $(firstword $(MAKECMDGOALS)) GPU=t4. `make gpus` lists them, GPU=auto is the one in this machine))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-gpu fuzz lint format fetch onnx int8 configs halo perf perf-compare gpus plan sizing engines verify
.PHONY: perf-baselines roofline perf-gpu int8-layers scaling
# What others depend on, not for users.
.PHONY : known-gpu
.PHONY: serve start stop status image engines-container up down clean clean-engines

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Make the Python environment .venv (once; again when its lists change)

$(VENV)/.installed: pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) tools/check_system.py
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about a minute and 3.5 GB"
	@$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable './client[grpc,heif,gigapixel,video]' --editable '.[conversion,engines,serving,serving-gpu,perf,demo,dev]'
	@# We run pytriton's tritonserver directly: its Python dependencies are not needed and rule out numpy 2.
	@# The stubs would bring the whole of TensorRT, which is not needed for types.
	@$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps \
		nvidia-pytriton tensorrt-stubs
	@$(PY) tools/typings.py $(VENV)/typings
	@touch $@

demo: onnx ## Upscale a photograph on a real Triton and show the gain; IMAGE=path for your own
	@$(PY) demo/run.py $(if $(IMAGE),"$(IMAGE)")

test: onnx ## Run all tests; T=path or T="-k name" narrows
	@$(PY) -m pytest $(T)

test-unit: setup ## Run the tests that start no process
	@$(PY) -m pytest tests/unit $(T)

test-gpu: onnx ## Run the tests that need an NVIDIA GPU; fails where there is none
	@EDSR_REQUIRE_GPU=1 $(PY) -m pytest tests/gpu $(T)

lint: setup ## Check style, types and the Dockerfile
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/hadolint Dockerfile.triton

format: setup ## Format the code and mend what can be mended
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

fetch: setup ## Bring EDSR_x3.pb, verified; PB=/path/EDSR_x3.pb takes a local file
	@$(PY) -m edsr_conversion fetch $(if $(PB),--from "$(PB)")

onnx: setup ## Convert every model whose graph is present (MODEL= narrows)
	@$(PY) -m edsr_conversion onnx $(addprefix --model ,$(MODEL))

int8: onnx ## Convert to 8 bits, judged on photographs (MODEL=); PRECISION=int8 serves them
	@$(PY) -m edsr_conversion precision --precision int8 $(addprefix --model ,$(MODEL))

configs: setup ## Render Triton's configurations from models/models.toml and gpus.toml
	@$(PY) -m edsr_conversion configs

halo: onnx ## Measure what a small halo of tiles costs (MODEL=); renders docs/tiling.md
	@$(PY) -m edsr_perf halo $(addprefix --model ,$(MODEL))

perf-baselines: onnx ## Our server against Flask, OpenCV, ONNX Runtime, OpenVINO (MODEL= SHAPES=)
	@$(PY) -m edsr_perf baselines $(addprefix --model ,$(MODEL)) $(addprefix --shapes ,$(SHAPES))

roofline: onnx ## The physical limit here and what is reached (MODEL= SHAPES=); GPU=t4|all: of cards
	@$(PY) -m edsr_perf roofline $(addprefix --model ,$(MODEL)) $(addprefix --shapes ,$(SHAPES)) \
		$(if $(GPU),$(if $(filter all,$(GPU)),--all,--gpu "$(GPU)"))

int8-layers: onnx ## What each convolution costs in 8 bits (MODEL=); renders docs/int8-layers.svg
	@$(PY) -m edsr_perf int8-layers $(addprefix --model ,$(MODEL))

scaling: setup ## Time against pixels on a running server (URL=); renders docs/scaling.svg
	@$(PY) -m edsr_perf scaling $(addprefix --url ,$(URL))

perf-gpu: onnx ## Measure the NVIDIA GPU in this machine (MODEL=); fails where there is none
	@$(PY) -m edsr_perf gpu $(addprefix --model ,$(MODEL))

fuzz: setup ## Search for pictures and requests that break the client, for FUZZ_SECONDS (300)
	@EDSR_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),300) $(PY) -m pytest tests/fuzz --timeout 0 $(T)

perf: onnx ## Load-test with perf_analyzer (SCENARIO=quick|full|tail URL= MODEL= PRECISION=)
	@$(PY) -m edsr_perf run $(addprefix --scenario ,$(SCENARIO)) $(addprefix --url ,$(URL)) $(addprefix --model ,$(MODEL)) \
		--precision $(PRECISION)

perf-compare: setup ## Two files of results side by side (A= B=); exit code 20 if B is slower
	@$(PY) -m edsr_perf compare "$(A)" "$(B)" --html perf/results/compare.html

gpus: setup ## List the cards of gpus.toml
	@$(PY) -m edsr_conversion gpus

plan: setup ## What fits a card, what it will use, how fast it can be (GPU=t4)
	$(need-gpu)@$(PY) -m edsr_conversion plan $(ENGINE_OPTIONS) $(if $(JSON),--json)

sizing: setup ## All cards side by side (PRICES="t4=0.50"); renders docs/sizing.md
	@$(PY) -m edsr_conversion sizing --write $(addprefix --price ,$(PRICES)) $(addprefix --model ,$(MODEL))

# Before a model is converted for it, which takes a minute.
known-gpu: setup
	$(need-gpu)@$(PY) -m edsr_conversion gpus --check "$(GPU)"

engines: known-gpu onnx ## Build engines and configurations for a card (GPU=a10g|all FLAVOUR= PRECISION=)
	@$(PY) -m edsr_conversion engines $(ENGINE_OPTIONS) --flavour $(FLAVOUR) $(OPTIONS)

verify: known-gpu onnx ## Measure engines on their card: parity, memory, latency (GPU=a10g)
	@$(PY) -m edsr_conversion verify $(ENGINE_OPTIONS) --flavour $(FLAVOUR)

serve: $(TO_SERVE) ## Serve in the foreground, on the CPU or GPU= (HTTP_PORT= GRPC_PORT= BIND= MODEL=)
	@$(PY) -m edsr_serving run $(SERVER_OPTIONS)

start: $(TO_SERVE) ## Serve in the background
	@$(PY) -m edsr_serving start $(SERVER_OPTIONS)

stop: setup ## Stop the server in the background, its requests answered (EXIT_TIMEOUT= seconds, 60)
	@$(PY) -m edsr_serving stop $${EXIT_TIMEOUT:+--exit-timeout "$$EXIT_TIMEOUT"}

status: setup ## Does it answer, and with which models: a real request of one pixel to each
	@$(PY) -m edsr_serving status

image: ## Build the server's container image (needs Docker)
	docker build --target server --build-arg TRITON_VERSION=$(TRITON_VERSION) -f Dockerfile.triton \
		-t $(IMAGE_NAME):$(TRITON_VERSION) .

engines-container: known-gpu onnx ## Build engines in NVIDIA's TensorRT container on the card (GPU=a10g)
	@$(PY) -m edsr_conversion precision $(addprefix --model ,$(MODEL)) \
		--precision $(if $(filter auto,$(PRECISION)),fp16,$(PRECISION))
	docker build --target engines --build-arg TRITON_VERSION=$(TRITON_VERSION) -f Dockerfile.triton \
		-t $(IMAGE_NAME)-engines:$(TRITON_VERSION) .
	mkdir -p .cache
	docker run --rm $(DOCKER_GPU) --user "$$(id -u):$$(id -g)" \
		--volume "$(CURDIR)/model_repository:/edsr/model_repository" --volume "$(CURDIR)/models:/edsr/models:ro" \
		--volume "$(CURDIR)/.cache:/edsr/.cache" \
		$(IMAGE_NAME)-engines:$(TRITON_VERSION) $(ENGINE_OPTIONS) --flavour tensorrt

up: setup ## Serve engines in Triton's container (GPU=a10g), or on the CPU; `make image` first
	@config=$$($(PY) -m edsr_conversion container-check --release $(TRITON_VERSION) \
		$(if $(GPU),$(ENGINE_OPTIONS),$(addprefix --model ,$(MODEL)))) && set -x && \
	docker run --detach --name $(CONTAINER) $(if $(GPU),$(DOCKER_GPU),--shm-size=2g) \
		--publish $(BIND):$(HTTP_PORT):8000 --publish $(BIND):$(GRPC_PORT):8001 --publish $(BIND):$(METRICS_PORT):8002 \
		--volume "$(CURDIR)/model_repository:/models:ro" $(if $(GPU),--env CONFIG_NAME="$$config") \
		--env MODEL=$(if $(MODEL),$(MODEL),edsr_baseline_x3) $(IMAGE_NAME):$(TRITON_VERSION)

down: ## Stop and remove that container
	docker rm --force $(CONTAINER)

clean: ## Remove what was built; engines and the environment stay; refused while a server runs
	@$${PYTHON:-python3} tools/clean.py

clean-engines: ## Remove the engines of GPUs, too
	@$${PYTHON:-python3} tools/clean.py engines
