#!/usr/bin/env bash
# Sets up, then checks style and types and runs the tests that take minutes, not hours.
source "$(dirname "$0")/setup.sh" dev
export OMP_NUM_THREADS=1

ruff check .
ruff format --check .
mypy
pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu" "$@"
