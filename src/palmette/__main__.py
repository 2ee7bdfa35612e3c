"""`python -m palmette`."""

import sys

from palmette.cli.main import main

sys.exit(main())
