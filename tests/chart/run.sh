#!/usr/bin/env bash
# Checks the chart without a cluster: lint, rendering, Kubernetes' own schemas, refused values, facts about the objects,
# and the program itself, which has to accept what the chart passes to it. Needs Python 3.11 with venv; installs into
# target/. TALLYSTICK_TEST_PROGRAM names a program to use instead of building one.
# `run.sh --policies` runs checkov too, which takes longer to install than everything else together.
set -euo pipefail
cd "$(dirname "$0")/../.."
export TALLYSTICK_TEST_PROGRAM=${TALLYSTICK_TEST_PROGRAM:-}
target=${CARGO_TARGET_DIR:-target}
venv=$target/chart-venv
manifests=$target/chart-manifests
started=$SECONDS

if [ -z "$TALLYSTICK_TEST_PROGRAM" ]; then
  cargo build --quiet --locked --bin tallystick
  TALLYSTICK_TEST_PROGRAM=$target/debug/tallystick
fi
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/chart/requirements.txt

"$venv/bin/yamllint" --strict --config-file tests/chart/yamllint.yaml \
  helm/tallystick/Chart.yaml helm/tallystick/values.yaml helm/tallystick/ci tests/chart
"$venv/bin/hadolint" Dockerfile
rm -rf "$manifests"
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" tests/chart/rendered.py "$manifests"
# Machine-made lines may be long, and blank lines of a catalogue are indented.
"$venv/bin/yamllint" --strict --config-data \
  '{ extends: tests/chart/yamllint.yaml, rules: { line-length: disable, trailing-spaces: disable } }' "$manifests"
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" -m unittest discover --start-directory tests/chart

if [ "${1:-}" = --policies ]; then
  "$venv/bin/pip" install --quiet --disable-pip-version-check checkov==3.3.30
  # 11: no CPU limits, they make every caller wait. 35: the program reads the database's URL from a variable.
  # 15, 43: digest and pull policy are the operator's; ci/full-values.yaml has both.
  "$venv/bin/checkov" --directory "$manifests" --framework kubernetes --skip-download --compact --quiet \
    --skip-check CKV_K8S_11,CKV_K8S_35,CKV_K8S_15,CKV_K8S_43
fi
echo "chart: ok, $((SECONDS - started)) s"
