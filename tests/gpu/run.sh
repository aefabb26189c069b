#!/usr/bin/env bash
# All that there is to try and to measure on a GPU machine, in one go and under ten minutes; prints tables.
#
#   tests/gpu/run.sh [--wheels DIR] [--device cuda:0] [--small] [--minutes 9] [--only SECTION,...] [--work DIR]
#
# --wheels: what the machine lacks and cannot fetch; see tests/gpu/wheels.txt. --device cpu --small rehearses it all
# without a GPU, with a model of a few layers. PYTHON names the interpreter (default: python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PYTHON:-python3}
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --wheels)
        site=$(mktemp -d)
        trap 'rm -rf "$site"' EXIT
        "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$2"/*.whl
        export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
        shift 2
        ;;
    *)
        arguments+=("$1")
        shift
        ;;
    esac
done
"$python" -u -m tests.gpu "${arguments[@]}"
