"""The engines' own tests, with those that need a GPU where there is one."""

from __future__ import annotations

import subprocess
import sys

from tests.gpu.setting import setting


def main() -> int:
    chosen = setting()
    selection = ["tests/engines", "tests/export/test_targets.py"]
    if chosen.small and chosen.device == "cpu":
        # A rehearsal of the script, not of the tests, which run everywhere anyway.
        selection = ["tests/engines/test_cuda_graphs.py", "tests/engines/test_cuda_errors.py"]
    # In one process: there is one GPU, and the machine may lack pytest-xdist.
    options = ["--override-ini=addopts=--import-mode=importlib", "-q", "-p", "no:cacheprovider", "-rs"]
    command = [sys.executable, "-m", "pytest", *options, *selection]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
