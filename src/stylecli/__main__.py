"""The ``stylecli`` command, also as ``python -m stylecli``."""

import os


def main() -> None:
    """Run the command line; Ctrl-C is no error while it is still being imported, either."""
    try:
        from stylecli.cli import main as run

        run()
    except KeyboardInterrupt:
        os._exit(130)


if __name__ == "__main__":
    main()
