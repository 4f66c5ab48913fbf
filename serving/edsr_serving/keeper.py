"""Keeps a server running: starts it, starts it again when it had to be ended, and stops it in good order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from .errors import RequestsCutOffError, ServingError, StartupError
from .options import ServerOptions
from .server import RunningServer, start

MAX_RESTARTS = 10
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
# A server that ran so long without trouble begins to count anew.
WELL_AFTER_S = 300.0
CHECK_S = 0.1


@dataclass
class Restarts:
    """How often, and after which pause, a server may be started again; pure.

    The pause doubles each time, so that one that cannot live does not keep the machine busy, and a request that ends
    every server does not end it for good at once.
    """

    count: int = 0

    def delay_s(self, lived_s: float) -> float | None:
        """The pause before the next start of a server that lived so long; None if there were too many."""
        if lived_s >= WELL_AFTER_S:
            self.count = 0
        self.count += 1
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (self.count - 1)) if self.count <= MAX_RESTARTS else None


@dataclass
class Keeper:
    """One server, kept until it is asked to stop.

    Attributes:
        options: where and what.
        make_way: called with the run folder before anything in it is touched.
        tell: told of every change: the server that is ready, or None and why there is none now.
        patience_s: how long requests may take when it is stopped, given the options' time; asked then.
        stopping: set it to stop the server, its requests answered.
        hurrying: set it too to stop it at once.
        is_serving: whether it is past the first start, which only an exception stops.
    """

    options: ServerOptions
    make_way: Callable[[Path], None]
    tell: Callable[[RunningServer | None, str], None]
    patience_s: Callable[[float], float] = float
    stopping: Event = field(default_factory=Event)
    hurrying: Event = field(default_factory=Event)
    is_serving: bool = False

    def run(self) -> None:
        """Serve until `stopping` is set.

        Raises:
            ServingError: it did not start.
            StartupError: it ended too often.
            RequestsCutOffError: it was stopped, and not all requests were answered in time.
        """
        server = start(self.options, make_way=self.make_way)
        self.is_serving = True
        restarts = Restarts()
        while True:
            began = time.monotonic()
            self.tell(server, "")
            reason = self._wait(server)
            if not reason:
                return self._stop(server)
            server.end()
            found = self._start_again(server, reason, restarts, time.monotonic() - began)
            if found is None:
                return None
            server = found

    def _wait(self, server: RunningServer) -> str:
        """Returns why the server has ended; "" when it shall stop."""
        while not self.stopping.wait(CHECK_S):
            if server.guard.ended.is_set():
                return server.guard.reason
        return ""

    def _start_again(
        self, last: RunningServer, reason: str, restarts: Restarts, lived_s: float
    ) -> RunningServer | None:
        """The next server; None if it shall stop meanwhile."""
        while (delay_s := restarts.delay_s(lived_s)) is not None:
            text = f"{reason}; start {restarts.count} of {MAX_RESTARTS} again in {delay_s:g} s"
            last.guard.say(text, "W")
            self.tell(None, text)
            if self.stopping.wait(delay_s):
                return None
            try:
                return start(self.options, make_way=self.make_way, again=True)
            except ServingError as error:
                reason, lived_s = str(error), 0.0
        last.guard.say(f"{reason}; ended too often, and not started again", "E")
        raise StartupError(
            f"The server ended {MAX_RESTARTS + 1} times, the last time because {reason}. It is not started again. "
            f"Its log: {last.log.absolute()}"
        )

    def _stop(self, server: RunningServer) -> None:
        given_s = self.patience_s(self.options.exit_timeout_s)
        lost = server.stop(given_s, self.hurrying)
        if lost:
            server.guard.say(f"stopped; {lost} request(s) were cut off", "W")
            raise RequestsCutOffError(
                lost,
                f"The server was stopped, and {lost} request(s) were cut off: they were not answered within "
                f"{given_s:g} s, or it was told to hurry. --exit-timeout gives them longer.",
            )
        server.guard.say("stopped; every request was answered")
