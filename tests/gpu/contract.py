"""The tests that need a GPU, in several processes where pytest-xdist is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from tests.gpu.setting import setting


def main() -> int:
    chosen = setting()
    selection = ["-m", "gpu", "tests/engines", "tests/export/test_targets.py"]
    if chosen.small and chosen.device == "cpu":
        # A rehearsal of the script, not of the tests, which run everywhere anyway.
        selection = ["tests/engines/test_cuda_graphs.py", "tests/engines/test_cuda_errors.py"]
    options = ["--override-ini=addopts=--import-mode=importlib", "-q", "-p", "no:cacheprovider", "-rs"]
    if importlib.util.find_spec("xdist") and not chosen.small:
        options += ["-n", "8"]
    command = [sys.executable, "-m", "pytest", *options, *selection]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
