"""``python consumer/rtsp_consumer.py rtsp://CAMERA/PATH [options]``: the consumer as a file to run.

The same as ``python -m consumer``, from any directory, whether or not the package is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this file's own directory first, where modules would be found under wrong names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from consumer.__main__ import main

    main()
