"""Draw the golden bytes on emulated machines, and print who is equal and who is refused: `make platforms`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.platforms.questions import Json, questions
from tests.platforms.roots import ARCHITECTURES, Architecture, NotToBeHad, python

PROJECT: Final = Path(__file__).parents[2]
FOLDER: Final = PROJECT / ".platforms"
LONGEST: Final = 3600
BOOTSTRAP: Final = "import sys; sys.path += sys.argv[1:]; from tests.platforms.drawing import main; main()"


def report_of(command: list[str], packages: Path, asked: str) -> Json:
    """What a machine's Python reports when it is asked.

    Raises:
        NotToBeHad: it ends without a report.
    """
    started = [*command, "-I", "-S", "-B", "-c", BOOTSTRAP, str(packages), str(PROJECT)]
    try:
        done = subprocess.run(started, input=asked, capture_output=True, text=True, check=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"no report after {LONGEST} s") from None
    except subprocess.CalledProcessError as failed:
        raise NotToBeHad(f"no report: {(failed.stderr.splitlines() or ['nothing said'])[-1]}") from None
    report: Json = json.loads(done.stdout)
    return report


def outcome(report: Json) -> str:
    """Whether a machine is equal, refused, or wrong without being refused."""
    equal = report["asked"] - len(report["differ"])
    if report["refused"]:
        return f"refused: {report['refused']} ({equal:,} of {report['asked']:,} are equal)"
    if report["differ"]:
        return f"WRONG and not refused: {len(report['differ']):,} of {report['asked']:,}: {report['differ'][:3]}"
    return f"equal: all {report['asked']:,}"


def tried(architecture: Architecture, asked: str) -> tuple[str, bool]:
    """A line of the table, and whether the machine may draw what it draws."""
    try:
        report = report_of(*python(architecture, FOLDER), asked)
    except NotToBeHad as fault:
        return f"{architecture.name:<8} not to be had: {fault}", True
    machine = f"{report['machine']}, {report['order']}-endian, Python {report['python']}, NumPy {report['numpy']}"
    return f"{architecture.name:<8} {machine:<56} {outcome(report)}", bool(report["refused"] or not report["differ"])


def main() -> int:
    """Print the table; 1 if a machine draws other bytes and is not refused."""
    asked, sound = json.dumps(questions()), True
    for architecture in ARCHITECTURES:
        line, may_draw = tried(architecture, asked)
        sound &= may_draw
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
