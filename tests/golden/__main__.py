"""Add what is missing to the golden tables; with --rewrite-all-promises write them anew.

The latter breaks a promise to everyone who has weights of this service: only a new stream version may do it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from tests.golden.files import FILES
from tests.golden.tables import Differs, Table
from tests.golden.tensors import TENSORS

REWRITE: Final = "--rewrite-all-promises"


def main(arguments: list[str], tables: Iterable[Table] = (FILES, TENSORS)) -> str | None:
    """Append or rewrite; what went wrong, if anything did."""
    if arguments not in ([], [REWRITE]):
        return f"usage: python -m tests.golden [{REWRITE}]"
    for table in tables:
        if arguments:
            table.path.unlink(missing_ok=True)
        try:
            sys.stdout.write(f"{table.path.name}: {table.append()} rows added\n")
        except Differs as difference:
            return f"{difference}: a byte or an ETag that was promised has changed. Nothing was written."
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
