#!/usr/bin/env bash
# Sets up, then the main job: 200 simulated mice, a GAN and its control, the evaluation and its report.
# Ends with the time of each stage.
source "$(dirname "$0")/setup.sh" ""
export OMP_NUM_THREADS=1
folder="runs/demo/$(date +%Y-%m-%d_%H-%M-%S)_$$"
mkdir -p "$folder"
started=$SECONDS
times=""
told() { echo "[$((SECONDS - started)) s] $*"; }
stage() { # NAME COMMAND...: runs it, and notes how long that took
    local name=$1 began=$SECONDS
    shift
    told "$name"
    "$@"
    times+="$(printf '%-36s %5d s' "$name" $((SECONDS - began)))"$'\n'
}
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

simulate() { hspi-generate output="$folder/data"; }

train() { # the GAN and its control side by side
    hspi-train data.folder="$folder/data" run_dir="$folder/gan" experiment=gan >"$folder/gan.log" 2>&1 &
    local gan=$!
    hspi-train data.folder="$folder/data" run_dir="$folder/control" experiment=control >"$folder/control.log" 2>&1 &
    local control=$!
    wait "$gan" || { cat "$folder/gan.log" >&2; exit 1; }
    wait "$control" || { cat "$folder/control.log" >&2; exit 1; }
    grep -h " in [0-9]* s$" "$folder/gan.log" || true # what was prepared before the training, and how long it took
}

evaluate() {
    hspi-evaluate data.folder="$folder/data" runs.gan="$folder/gan" runs.control="$folder/control" \
        run_dir="$folder/evaluation"
}

stage "Matrices and simulated scans" simulate
told "Training writes to $folder/gan.log and $folder/control.log"
stage "Training of GAN and control" train
stage "Evaluation" evaluate
told "Done: $folder/evaluation/report.html"
printf '\n%s%-36s %5d s\n' "$times" "All" $((SECONDS - started))
