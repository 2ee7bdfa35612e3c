"""The size of the environment this runs in: distributions and megabytes, against the ceiling of the base install."""

import sys
from importlib.metadata import distributions
from pathlib import Path

LIMIT_COUNT, LIMIT_MB = 40, 150

found = [d for d in distributions() if d.metadata["Name"].lower() not in {"pip", "setuptools"}]
files = {Path(d.locate_file(f)) for d in found for f in (d.files or []) if not str(f).endswith(".pyc")}
size = sum(f.stat().st_size for f in files if f.is_file()) / 1e6
print(f"base install: {len(found)} distributions, {size:.0f} MB without bytecode")
if len(found) > LIMIT_COUNT or size > LIMIT_MB:
    sys.exit(f"over the ceiling of {LIMIT_COUNT} distributions and {LIMIT_MB} MB")
