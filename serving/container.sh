#!/bin/sh
# Starts Triton in its container: MODEL is the one model that is loaded, CONFIG_NAME the configuration of a card
# (configs/<name>.pbtxt); without it config.pbtxt serves on the CPU.
# Configurations were validated when they were rendered, so nothing is guessed; the pinned pool holds two of the largest
# answers.
set -eu
exec tritonserver --model-repository=/models --model-control-mode=explicit --load-model="${MODEL}" \
	--disable-auto-complete-config --pinned-memory-pool-byte-size=536870912 \
	${CONFIG_NAME:+--model-config-name="${CONFIG_NAME}"} "$@"
