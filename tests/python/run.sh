#!/usr/bin/env bash
# Lets Stripe's official Python SDK sign events for a running `tallystick dev`. Needs Python 3.9 with venv; installs
# into target/. TALLYSTICK_TEST_PROGRAM names a program to use instead of building one.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
venv=$target/python-venv

program=${TALLYSTICK_TEST_PROGRAM:-}
if [ -z "$program" ]; then
  cargo build --quiet --bin tallystick
  program=$target/debug/tallystick
fi

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/python/requirements.txt
exec "$venv/bin/python" tests/python/official_sdk.py "$program"
