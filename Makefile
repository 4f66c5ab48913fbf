# The commands of edsr-triton. `make` alone lists them.

# Release of NVIDIA's containers: Triton's, and TensorRT's that builds the engines for it. Both must be the same.
TRITON_VERSION := 26.07

PYTHON ?= python3
VENV ?= .venv
HTTP_PORT ?= 8000
GRPC_PORT ?= 8001
METRICS_PORT ?= 8002
BIND ?= 127.0.0.1
GATEWAY_BIND ?= 127.0.0.1
GATEWAY_PORT ?= 8080
RUN_DIR ?= .run
PRECISION ?= auto
FLAVOUR ?= auto
FUZZ_SECONDS ?= 300
IMAGE_NAME ?= edsr-triton
CONTAINER ?= edsr-triton

# Every variable that a user may set. A recipe never expands one: it gets its value by the environment, as "$$GPU", in
# quotes, so that nothing in it is read by a shell or by make. A new one belongs here; a test tries them all.
VARIABLES := TRITON_VERSION PYTHON VENV HTTP_PORT GRPC_PORT METRICS_PORT BIND RUN_DIR PRECISION FLAVOUR FUZZ_SECONDS \
	IMAGE_NAME CONTAINER GPU MODEL IMAGE PB T SHAPES URL SCENARIO A B JSON PRICES OPTIONS PUBLISH EXIT_TIMEOUT \
	DIR OUT GATEWAY_BIND GATEWAY_PORT WORKERS EXPOSE DEVICE
# Taken literally: `$(shell ...)` in a value stays text, in whatever is given on the command line.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(eval override $(name) := $$(value $(name)))))
$(foreach name,$(VARIABLES),$(if $(filter undefined,$(origin $(name))),,$(eval override $(name) := $$(value $(name)))))
export $(VARIABLES)

# Pieces of recipes. `override`: they are code, not settings.
override PY = "$${VENV:-.venv}/bin/python"
# $(call each,MODEL,--model) appends --model and a word to "$$@", for each word of MODEL.
override each = set -f; for word in $$$(1); do set -- "$$@" $(2) "$$word"; done;
override models = $(call each,MODEL,--model)
# PRECISION=auto is the card's or the processor's: which, the command knows.
# Its own parser of words and quotes, which runs nothing: T="-k 'this or that'".
override pytest = PYTEST_ADDOPTS="$$PYTEST_ADDOPTS $$T" $(PY) -m pytest
override engine-options = --gpu "$$GPU" --precision "$$PRECISION" "$$@"
override server-options = --run-dir "$$RUN_DIR" --bind "$$BIND" --http-port "$$HTTP_PORT" --grpc-port "$$GRPC_PORT" \
	--metrics-port "$$METRICS_PORT" --precision "$$PRECISION" $${GPU:+--gpu "$$GPU"} $(device) $${EXPOSE:+--expose "$$EXPOSE"} "$$@"
override web-options = --gateway-bind "$$GATEWAY_BIND" --gateway-port "$$GATEWAY_PORT" $${URL:+--url "$$URL"} \
	$${WORKERS:+--workers "$$WORKERS"} $(server-options)
# What the server inside needs on the host's side: pinned buffers and shared memory for answers of 224 MB.
override device = $${DEVICE:+--device "$$DEVICE"}
override docker-gpu = --gpus "$$gpus" --shm-size=2g --ulimit memlock=-1 --ulimit stack=67108864

# Figures become the project's own only when asked: PUBLISH=1.
override publish := $(if $(filter 1,$(PUBLISH)),--publish)
# What must be made before serving: engines are made by a command of their own.
override to-serve := $(if $(GPU),setup,$(if $(filter int8,$(PRECISION)),int8,onnx))
override need-gpu = $(if $(GPU),,$(error Name a card: make $(firstword $(MAKECMDGOALS)) GPU=t4. `make gpus` lists them, GPU=auto is the one in this machine))
override need-folder = $(if $(DIR),,$(error Name a folder: make torture DIR=folder))
override need-opencv = $(if $(and $(PB),$(OUT)),,$(error Name a graph and a file to write: make opencv PB=EDSR_x3.pb OUT=EDSR_x3.onnx))
override need-results = $(if $(and $(A),$(B)),,$(error Name two files of results: make perf-compare A=before.json B=after.json. `make perf` writes them into perf/results))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-gpu fuzz lint format fetch onnx int8 opencv configs halo perf perf-compare gpus plan sizing engines verify
.PHONY: torture perf-web perf-baselines roofline perf-gpu int8-layers scaling
# What others depend on, not for users.
.PHONY : known-gpu
.PHONY: web web-start web-stop serve start stop status image gateway-image engines-container up down clean clean-engines

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

setup: ## Make the Python environment .venv (once; again when its lists change)
	@"$${PYTHON:-python3}" -m tools.setup

