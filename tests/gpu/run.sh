#!/usr/bin/env bash
# All that there is to try and to measure on a GPU machine, in two calls of under nine minutes each; prints tables, and
# writes each row to a file at once, so that a call that is cut off loses nothing.
#
#   tests/gpu/run.sh [--wheels DIR] [--part 1|2] [--device cuda:0] [--small] [--minutes 9] [--only SECTION,...]
#                    [--work DIR] [--results DIR] [--allow-list]
#
# --wheels: what the machine lacks and cannot fetch; see tests/gpu/wheels.txt. --part: the sections of the first or the
# second call, which finds the bundles of the first in --work; without it, all of them. --device cpu --small rehearses
# it all without a GPU, with a model of a few layers, and --allow-list admits only the packages of the machine.
# PYTHON names the interpreter (default: python3).
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
    --allow-list)
        export PYTHONPATH=$PWD/tests/gpu/allow_list${PYTHONPATH:+:$PYTHONPATH}
        shift
        ;;
    *)
        arguments+=("$1")
        shift
        ;;
    esac
done
"$python" -u -m tests.gpu "${arguments[@]}"
