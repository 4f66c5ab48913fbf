"""``python -m edsr_conversion``."""

import sys

from .cli import main

sys.exit(main())
