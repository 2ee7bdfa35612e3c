"""Print the n-th set-up command of the README, so that the continuous integration runs what a newcomer reads."""

import re
import sys
from pathlib import Path

blocks = re.findall(r"```sh\n(python -m pip install [^`]*)```", Path("README.md").read_text())
print(blocks[int(sys.argv[1])].strip())
