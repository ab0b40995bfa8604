"""``python -m mtbench``."""

from mtbench.cli.main import entry

entry()
