"""The constants of docs/stream.md, which is read when this is loaded: sections 6 and 7."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.docs.document import Page
from tests.stream import reference
from tests.stream.reference import Format

PAGE: Final = Page("stream.md")


def _format(name: str, base: Format) -> Format:
    """A working precision with the constants of section 6."""
    scalars = {row["constant"]: row[name] for row in PAGE.table(6, "constant", "binary32", "binary64")}
    pc, qc, pt, qt, lg = (PAGE.constants(6, name)[key] for key in ("PC", "QC", "PT", "QT", "LG"))
    y, s0, h = (float.fromhex(scalars[key]) for key in ("Y", "S0", "H"))
    return replace(base, y=y, s0=s0, h=h, m=int(scalars["M"], 16), pc=pc, qc=qc, pt=pt, qt=qt, lg=lg)


BINARY32: Final = _format("binary32", reference.BINARY32)
BINARY64: Final = _format("binary64", reference.BINARY64)
TP, TQ = (PAGE.constants(7, "tail")[name] for name in ("TP", "TQ"))


def precision(dtype: str) -> Format:
    """The working precision of a dtype."""
    return BINARY64 if dtype == "F64" else BINARY32
