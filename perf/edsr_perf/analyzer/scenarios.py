"""Scenarios: what is measured, as data; TOML files in perf/scenarios."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ScenarioError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

IN_PROCESS = "in-process"
PROTOCOLS = ("http", "grpc", IN_PROCESS)


@dataclass(frozen=True)
class Load:
    """One measurement: requests of one shape, sent in one way.

    Attributes:
        name: of its group in the scenario.
        height, width: LR pixels.
        protocol: "http", "grpc", or "in-process": the inference alone, one after the other, without a server.
        shared_memory: whether pictures go through system shared memory.
        concurrency: requests in flight all the time; 0 with `request_rate`.
        request_rate: requests a second, Poisson distributed; 0 with `concurrency`.
        requests: in every window.
    """

    name: str
    height: int
    width: int
    protocol: str = "http"
    shared_memory: bool = False
    concurrency: int = 0
    request_rate: float = 0.0
    requests: int = 50

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def label(self) -> str:
        """In words, without the group: "256x256 http, 2 in flight"."""
        how = f"{self.request_rate:g}/s" if self.request_rate else f"{self.concurrency} in flight"
        memory = ", shared memory" if self.shared_memory else ""
        return f"{self.height}x{self.width} {self.protocol}{memory}, {how}"


@dataclass(frozen=True)
class Tiled:
    """A large picture through the client: a square of `side` LR pixels, `rounds` times."""

    name: str
    side: int
    rounds: int


@dataclass(frozen=True)
class Scenario:
    """Everything of one file. Each load is measured in `windows` windows, whose spread is the noise."""

    name: str
    description: str
    windows: int
    loads: tuple[Load, ...]
    tiled: tuple[Tiled, ...]


def read_scenario(path: Path) -> Scenario:
    """A scenario from its file.

    Raises:
        ScenarioError: it cannot be read, or says something that cannot be measured.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ScenarioError(f"Cannot read the scenario {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScenarioError(f"{path} is not TOML: {error}.") from None
    return scenario_of(data, path.stem)


def scenario_of(data: Mapping[str, Any], name: str) -> Scenario:
    """A scenario from the content of its file.

    Raises:
        ScenarioError: it says something that cannot be measured.
    """
    _only(data, {"description", "windows", "measurement", "tiled"}, name)
    windows = _whole(data.get("windows", 3), f"{name}: windows")
    loads = [load for table in _list(data, "measurement", name) for load in _loads(table, name)]
    tiled = []
    for table in _list(data, "tiled", name):
        _only(table, {"name", "sides", "rounds"}, name)
        for side in _list(table, "sides", name):
            where = f"{name}: tiled"
            tiled.append(
                Tiled(str(table.get("name", "tiled")), _whole(side, where), _whole(table.get("rounds", 3), where))
            )
    if not loads and not tiled:
        raise ScenarioError(f"{name} measures nothing: it has neither [[measurement]] nor [[tiled]].")
    return Scenario(name, str(data.get("description", "")), windows, tuple(loads), tuple(tiled))


def _loads(table: Mapping[str, Any], name: str) -> Iterator[Load]:
    group = str(table.get("name", ""))
    where = f"{name}: measurement {group!r}"
    known = {"name", "sizes", "protocols", "shared_memory", "concurrency", "request_rate", "requests"}
    _only(table, known, where)
    sizes = _list(table, "sizes", where)
    if not group or not sizes:
        raise ScenarioError(f"{where} needs a name, and sizes = [[height, width], ...].")
    if bool(table.get("concurrency")) == bool(table.get("request_rate")):
        raise ScenarioError(f"{where} needs either concurrency or request_rate.")
    protocols = _list(table, "protocols", where, ["http"])
    if not all(protocol in PROTOCOLS for protocol in protocols):
        raise ScenarioError(f"{where}: protocols are {', '.join(PROTOCOLS)}, not {protocols}.")
    if IN_PROCESS in protocols and (len(protocols) > 1 or table.get("concurrency") != [1] or "shared_memory" in table):
        raise ScenarioError(f"{where}: {IN_PROCESS} stands in a table of its own, with concurrency = [1].")
    requests = _whole(table.get("requests", 50), where)
    for size in sizes:
        if not isinstance(size, list) or len(size) != 2:
            raise ScenarioError(f"{where}: a size is [height, width], not {size}.")
        height, width = (_whole(side, where) for side in size)
        for protocol in protocols:
            for shared in _list(table, "shared_memory", where, [False]):
                for number in _list(table, "concurrency", where):
                    yield Load(group, height, width, protocol, bool(shared), _whole(number, where), 0.0, requests)
                for rate in _list(table, "request_rate", where):
                    if not isinstance(rate, int | float) or not 0 < rate < 1e6:
                        raise ScenarioError(f"{where}: a request_rate is a number above 0, not {rate!r}.")
                    if rate > requests:  # perf_analyzer's own condition
                        raise ScenarioError(f"{where}: {requests} requests are less than one second at {rate:g}.")
                    yield Load(group, height, width, protocol, bool(shared), 0, float(rate), requests)


def _list(table: Mapping[str, Any], key: str, where: str, default: Sequence[Any] = ()) -> list[Any]:
    value = table.get(key, list(default))
    if not isinstance(value, list):
        raise ScenarioError(f"{where}: {key} must be a list, not {value!r}.")
    return value


def _only(table: Any, known: set[str], where: str) -> None:
    if not isinstance(table, dict):
        raise ScenarioError(f"{where}: every entry is a table, not {table!r}.")
    if unknown := sorted(set(table) - known):
        raise ScenarioError(f"{where} knows no {', '.join(unknown)}. It knows: {', '.join(sorted(known))}.")


def _whole(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ScenarioError(f"{where}: a whole number from 1 is needed, not {value!r}.")
    return value
