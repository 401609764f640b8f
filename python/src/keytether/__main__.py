from __future__ import annotations

import argparse
import os
import sys
from typing import List, Optional

from . import _doctor
from ._version import __version__


def main(argv: Optional[List[str]] = None) -> int:
    """python -m keytether doctor"""
    parser = argparse.ArgumentParser(prog="python -m keytether", description="The Python package's own commands. Logins are the command keytether's.")
    parser.add_argument("--version", action="version", version="keytether " + __version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("doctor", help="what would go wrong here, and the mend")
    parser.parse_args(argv)
    try:
        code = _doctor.run(os.environ)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads it has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
