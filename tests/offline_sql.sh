#!/usr/bin/env bash
# The data by which `sqlx::query!` checks SQL without a database (.sqlx).
#   tests/offline_sql.sh write   make it anew, from a database with the migrations
#   tests/offline_sql.sh check   fail when it is not what the migrations and the queries say
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:?usage: tests/offline_sql.sh write|check}
work=$(mktemp -d)
mkfifo "$work/ready"

# An empty database: `dev` migrates it and says where it is.
cargo build --quiet --locked -p tallystick
target/debug/tallystick dev --ephemeral --grpc-addr 127.0.0.1:0 --edge-addr 127.0.0.1:0 --ops-addr 127.0.0.1:0 \
  >"$work/ready" 2>"$work/log" &
dev=$!
trap 'kill "$dev" 2>/dev/null; wait "$dev" 2>/dev/null; rm -rf "$work"' EXIT
read -r ready <"$work/ready" || { cat "$work/log" >&2; exit 1; }
url=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["database_url"])' "$ready")

mkdir "$work/sqlx"
touch services/store/src/lib.rs
SQLX_OFFLINE=false DATABASE_URL=$url SQLX_OFFLINE_DIR="$work/sqlx" cargo check --quiet --locked -p tallystick-store
case $mode in
  write) rm -rf .sqlx && cp -r "$work/sqlx" .sqlx && echo "wrote $(find .sqlx -name '*.json' | wc -l) queries" ;;
  check) diff -r .sqlx "$work/sqlx" || { echo "run: tests/offline_sql.sh write" >&2; exit 1; } ;;
  *) echo "unknown mode $mode" >&2; exit 2 ;;
esac
