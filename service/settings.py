"""Settings: each one is an environment variable, named XAVIER_ followed by the field in capitals."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from service.limits import ConnectionLimits, Limits

MEMORY: Final = "memory"
_DEFAULTS = Limits()
_CONNECTION = ConnectionLimits()
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


class Settings(BaseModel):
    """How this server runs; arguments override the environment, and the environment overrides the defaults.

    The description of each field is its documentation.
    """

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    workers: Positive = Field(default=1, description="Number of worker processes; each has its own threads.")
    threads: Positive = Field(
        default_factory=_cores, description="Threads that draw, in each process; by default one per core."
    )
    max_streams: Positive = Field(
        default=32, description="Most answers that are drawn at once, in each process; they share the threads."
    )
    max_queue: NotNegative = Field(
        default=256,
        description="Most answers that wait to be drawn, in each process; any more get 503 with Retry-After.",
    )
    max_planning_queue: NotNegative = Field(
        default=256,
        description=(
            "Most requests that wait to be planned, in each process; small and large ones wait in separate queues, and"
            " any more get 503."
        ),
    )
    max_plan_memory: NotNegative = Field(
        default=128 << 20,
        description="Approximate bytes of memory, in each process, for plans kept in case they are asked for again.",
    )
    max_plan_memory_in_use: Positive = Field(
        default=1 << 30,
        description=(
            "Approximate bytes of memory, in each process, for the plans of answers in progress, of which one caller"
            " may take half; beyond that, large specifications get 503."
        ),
    )
    max_whole_streams: Positive = Field(
        default=8,
        description=(
            "Most answers at once, in each process, whose matrices take more than 0.1 s to draw whole; they have places"
            " of their own, of which one caller may take half."
        ),
    )
    max_whole_queue: NotNegative = Field(
        default=64,
        description="Most answers that wait for those places, in each process; any more get 503 with Retry-After.",
    )
    bytes_per_minute: NotNegative = Field(
        default=0,
        description=(
            "Bytes per minute for each key, or else for each address, counted in each process unless the storage of"
            " budgets is shared; 0 sets no limit."
        ),
    )
    budget_storage: str = Field(
        default=MEMORY,
        pattern=f"^({MEMORY}$|rediss?://)",
        description=(
            "Where budgets are counted: memory, separately in each process, or the redis:// or rediss:// URL of a Redis"
            " that all workers and replicas share."
        ),
    )
    trusted_proxies: str = Field(
        default="",
        description=(
            "Addresses and networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted, separated"
            " by commas; empty trusts none."
        ),
    )
    api_keys: str = Field(
        default="", description="Bearer keys, separated by commas; without any key, everybody is let in."
    )
    api_keys_file: str = Field(default="", description="A file with more keys, one per line.")
    cors_origins: str = Field(
        default="", description="Origins whose pages may read answers, separated by commas; * for all."
    )
    metrics: Literal["open", "key", "off"] = Field(
        default="open", description="Whether /metrics is open, needs a key like everything else, or is off."
    )
    shutdown_seconds: Positive = Field(
        default=8, description="Seconds that answers in progress may take to finish after SIGTERM or Ctrl-C."
    )
    max_body_bytes: Positive = Field(default=_CONNECTION.body_bytes, description="Largest request body, in bytes.")
    max_connections: Positive = Field(
        default=_CONNECTION.connections, description="Most open connections, in each process; any more get 503."
    )
    max_url_bytes: Positive = Field(default=_CONNECTION.url_bytes, description="Longest URL of a request, in bytes.")
    max_request_header_bytes: Positive = Field(
        default=_CONNECTION.header_bytes, description="Most bytes in all header fields of a request together."
    )
    max_request_headers: Positive = Field(
        default=_CONNECTION.header_fields, description="Most header fields in a request."
    )
    receive_seconds: Positive = Field(
        default=int(_CONNECTION.receive_seconds),
        description="Seconds that the header of a request may take to arrive, and its body after that.",
    )
    stall_seconds: Positive = Field(
        default=int(_CONNECTION.stall_seconds),
        description="Seconds after which a client that reads nothing of its answer is cut off.",
    )
    max_spec_values: Positive = Field(
        default=_DEFAULTS.spec_values, description="Most JSON values in a specification, counting objects and arrays."
    )
    max_file_bytes: Positive = Field(default=_DEFAULTS.file_bytes, description="Most bytes of tensor data in a file.")
    max_tensors: Positive = Field(default=_DEFAULTS.tensors, description="Most tensors in a file.")
    max_different_tensors: Positive = Field(
        default=_DEFAULTS.different_tensors,
        description="Most tensors in a file that differ in more than their names; copies made by a repeat count once.",
    )
    max_header_bytes: Positive = Field(
        default=_DEFAULTS.header_bytes, description="Longest safetensors header, in bytes; many readers stop at 25 MB."
    )
    max_rank: Positive = Field(default=_DEFAULTS.rank, description="Most dimensions of a tensor.")
    max_dimension: Positive = Field(default=_DEFAULTS.dimension, description="Largest dimension of a tensor.")
    max_name_bytes: Positive = Field(default=_DEFAULTS.name_bytes, description="Longest tensor name, in UTF-8 bytes.")
    max_whole_elements: Positive = Field(
        default=_DEFAULTS.whole_elements,
        description=(
            "Most elements in a matrix that must be drawn whole (orthogonal, sparse); each takes 30 bytes of memory,"
            " and two matrices are drawn at once."
        ),
    )
    max_whole_total_elements: Positive = Field(
        default=_DEFAULTS.whole_total_elements, description="Most elements in all such matrices of a file together."
    )
    max_whole_bytes: Positive = Field(
        default=_DEFAULTS.whole_bytes,
        description=(
            "Most bytes of such matrices that are interleaved in one tensor, as groups are in Keras' order; all are"
            " held while a part is drawn, at 4 bytes per element, or 8 in F64."
        ),
    )
    max_cuts: Positive = Field(
        default=_DEFAULTS.cuts, description="Most different truncated normals in a specification."
    )
    max_json_values: Positive = Field(default=_DEFAULTS.json_values, description="Most values in a JSON answer.")

    @model_validator(mode="before")
    @classmethod
    def _with_the_environment(cls, given: dict[str, object]) -> dict[str, object]:
        variables = {name: f"XAVIER_{name.upper()}" for name in cls.model_fields}
        return {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ} | given

    @field_validator("budget_storage")
    @classmethod
    def _a_storage(cls, storage: str) -> str:
        if storage == MEMORY:
            return storage
        from redis.asyncio import ConnectionPool  # noqa: PLC0415 - slow to load, and rarely needed

        try:
            ConnectionPool.from_url(storage).make_connection()  # type: ignore[no-untyped-call]  # connects to nothing
        except TypeError as error:
            raise ValueError("the URL has an unknown option") from error
        return storage

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: str) -> str:
        for proxy in _listed(proxies):
            ip_network(proxy)
        return proxies

    @property
    def redis(self) -> str | None:
        """The URL of the Redis that counts budgets; None if each process counts its own."""
        return None if self.budget_storage == MEMORY else self.budget_storage

    @property
    def proxies(self) -> list[str]:
        """The networks of trusted proxies. IPv4 networks also appear as a dual-stack socket reports their addresses.

        RFC 4291 section 2.5.5.2 defines these IPv4-mapped addresses.
        """
        networks = [ip_network(proxy) for proxy in _listed(self.trusted_proxies)]
        mapped = [f"::ffff:{net.network_address}/{96 + net.prefixlen}" for net in networks if net.version == 4]
        return [*map(str, networks), *mapped]

    @property
    def keys(self) -> tuple[str, ...]:
        """The bearer keys, from the setting and from the file.

        Raises:
            OSError: the file cannot be read.
        """
        listed = _listed(self.api_keys)
        if self.api_keys_file:
            listed += Path(self.api_keys_file).read_text().splitlines()
        return tuple(key.strip() for key in listed if key.strip())

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose pages may read answers."""
        return tuple(_listed(self.cors_origins))

    @property
    def connection_limits(self) -> ConnectionLimits:
        """How much a connection may carry, and for how long."""
        return ConnectionLimits(
            connections=self.max_connections,
            url_bytes=self.max_url_bytes,
            header_bytes=self.max_request_header_bytes,
            header_fields=self.max_request_headers,
            body_bytes=self.max_body_bytes,
            receive_seconds=self.receive_seconds,
            stall_seconds=self.stall_seconds,
        )

    @property
    def limits(self) -> Limits:
        """How large a specification may be."""
        return Limits(
            spec_values=self.max_spec_values,
            file_bytes=self.max_file_bytes,
            tensors=self.max_tensors,
            different_tensors=self.max_different_tensors,
            header_bytes=self.max_header_bytes,
            rank=self.max_rank,
            dimension=self.max_dimension,
            name_bytes=self.max_name_bytes,
            whole_elements=self.max_whole_elements,
            whole_total_elements=self.max_whole_total_elements,
            whole_bytes=self.max_whole_bytes,
            cuts=self.max_cuts,
            json_values=self.max_json_values,
        )


def settings_table() -> str:
    """Every setting as a row of a Markdown table."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "cores" if field.default_factory else f"`{field.default}`"
        lines.append(f"| `XAVIER_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """A Markdown text with the current table between its settings markers."""
    before, opening, rest = text.partition("<!-- settings -->\n")
    _, closing, after = rest.partition("<!-- /settings -->")
    return f"{before}{opening}{settings_table()}\n{closing}{after}"


if __name__ == "__main__":
    page = Path("docs/operations.md")
    page.write_text(with_table(page.read_text()))
