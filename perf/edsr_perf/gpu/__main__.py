"""``python -m edsr_perf.gpu``: the command `gpu` alone, for a machine that has PyTorch and onnx but not the client."""

import argparse
import sys

from .cli import add_command

parser = argparse.ArgumentParser(prog="python -m edsr_perf.gpu", description=__doc__)
add_command(parser.add_subparsers(required=True, metavar="command"))
args = parser.parse_args(["gpu", *sys.argv[1:]])
sys.exit(args.run(args))
