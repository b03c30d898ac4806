#!/usr/bin/env bash
# Sets up, then checks style and types and runs the tests that take minutes, not hours.
source "$(dirname "$0")/setup.sh" dev
export OMP_NUM_THREADS=1

ruff check .
ruff format --check .
# Types are checked beside the tests, and told at the end.
types="$(mktemp)"
trap 'rm -f "$types"' EXIT
mypy >"$types" 2>&1 &
checking=$!
tests=0
pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu" "$@" || tests=$?
wait "$checking" || tests=1
cat "$types"
exit "$tests"
