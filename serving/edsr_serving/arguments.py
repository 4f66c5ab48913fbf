"""Command lines that `make` calls: what is wrong with an option is said with the variable that it came from, too."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

# Those of the Makefile.
VARIABLES = {
    **{
        "--gpu": "GPU",
        "--model": "MODEL",
        "--precision": "PRECISION",
        "--flavour": "FLAVOUR",
        "--device": "DEVICE",
        "--price": "PRICES",
    },
    **{"--bind": "BIND", "--http-port": "HTTP_PORT", "--grpc-port": "GRPC_PORT", "--metrics-port": "METRICS_PORT"},
    **{"--hardware-compatibility": "OPTIONS", "--profiling": "OPTIONS", "--optimization-level": "OPTIONS"},
    **{
        "--gateway-bind": "GATEWAY_BIND",
        "--gateway-port": "GATEWAY_PORT",
        "--workers": "WORKERS",
        "--url": "URL",
        "--expose": "EXPOSE",
    },
    "--from": "PB",
    "--exit-timeout": "EXIT_TIMEOUT",
}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors name the variable of `make` beside the option."""

    def error(self, message: str) -> NoReturn:
        option = re.match(r"argument (--[a-z-]+)", message)
        variable = VARIABLES.get(option[1]) if option else None
        if option and variable:
            message = message.replace(option[1], f"{option[1]} (`make ... {variable}=`)", 1)
        super().error(message)
