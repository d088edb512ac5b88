"""Content negotiation by `Accept` (RFC 9110 section 12.5.1), lenient where the field is malformed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from service.api.problems import RequestRefused


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that the caller likes best; the first of equals.

    Args:
        accept: the Accept field; None or empty accepts anything.
        offered: media types without parameters, in the server's order of preference.

    Raises:
        RequestRefused: 406, none is acceptable.
    """
    ranges = list(_ranges(accept or "*/*"))
    if not any(quality for _, quality in ranges):
        return offered[0]  # accepting nothing at all says nothing
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) == 0:
        raise RequestRefused(406, f"this resource comes as {' or '.join(offered)}")
    return best


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for item in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in item.split(";"))
        qualities = [part[2:] for part in parameters if part.startswith("q=")]
        if media_range:
            yield media_range, _number(qualities[0]) if qualities else 1.0


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality that the most specific matching range gives."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == wanted:
                return quality
    return 0.0
