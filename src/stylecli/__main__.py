"""The ``stylecli`` command, also as ``python -m stylecli``."""

import gc
import os


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly, also while it is being imported."""
    gc.disable()  # until a command begins: imports make no garbage, and the search takes 0.04 s
    try:
        from stylecli.cli import main as run

        run()
    except KeyboardInterrupt:
        os._exit(130)


if __name__ == "__main__":
    main()
