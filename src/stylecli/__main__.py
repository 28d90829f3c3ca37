"""``python -m stylecli``."""

from stylecli.cli import main

main()
