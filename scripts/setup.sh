# Sourced by the other scripts: makes .venv with the tested versions, once, and puts it first on the path.
#   source scripts/setup.sh ""      what the commands need
#   source scripts/setup.sh dev     and what the tests need
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fitting_python() {
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer, with venv, is needed and was not found on the path." >&2
    return 1
}

if [ ! -x .venv/bin/python ]; then
    echo "Making .venv"
    python="$(fitting_python)"
    "$python" -m venv .venv
fi

wanted="$(cat pyproject.toml constraints.txt | cksum) $PWD"
stamp=".venv/installed${1:+-$1}"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing (some minutes)"
    # Of 17,000 files a few thousand are ever imported; those compile themselves when they are.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".${1:+[$1]}"
    echo "$wanted" >"$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
