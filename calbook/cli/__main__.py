"""``python -m calbook.cli``: the same as ``calbook``."""

import sys

from calbook.cli import main

sys.exit(main())
