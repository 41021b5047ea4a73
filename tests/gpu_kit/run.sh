#!/bin/sh
# Checks the GPU of this host, without network: sh run.sh [--device cuda] [--seconds 600] [--out FOLDER]
# PYTHON names the Python that has torch (default: python3).
here=$(cd "$(dirname "$0")" && pwd) || exit 2
exec "${PYTHON:-python3}" "$here/install.py" "$@"