demo: setup ## Upscale a photograph on a real Triton and show the gain; IMAGE=path for your own
	@$(PY) -m edsr_conversion onnx --model $(if $(wildcard models/EDSR_x3.pb),edsr_x3,edsr_baseline_x3)
	@$(PY) demo/run.py $${IMAGE:+"$$IMAGE"}

test: onnx ## Run all tests; T=path or T="-k name" narrows
	@$(pytest)

test-unit: setup ## Run the tests that start no process
	@$(pytest) tests/unit

test-gpu: onnx ## Run the tests that need an NVIDIA GPU; fails where there is none
	@EDSR_REQUIRE_GPU=1 $(pytest) tests/gpu

lint: setup ## Check style, types and the Dockerfile
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@"$${VENV:-.venv}/bin/hadolint" Dockerfile.triton

format: setup ## Format the code and mend what can be mended
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

fetch: setup ## Bring EDSR_x3.pb, verified; PB=/path/EDSR_x3.pb takes a local file
	@$(PY) -m edsr_conversion fetch $${PB:+--from "$$PB"}

onnx: setup ## Convert every model whose graph is present (MODEL= narrows)
	@$(models) $(PY) -m edsr_conversion onnx "$$@"

int8: onnx ## Convert to 8 bits, judged on photographs (MODEL=); PRECISION=int8 serves them
	@$(models) $(PY) -m edsr_conversion precision --precision int8 "$$@"

opencv: setup ## Convert a graph for OpenCV 5.1's own dnn_superres (PB=EDSR_x3.pb OUT=EDSR_x3.onnx)
	$(need-opencv)@$(PY) -m edsr_conversion opencv --out="$$OUT" -- "$$PB"

configs: setup ## Render Triton's configurations from models/models.toml and gpus.toml
	@$(PY) -m edsr_conversion configs

halo: onnx ## Measure what a small halo of tiles costs (MODEL= PUBLISH=1)
	@$(models) $(PY) -m edsr_perf halo $(publish) "$$@"

perf-baselines: onnx ## Our server against Flask, OpenCV, OpenVINO ... (MODEL= SHAPES= PUBLISH=1)
	@$(models) $(call each,SHAPES,--shapes) $(PY) -m edsr_perf baselines $(publish) "$$@"

roofline: onnx ## The physical limit and what is reached (MODEL= SHAPES= PUBLISH=1 GPU=)
	@$(models) $(call each,SHAPES,--shapes) $(PY) -m edsr_perf roofline $(publish) "$$@" \
		$(if $(GPU),$(if $(filter all,$(GPU)),--all,--gpu "$$GPU"))

int8-layers: onnx ## What each convolution costs in 8 bits (MODEL=); renders docs/int8-layers.svg
	@$(models) $(PY) -m edsr_perf int8-layers "$$@"

scaling: setup ## Time against pixels on a running server (URL=, PUBLISH=1)
	@$(call each,URL,--url) $(PY) -m edsr_perf scaling $(publish) "$$@"

perf-gpu: onnx ## Measure the NVIDIA GPU in this machine (MODEL= DEVICE=); fails where there is none
	@$(models) $(PY) -m edsr_perf gpu $(device) "$$@"

fuzz: setup ## Search for pictures and requests that break the client, for FUZZ_SECONDS (300)
	@EDSR_FUZZ_SECONDS="$$FUZZ_SECONDS" $(pytest) tests/fuzz --timeout 0

torture: onnx ## Any folder of files through `edsr batch`, against a second decoder (DIR= URL= OUT=)
	$(need-folder)@$(models) $(call each,URL,--url) $(PY) -m edsr_perf torture "$$DIR" $${OUT:+--out "$$OUT"} \
		"$$@" $$OPTIONS

perf: onnx ## Load-test with perf_analyzer (SCENARIO=quick|full|tail URL= MODEL= PRECISION=)
	@$(models) $(PY) -m edsr_perf run $${SCENARIO:+--scenario "$$SCENARIO"} $${URL:+--url "$$URL"} \
		--precision "$$PRECISION" "$$@"

perf-web: setup ## Two minutes of 50 clients on the gateway of `make web-start` (PUBLISH=1)
	@$(PY) -m edsr_perf web-load $(publish)

perf-compare: setup ## Two files of results side by side (A= B=); exit code 20 if B is slower
	$(need-results)@$(PY) -m edsr_perf compare "$$A" "$$B" --html perf/results/compare.html

gpus: setup ## List the cards of gpus.toml, and the GPUs in this machine
	@$(PY) -m edsr_conversion gpus

plan: setup ## What fits a card, what it will use, how fast it can be (GPU=t4 FLAVOUR=)
	$(need-gpu)@$(models) $(PY) -m edsr_conversion plan $(engine-options) --flavour "$$FLAVOUR" $${JSON:+--json}

sizing: setup ## All cards side by side (PRICES="t4=0.50"); renders docs/sizing.md
	@$(models) $(call each,PRICES,--price) $(PY) -m edsr_conversion sizing --write "$$@"

