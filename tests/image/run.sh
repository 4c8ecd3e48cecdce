#!/usr/bin/env bash
# Builds the image without a daemon, and tries it: builds the static program, puts it into the Dockerfile's last stage,
# and runs what the chart would run inside the image's root, as the image's user, against a PostgreSQL that it throws
# away. Not part of .ci/run, since it needs a release build and root. Needs buildah, PostgreSQL and openssl.
# TALLYSTICK_IMAGE_PROGRAM names a static program to use instead of building one.
# Leaves the image in target/image/tallystick.tar, an OCI archive: `skopeo copy oci-archive:…` sends it to a registry.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
work=$target/image
venv=$target/chart-venv
export SQLX_OFFLINE=true STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
[ "$(id -u)" = 0 ] || { echo "run.sh: must be root: it mounts the image and changes its root" >&2; exit 2; }
command -v buildah >/dev/null || { echo "run.sh: needs buildah (apt-get install buildah)" >&2; exit 2; }

program=${TALLYSTICK_IMAGE_PROGRAM:-}
if [ -z "$program" ]; then
  cargo rustc --release --locked --package tallystick --bin tallystick -- -C target-feature=+crt-static
  program=$target/release/tallystick
fi
if ! ldd "$program" 2>&1 | grep -Eq 'statically linked|not a dynamic executable'; then
  echo "run.sh: $program needs libraries, and the image has none" >&2
  exit 2
fi

rm -rf "$work"
mkdir -p "$work/program"
# As in the Dockerfile.
strip --strip-debug -o "$work/program/tallystick" "$program"
buildah=(buildah --root "$PWD/$work/store" --runroot "$PWD/$work/run")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
"${buildah[@]}" build --quiet --build-context "program=$PWD/$work/program" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  --tag "tallystick:$version" . >/dev/null
"${buildah[@]}" push --quiet "tallystick:$version" "oci-archive:$work/tallystick.tar:tallystick:$version"
container=$("${buildah[@]}" from "tallystick:$version")
trap '"${buildah[@]}" umount "$container" >/dev/null; "${buildah[@]}" rm "$container" >/dev/null' EXIT
"${buildah[@]}" inspect --type image "tallystick:$version" >"$work/inspect.json"

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/chart/requirements.txt
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/chart "$venv/bin/python" tests/image/smoke.py \
  "$("${buildah[@]}" mount "$container")" "$work/inspect.json"
echo "image: $(du -h --apparent-size "$work/program/tallystick" | cut -f1) in its root," \
  "$(du -h --apparent-size "$work/tallystick.tar" | cut -f1) to send ($work/tallystick.tar)"
