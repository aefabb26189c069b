# Every recipe installs what it needs into .venv by itself; the second time that takes no time.

set positional-arguments
# The programs explain their errors themselves.
set no-exit-message

python := ".venv/bin/python"

# Hints of the programs then name the commands as they are typed here.
export VJEPA_STARTED_BY := just_executable()

# List the recipes.
default:
    @"{{ just_executable() }}" --list

# Serve the embedded demo engine, send it a video, print what it saw: the bundled sample, or VIDEO; --save FILE keeps it.
demo *ARGS: (_install "")
    @exec {{ python }} -m export.demo.show "$@"

# Checkpoint -> ONNX -> verified engine bundle: a hub id, a checkpoint directory, or demo; also list, show, verify, use.
export *ARGS: (_install "export")
    @exec {{ python }} -m export "$@"

# Serve a bundle (default: the pinned one, else the newest verified one that runs here, else the demo).
serve *ARGS: (_install "")
    @exec {{ python }} -m server "$@"

# Send videos to the service: files, cameras, streams, directories of images.
consume *ARGS: (_install "mqtt")
    @exec {{ python }} -m consumer "$@"

# Tell which actions are seen in recordings: files, directories, buckets; --out DIR keeps the results.
label *ARGS: (_install "archive")
    @exec {{ python }} -m archive "$@"

# Teach a head your own actions: `just teach NAME DIR`, where DIR holds a directory of videos for each action.
teach *ARGS: (_install "teach")
    @exec {{ python }} -m teaching "$@"

# Tell how right bundles and heads are on labelled videos: a directory of videos for each action.
evaluate *ARGS: (_install "teach")
    @exec {{ python }} -m evaluation "$@"

# Tell what runs on this machine, what is missing, and how to get it.
doctor *ARGS: (_install "")
    @{{ python }} -m vjepa.doctor "$@"

# Run the tests.
test *ARGS: (_install "export,dev")
    @{{ python }} -m pytest "$@"

# Run the fast tests of every room (tests/quick.txt) in under a minute; needs no torch.
test-quick *ARGS: (_install "test")
    @{{ python }} -m pytest @tests/quick.txt "$@"

# Run the tests, then what takes a container engine or minutes of load; says what this machine cannot run.
test-all *ARGS:
    @{{ just_executable() }} test "$@"
    @{{ just_executable() }} test-extra

# Run what `just test-all` adds: containers for CPUs, HAProxy, hostile requests and videos, the GPU script, archives, load.
test-extra: (_install "export,dev")
    #!/usr/bin/env bash
    set -euo pipefail
    {{ python }} -m tests.containers
    {{ python }} -m tests.fleet
    {{ python }} -m tests.protocol_fuzz
    {{ python }} -m tests.video_fuzz --videos 60
    {{ python }} -c 'import sys; from engines.device.cuda_driver import cuda_devices; sys.exit(not cuda_devices())' ||
        echo "skipped: what needs a GPU; run 'just gpu' on a machine that has one" >&2
    echo "rehearsing tests/gpu/run.sh with the packages of a GPU machine" >&2
    rehearsal=$(mktemp -d)
    trap 'rm -rf "$rehearsal"' EXIT
    PYTHON={{ python }} tests/gpu/run.sh --device cpu --small --allow-list --seconds 0.2 --work "$rehearsal"
    {{ python }} -m tests.archive.kills --videos 10 --kills 6
    {{ python }} -m tests.archive.kills --videos 10 --kills 4 --ray
    {{ python }} -m tests.archive.accuracy --videos 5
    # Both look for growth and not at speed, so they may run beside each other.
    {{ python }} -m tests.page_soak --minutes 1 & page=$!
    {{ python }} -m tests.soak --minutes 1
    wait "$page"

# Steady load, bad requests and clients that leave, for 20 minutes; nothing may grow.
soak *ARGS: (_install "export,dev")
    @{{ python }} -m tests.soak "$@"

# Our server beside FastAPI, LitServe, mosec and BentoML, as ratios within one run; or: load [BUNDLE].
bench *ARGS: (_install "export,dev")
    @case "${1-}" in ""|-*) exec {{ python }} -m tests.latency "$@";; *) what=$1; shift; exec {{ python }} -m "tests.latency.$what" "$@";; esac

# Try and measure all that needs a GPU, in two calls of nine minutes: --part 1, --part 2; --device cpu --small rehearses.
gpu *ARGS: (_install "export,gpu,dev")
    @PYTHON={{ python }} tests/gpu/run.sh "$@"

# Formatting, lint, types and directions of import of all rooms.
lint: (_install "export,dev")
    {{ python }} -m ruff format --check
    {{ python }} -m ruff check
    {{ python }} -m mypy
    .venv/bin/lint-imports

# Rewrite the files as `just lint` wants them.
format: (_install "export,dev")
    {{ python }} -m ruff format
    {{ python }} -m ruff check --fix

# Renew requirements.lock within the bounds of pyproject.toml.
lock: (_install "dev")
    {{ python }} -m pip install --quiet uv
    {{ python }} -m uv pip compile --universal --python-version 3.11 --extra export --extra ray --extra dev \
        --no-header --no-annotate --upgrade --output-file requirements.lock pyproject.toml

_install extras:
    #!/usr/bin/env bash
    set -euo pipefail
    [ -x {{ python }} ] || python3 -m venv .venv
    wanted=$(cat pyproject.toml requirements.lock | cksum)
    stamp=.venv/.installed-{{ if extras == "" { "server" } else { replace(extras, ",", "-") } }}
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || exit 0
    echo "installing {{ if extras == "" { "the server" } else { extras } }} into .venv ..." >&2
    {{ python }} -m pip install --quiet --disable-pip-version-check --constraint requirements.lock \
        --editable '.{{ if extras == "" { "" } else { "[" + extras + "]" } }}'
    echo "$wanted" > "$stamp"
