#!/usr/bin/env bash
# Tests the CUDA path and times it beside the CPU, then trains for some minutes:
#   scripts/check_gpu.sh              with .venv, or with PYTHON=python3 and packages that are there
#   MINUTES=5 CAMERA=demo VOXELS=24 THREADS=8 scripts/check_gpu.sh
# Every stage runs, whatever became of the ones before; the exit status tells whether all went well.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${PYTHON:-}" ]; then
    PYTHON=.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
threads="${THREADS:-$(nproc)}"
camera="${CAMERA:-demo_coarse}"
folder="${FOLDER:-runs/check_gpu/$(date +%Y-%m-%d_%H-%M-%S)_$$}"
mkdir -p "$folder"
failed=()

stage() {
    local name="$1" began=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        echo "== $name: done in $((SECONDS - began)) s"
    else
        echo "== $name: FAILED after $((SECONDS - began)) s"
        failed+=("$name")
    fi
}

describe() {
    "$PYTHON" - <<'PY'
import platform, torch
print(f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
if not torch.cuda.is_available():
    raise SystemExit("torch sees no CUDA device")
card = torch.cuda.get_device_properties(0)
print(f"{card.name}, {card.total_memory / 2**30:.0f} GiB, compute capability {card.major}.{card.minor}")
PY
}

tests() {
    OMP_NUM_THREADS=1 "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider --durations=5 \
        tests/test_gpu.py tests/hspi_learn/commands/test_gpu_training.py
}

timings() {
    OMP_NUM_THREADS="$threads" "$PYTHON" scripts/time_devices.py \
        --camera "$camera" --voxels "${VOXELS:-24}" --threads "$threads"
}

generation() {
    "$PYTHON" -m hspi_learn.commands.generate output="$folder/data" camera.name_or_path="$camera" \
        "dataset.sizes={train: 32, validation: 4, test: 2}" workers="$threads"
}

training() {
    "$PYTHON" -m hspi_learn.commands.train data.folder="$folder/data" run_dir="$folder/run" trainer=gpu \
        threads="$threads" trainer.max_steps="${STEPS:-600}" "+trainer.max_time={minutes: ${MINUTES:-5}}"
}


stage "Card" describe
stage "Tests" tests
stage "Timings" timings
stage "Simulating scans" generation
stage "Training" training
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'Failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "All stages done: $folder"
