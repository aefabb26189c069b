"""``python consumer/rtsp_consumer.py rtsp://CAMERA/PATH [options]`` runs the consumer as a script.

It does the same as ``python -m consumer``, from any directory, even if the package is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this file's directory first on the path; from there, modules would be imported under wrong names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from consumer.__main__ import main

    main()
