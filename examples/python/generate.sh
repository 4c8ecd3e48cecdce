#!/usr/bin/env bash
# Generates the code of the API from proto/ as the package tallystick/, beside the watcher. PYTHON names an interpreter
# that has requirements-dev.txt.
set -euo pipefail
cd "$(dirname "$0")"
proto=../../proto
"${PYTHON:-python3}" -m grpc_tools.protoc -I "$proto" --python_out=. --pyi_out=. --grpc_python_out=. \
  "$proto"/tallystick/credits/v1/*.proto
