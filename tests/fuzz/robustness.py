"""Mutated requests: an answer always, the same one again, no defect, and pointers that lead into what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final
from urllib.parse import unquote

import httpx

from service.api.http.problems import STATUSES
from service.delivery.pool import cost_of_all
from service.errors import XavierError
from service.formats.safetensors import SafetensorsFile
from service.plan import Plan, make_plan
from service.schema.model import ModelSpec
from service.schema.parsing import MOST_RECEIVED, read_spec
from service.schema.permalinks import inflate_permalink, read_linked
from tests.api.answers import assert_problem
from tests.fuzz.cases import drawing_bound, planning_bound, valid_case
from tests.fuzz.claims import same
from tests.fuzz.documents import mutated_text
from tests.fuzz.exchanges import REFUSING, Bound, Client, Request, Wrong
from tests.fuzz.junk import damaged
from tests.fuzz.permalinks import deflated, mutated_permalink, permalink_of
from tests.fuzz.requests import mutated_request

Verdict = Plan | XavierError
"""A plan, or why there is none."""
BY_THE_WAY: Final = frozenset({"x-request-id", "date", "retry-after"})
"""Header fields of an answer that may be others the next time."""
NOT_OURS: Final = frozenset({501, 503, 505})
"""Statuses above 499 that are no defect: methods and versions that are unknown, and turning away."""
MOST_DRAWN: Final = 8 << 20
MOST_WHOLE_WORK: Final = 200_000_000
LITTLE: Final = (("Range", b"bytes=0-99"),)
LONGEST: Final = 15_000
"""Characters of a permalink that the server still takes for one."""


def mutated_document(client: Client, chance: Random) -> None:
    """A specification with something wrong, by body and by permalink, is what this process takes it for.

    Raises:
        Wrong: an answer is none, or differs.
    """
    text = mutated_text(chance)
    planned = _planned(lambda: read_spec(text))
    filed = _filed(planned)
    _check_post(client, "/v1/plan", text, filed)
    if _is_affordable(planned):
        path = chance.choice(("/v1/weights", "/v1/statistics"))
        _check_post(client, path, text, planned if path == "/v1/statistics" else filed)
    _check_links(client, text, chance)


def _check_post(client: Client, path: str, text: bytes, verdict: Verdict) -> None:
    answer = _asked_twice(client, Request("POST", path, text), _bound(verdict))
    same(f"the status of {path}", answer.status_code, _too_large(text) or _status(verdict), answer.text[:300])
    _check(answer, text)


def _check_links(client: Client, text: bytes, chance: Random) -> None:
    permalink = permalink_of(deflated(text, chance))
    if len(permalink) > LONGEST:
        return
    verdict = _filed(_planned(lambda: read_linked(inflate_permalink(permalink))))
    bound = _bound(verdict)
    head = _asked_twice(client, Request("HEAD", f"/v1/weights/{permalink}/model.safetensors"), bound)
    same("the status of HEAD", head.status_code, _status(verdict))
    answer = _asked_twice(client, Request("GET", f"/v1/weights/{permalink}/model.safetensors", fields=LITTLE), bound)
    if _is_affordable(verdict):
        same("the status of GET", answer.status_code, 206 if isinstance(verdict, Plan) else _status(verdict))
    _check(answer)


def mutated_link(client: Client, chance: Random) -> None:
    """A permalink that something has happened to.

    Raises:
        Wrong: as above.
    """
    text = json.dumps(valid_case(chance).spec).encode()
    permalink = mutated_permalink(text, chance)
    verdict = _planned(lambda: read_linked(inflate_permalink(unquote(permalink))))
    path = chance.choice((f"/v1/weights/{permalink}/model.safetensors", f"/v1/statistics/{permalink}"))
    method = chance.choice(("GET", "HEAD")) if _is_affordable(verdict) else "HEAD"
    _check(_asked_twice(client, Request(method, path, fields=LITTLE), _bound(verdict)))


def mutated_http(client: Client, chance: Random) -> None:
    """A request that is strange, or no request at all.

    Raises:
        Wrong: as above.
    """
    case = valid_case(chance)
    text = json.dumps(case.spec).encode()
    path = f"/v1/weights/{case.plan.permalink}/model.safetensors"
    whole = (Request("POST", path, text) for path in ("/v1/plan", "/v1/weights", "/v1/statistics"))
    request = mutated_request(chance.choice((*whole, Request("GET", path), Request("HEAD", path))), chance)
    raw = request.raw()
    if chance.random() < 0.15:
        raw = damaged(raw, chance)
    if not raw.strip():
        return  # where nothing is asked, nothing is answered
    ask = partial(client.exchange, raw, request.method, request.target, case.bound)
    _check(_twice(ask, request.target))


def _asked_twice(client: Client, request: Request, bound: Bound) -> httpx.Response:
    return _twice(partial(client.ask, request, bound), request.target)


def _twice(ask: Callable[[], httpx.Response | None], target: str) -> httpx.Response:
    """The answer, if it is the same when asked for again."""
    first, second = ask(), ask()
    if first is None or second is None:
        raise Wrong(f"{target[:80]}: the connection was closed without an answer")
    if not any(target.startswith(path) for path in ("/metrics", "/v1/info")):
        same(f"{target[:80]}, asked again", _lasting(second), _lasting(first))
    return first


def _lasting(answer: httpx.Response) -> tuple[Any, ...]:
    fields = sorted((name, value) for name, value in answer.headers.items() if name not in BY_THE_WAY)
    return answer.status_code, fields, answer.content


def _check(answer: httpx.Response, text: bytes = b"") -> None:
    """Raises Wrong for a defect, and for what is no problem document but should be one."""
    status = answer.status_code
    if status >= 500 and status not in NOT_OURS:
        raise Wrong(f"{status}: {answer.text[:300]}")
    if status < 400 or not answer.content:
        return
    try:
        document = assert_problem(answer, status)
    except (AssertionError, ValueError) as error:
        raise Wrong(f"a bad problem document: {error}: {answer.text[:500]}") from error
    check_pointers(document.get("errors", []), text)


def check_pointers(errors: Sequence[dict[str, str]], text: bytes) -> None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    for error in errors:
        if not _leads_somewhere(error.get("pointer", ""), document):
            raise Wrong(f"a pointer that leads nowhere: {error}")


def _leads_somewhere(pointer: str, document: Any) -> bool:
    """Whether all but the last of its names are there; the last may be one that is missing."""
    if pointer and not pointer.startswith("/"):
        return False
    names = [name.replace("~1", "/").replace("~0", "~") for name in pointer.split("/")[1:]]
    for place, name in enumerate(names):
        if isinstance(document, list):
            if not (name.isdecimal() and int(name) < len(document)):
                return False
            document = document[int(name)]
        elif isinstance(document, dict):
            found = [
                key for key in document if key == name or (name.endswith("…") and key.startswith(name[:MOST_RECEIVED]))
            ]
            if not found:
                return place == len(names) - 1
            document = document[found[0]]
        else:
            return False
    return True


def _planned(read: Callable[[], ModelSpec]) -> Verdict:
    """What this process makes of a specification."""
    try:
        return make_plan(read())
    except XavierError as error:
        return error


def _filed(verdict: Verdict) -> Verdict:
    """What it makes of that as a file, whose header is bounded, too."""
    try:
        return verdict if isinstance(verdict, XavierError) else SafetensorsFile(verdict).plan
    except XavierError as error:
        return error


def _status(verdict: Verdict) -> int:
    return 200 if isinstance(verdict, Plan) else STATUSES[type(verdict)]


def _too_large(text: bytes) -> int | None:
    return 413 if len(text) > 4 << 20 else None


def _is_affordable(verdict: Verdict) -> bool:
    """Whether it may be drawn: all of it if it is a plan, and nothing if not."""
    if isinstance(verdict, XavierError):
        return True
    return verdict.nbytes <= MOST_DRAWN and cost_of_all(verdict).whole_work <= MOST_WHOLE_WORK


def _bound(verdict: Verdict) -> Bound:
    """What a request about it may cost: to refuse it, to plan it, or to draw it."""
    if isinstance(verdict, XavierError):
        return REFUSING
    return drawing_bound(verdict) if _is_affordable(verdict) else planning_bound(verdict)
