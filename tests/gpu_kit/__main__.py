"""Makes the kit (`make gpu-kit`): ``python -m gpu_kit [--python 3.12] [--data FOLDER] [--out FOLDER]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gpu_kit.make import KitError, make

parser = argparse.ArgumentParser(prog="gpu-kit", description="Gather what a GPU host without a package index lacks.")
parser.add_argument("--python", default="3.12", help="the Python of the GPU host (default: 3.12)")
parser.add_argument("--data", type=Path, help="a folder with MNIST and Fashion-MNIST, of which what fits is added")
parser.add_argument("--out", type=Path, default=Path("build/gpu-kit"), help="the folder (default: build/gpu-kit)")
options = parser.parse_args()
try:
    kit = make(options.out, python=options.python, data=options.data)
except KitError as error:
    print(f"gpu-kit: {error}", file=sys.stderr)
    sys.exit(2)
for line in kit.lines():
    print(line)
