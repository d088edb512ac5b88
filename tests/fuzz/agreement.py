"""A valid specification: every way to its weights gives the same bytes, and all that is said of them is so."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from click.testing import CliRunner

from service.cli.commands import cli
from service.formats.verification import comparisons, open_stored, planned_by_metadata
from service.limits import Limits
from service.schema.permalinks import MOST_IN_URL, encode_permalink, file_path
from tests.api.answers import arrays_of
from tests.formats.files import header_of, whole
from tests.fuzz.cases import Case, valid_case
from tests.fuzz.claims import check_described, decoded, same, same_bytes, same_values, strict_json
from tests.fuzz.exchanges import Client, Request, Wrong, query
from tests.fuzz.spellings import spelled

ON_THE_COMMAND_LINE: Final = 0.1
"""How often, as every start of it computes the known answers."""


def agreeing(client: Client, chance: Random) -> None:
    """Draw a specification, and hold every answer about it against what is drawn in this process.

    Raises:
        Wrong: something differs.
    """
    with TemporaryDirectory() as folder:
        _Agreement(client, chance, Path(folder), valid_case(chance)).check()


class _Agreement:
    def __init__(self, client: Client, chance: Random, folder: Path, case: Case) -> None:
        self.client, self.chance, self.folder, self.case = client, chance, folder, case
        self.text = spelled(case.spec, chance).encode()
        self.raw = whole(case.file)
        self.arrays = arrays_of(self.raw)
        self.etag = f'"{case.file.etag}"'

    def check(self) -> None:
        """Everything, in an order by chance, as answers are kept."""
        ways = [self.plan, self.posted, self.linked, self.as_json, self.statistics, self.file]
        if self.chance.random() < ON_THE_COMMAND_LINE:
            ways.append(self.command_line)
        for way in self.chance.sample(ways, len(ways)):
            way()

    def ask(self, method: str, target: str, body: bytes = b"", status: int = 200, **fields: str) -> httpx.Response:
        """An answer of the expected status; underscores in names of fields stand for hyphens."""
        named = tuple((name.replace("_", "-"), value.encode()) for name, value in fields.items())
        answer = self.client.ask(Request(method, target, body, named), self.case.bound)
        same(f"the status of {method} {target[:80]}", answer.status_code, status, answer.text[:300])
        return answer

    def post(self, path: str, options: dict[str, Any]) -> httpx.Response:
        """The answer about the specification as it is spelled."""
        return self.ask("POST", path + query(options), self.text)

    def plan(self) -> None:
        """Offsets are the header's; digest, ETag, length and permalink are ours; its canonical form is its own."""
        answer, header = self.post("/v1/plan", self.case.options).json(), header_of(self.raw)
        for each in answer["tensors"]:
            entry = {name: each[name] for name in ("dtype", "shape", "data_offsets")}
            same(f"the plan's {each['name']!r}", entry, header[each["name"]])
        same("the plan's names", {each["name"] for each in answer["tensors"]}, header.keys() - {"__metadata__"})
        same("the plan's ETag", answer["etag"], self.etag)
        same("the plan's length", answer["totals"]["file_bytes"], len(self.raw))
        same("the plan's digest", answer["digest"], self.case.plan.digest)
        same("the plan's permalink", answer["permalink"], self.path if self.is_linked else None)
        canonical = json.dumps(answer["canonical_spec"]).encode()
        again = self.ask("POST", f"/v1/plan?statistics={self.case.statistics}", canonical).json()
        same("the plan of the canonical form", again | {"warnings": answer["warnings"]}, answer)

    @property
    def path(self) -> str:
        """The permalink, with its query."""
        return file_path(self.case.file.plan.permalink, self.case.file.name, self.case.file.statistics)

    @property
    def is_linked(self) -> bool:
        """Whether there is a permalink."""
        return len(self.path) <= MOST_IN_URL

    def posted(self) -> None:
        """POST gives the file."""
        self._check_file("POST", self.post("/v1/weights", self.case.options))

    def _check_file(self, what: str, answer: httpx.Response) -> None:
        same(f"the ETag of {what}", answer.headers["etag"], self.etag)
        same_bytes(what, answer.content, self.raw)

    def linked(self) -> None:
        """The permalink gives the file, HEAD its length, ranges its parts; another spelling of it does, too."""
        if not self.is_linked:
            return
        head = self.ask("HEAD", self.path).headers
        same("HEAD's ETag and length", (head["etag"], head["content-length"]), (self.etag, str(len(self.raw))))
        self._check_file("GET", self.ask("GET", self.path))
        same("what is known", self.ask("GET", self.path, status=304, If_None_Match=self.etag).content, b"")
        self._check_ranges()
        other = f"/v1/weights/{encode_permalink(self.text)}/model.safetensors"
        if len(other) <= MOST_IN_URL:
            self._check_file("another permalink", self.ask("GET", other + query(self.case.options)))

    def _check_ranges(self) -> None:
        """Ranges that together are the file, in any order."""
        size, parts = len(self.raw), dict[int, bytes]()
        cuts = sorted({0, size, *(self.chance.randrange(size) for _ in range(3))})
        for first, stop in self.chance.sample([*pairwise(cuts)], len(cuts) - 1):
            asked = f"bytes={first}-{stop - 1}" if stop < size else f"bytes=-{stop - first}"
            answer = self.ask("GET", self.path, status=206, Range=asked, If_Range=self.etag)
            same("Content-Range", answer.headers["content-range"], f"bytes {first}-{stop - 1}/{size}")
            same("the ETag of a range", answer.headers["etag"], self.etag)
            parts[first] = answer.content
        same_bytes("ranges", b"".join(parts[first] for first in sorted(parts)), self.raw)

    def as_json(self) -> None:
        """JSON has the values of the file, as decimals or as bytes."""
        if self.case.plan.elements > Limits().json_values:
            return
        encoding = self.chance.choice(("decimal", "base64"))
        options = self.case.options | {"statistics": "measured", "format": "json", "encoding": encoding}
        answer, header = self.post("/v1/weights", options).json(), header_of(self.raw)
        same("the digest of JSON", answer["digest"], self.case.plan.digest)
        same("the names of JSON", {each["name"] for each in answer["tensors"]}, self.arrays.keys())
        for each in answer["tensors"]:
            name, stored = each["name"], self.arrays[each["name"]]
            same(f"the dtype of {name!r}", each["dtype"], header[name]["dtype"])
            same_values(name, decoded(each, encoding), stored)
            check_described(name, each["statistics"], stored)

    def statistics(self) -> None:
        """By body and by permalink alike, and true; the metadata has the same measured numbers."""
        answer = self.post("/v1/statistics", self.case.changes).json()
        for each in answer["tensors"]:
            check_described(each["name"], each["statistics"], self.arrays[each["name"]])
            if self.case.statistics == "measured":
                told = self._metadata()["tensors"][each["name"]]["statistics"]["measured"]
                same(f"the metadata's statistics of {each['name']!r}", told, each["statistics"]["measured"])
        if self.is_linked:
            linked = self.ask("GET", f"/v1/statistics/{self.case.plan.permalink}").json()
            same("statistics by permalink", linked, answer)

    def _metadata(self) -> Any:
        header = strict_json(self.raw[8 : 8 + int.from_bytes(self.raw[:8], "little")].decode())
        return strict_json(header["__metadata__"]["xavier"])

    def file(self) -> None:
        """Its metadata is JSON, and it is what that says."""
        metadata = self._metadata()
        same("the metadata's names", metadata["tensors"].keys(), self.arrays.keys())
        same("the metadata's digest", metadata["digest"], self.case.plan.digest)
        path = self.folder / "saved.safetensors"
        path.write_bytes(self.raw)
        stored = open_stored(path)
        differences = [found for compare in comparisons(stored, planned_by_metadata(stored)) if (found := compare())]
        same("what verify finds", differences, [])

    def command_line(self) -> None:
        """`generate` writes the file, and `verify` finds it right, by itself and by the specification."""
        spec, target = self.folder / "spec.json", self.folder / "generated.safetensors"
        spec.write_bytes(self.text)
        words = [word for name, value in self.case.changes.items() for word in (f"--{name}", str(value))]
        run("generate", str(spec), "-o", str(target), *words, "--statistics", self.case.statistics)
        same_bytes("generate", target.read_bytes(), self.raw)
        run("verify", str(target))
        if not self.case.changes:
            run("verify", str(target), "--spec", str(spec))


def run(*words: str) -> None:
    """Run the command line in this process.

    Raises:
        Wrong: it fails.
    """
    result = CliRunner().invoke(cli, words)
    if result.exit_code:
        raise Wrong(f"xavier {words[0]}: {result.exit_code}, {result.exception!r}: {result.output[:300]}")
