# Every recipe installs what it needs into .venv by itself; the second time that takes no time.

set positional-arguments

python := ".venv/bin/python"

# List the recipes.
default:
    @just --list

# Serve the embedded demo engine, send it a video, print what it saw: a rendered motion, or VIDEO.
demo *ARGS: (_install "")
    @{{ python }} -m export.demo.show "$@"

# Checkpoint -> ONNX -> verified engine bundle: a hub id, a checkpoint directory, or demo.
export *ARGS: (_install "export")
    @{{ python }} -m export "$@"

# Serve a bundle (default: the newest that this machine can run, else the demo).
serve *ARGS: (_install "")
    @exec {{ python }} -m server "$@"

# Send videos to the service: files, cameras, streams, directories of images.
consume *ARGS: (_install "mqtt")
    @exec {{ python }} -m consumer "$@"

# Run the tests.
test *ARGS: (_install "export,dev")
    @{{ python }} -m pytest "$@"

# Steady load, bad requests and clients that leave, for 20 minutes; nothing may grow.
soak *ARGS: (_install "export,dev")
    @{{ python }} -m tests.soak "$@"

# Benchmarks, as ratios within one run: load [BUNDLE].
bench WHAT *ARGS: (_install "export,dev")
    @shift; {{ python }} -m tests.latency.{{ WHAT }} "$@"

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
    {{ python }} -m uv pip compile --universal --python-version 3.11 --extra export --extra dev \
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