# Before a model is converted for it, which takes a minute.
known-gpu: setup
	$(need-gpu)@$(PY) -m edsr_conversion gpus --check "$$GPU"

engines: known-gpu onnx ## Build engines and configurations for a card (GPU=a10g|all FLAVOUR= PRECISION=)
	@$(models) $(PY) -m edsr_conversion engines $(engine-options) $(device) --flavour "$$FLAVOUR" $$OPTIONS

verify: known-gpu onnx ## Measure engines on their card: parity, memory, latency (GPU=a10g DEVICE=)
	@$(models) $(PY) -m edsr_conversion verify $(engine-options) $(device) --flavour "$$FLAVOUR"

web: $(if $(URL),setup,$(to-serve)) ## The page and the HTTP API, Triton behind them (GATEWAY_PORT= GATEWAY_BIND= URL=)
	@$(models) $(PY) -m edsr_serving web $(web-options)

web-start: $(if $(URL),setup,$(to-serve)) ## The same in the background; `make web-stop` stops it
	@$(models) $(PY) -m edsr_serving web-start $(web-options)

web-stop: setup ## Stop that gateway, and the Triton started with it (RUN_DIR= EXIT_TIMEOUT=)
	@$(PY) -m edsr_serving web-stop --run-dir "$$RUN_DIR" $${EXIT_TIMEOUT:+--exit-timeout "$$EXIT_TIMEOUT"}

serve: $(to-serve) ## Serve in the foreground, on the CPU or GPU= (HTTP_PORT= GRPC_PORT= BIND= MODEL=)
	@$(models) $(PY) -m edsr_serving run $(server-options)

start: $(to-serve) ## Serve in the background (RUN_DIR= and ports for a second server)
	@$(models) $(PY) -m edsr_serving start $(server-options)

stop: setup ## Stop the server in the background, answering what waits (RUN_DIR= EXIT_TIMEOUT=)
	@$(PY) -m edsr_serving stop --run-dir "$$RUN_DIR" $${EXIT_TIMEOUT:+--exit-timeout "$$EXIT_TIMEOUT"}

status: setup ## Does it answer, by a real request to each model; what else runs (RUN_DIR=)
	@$(PY) -m edsr_serving status --run-dir "$$RUN_DIR"

image: ## Build the server's container image (needs Docker)
	docker build --target server --build-arg "TRITON_VERSION=$$TRITON_VERSION" -f Dockerfile.triton \
		-t "$$IMAGE_NAME:$$TRITON_VERSION" .

gateway-image: ## Build the gateway's container image (needs Docker)
	docker build --target gateway -f Dockerfile.triton -t "$$IMAGE_NAME-gateway" .

engines-container: known-gpu onnx ## Build engines in NVIDIA's TensorRT container on the card (GPU=a10g)
	@$(models) $(PY) -m edsr_conversion precision --precision "$$PRECISION" "$$@"
	docker build --target engines --build-arg "TRITON_VERSION=$$TRITON_VERSION" -f Dockerfile.triton \
		-t "$$IMAGE_NAME-engines:$$TRITON_VERSION" .
	mkdir -p .cache
	$(models) gpus=$$($(PY) -m edsr_conversion gpus --docker "$$GPU" $(device)) && docker run --rm $(docker-gpu) --user "$$(id -u):$$(id -g)" \
		--volume "$$(pwd)/model_repository:/edsr/model_repository" --volume "$$(pwd)/models:/edsr/models:ro" \
		--volume "$$(pwd)/.cache:/edsr/.cache" \
		"$$IMAGE_NAME-engines:$$TRITON_VERSION" $(engine-options) --flavour tensorrt

up: setup ## Serve in Triton's container (GPU=a10g DEVICE=; else the CPU); `make image` first
	@$(models) config=$$($(PY) -m edsr_conversion container-check --release "$$TRITON_VERSION" \
		$${GPU:+--gpu "$$GPU" --precision "$$PRECISION"} "$$@") && \
	gpus=$$([ -z "$$GPU" ] || $(PY) -m edsr_conversion gpus --docker "$$GPU" $(device)) && set -x && \
	docker run --detach --name "$$CONTAINER" $(if $(GPU),$(docker-gpu),--shm-size=2g) \
		--publish "$$BIND:$$HTTP_PORT:8000" --publish "$$BIND:$$GRPC_PORT:8001" --publish "$$BIND:$$METRICS_PORT:8002" \
		--volume "$$(pwd)/model_repository:/models:ro" $${GPU:+--env CONFIG_NAME="$$config"} \
		--env MODEL="$${MODEL:-edsr_baseline_x3}" "$$IMAGE_NAME:$$TRITON_VERSION"

down: ## Stop and remove that container
	docker rm --force "$$CONTAINER"

clean: ## Remove what was built; engines and the environment stay
	@"$${PYTHON:-python3}" tools/clean.py

clean-engines: ## Remove the engines of GPUs, too
	@"$${PYTHON:-python3}" tools/clean.py engines
