#!/usr/bin/env bash
# Sets up, then the main job: 200 simulated mice, a GAN and its control, the evaluation and its report.
source "$(dirname "$0")/setup.sh" ""
export OMP_NUM_THREADS=1
folder="runs/demo/$(date +%Y-%m-%d_%H-%M-%S)_$$"
started=$SECONDS
told() { echo "[$((SECONDS - started)) s] $*"; }
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

told "Simulating scans"
hspi-generate output="$folder/data"

told "Training the GAN and its control side by side (their output: $folder/*.log)"
hspi-train data.folder="$folder/data" run_dir="$folder/gan" experiment=gan >"$folder/gan.log" 2>&1 &
gan=$!
hspi-train data.folder="$folder/data" run_dir="$folder/control" experiment=control >"$folder/control.log" 2>&1 &
control=$!
wait "$gan" || { cat "$folder/gan.log" >&2; exit 1; }
wait "$control" || { cat "$folder/control.log" >&2; exit 1; }

told "Evaluating"
hspi-evaluate data.folder="$folder/data" runs.gan="$folder/gan" runs.control="$folder/control" \
    run_dir="$folder/evaluation"
told "Done: $folder/evaluation/report.html"
