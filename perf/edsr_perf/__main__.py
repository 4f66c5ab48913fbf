"""``python -m edsr_perf``."""

import sys

from .cli import main

sys.exit(main())
