"""Whether a server truly answers: a real inference of one pixel, with a time limit."""

from __future__ import annotations

import json
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote

from .heartbeat import Beat, read_beats
from .options import ServerOptions

TIMEOUT_S = 5.0
ONE_PIXEL = {
    "id": "edsr-status",
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 0, 0]}],
}
# A backend that said nothing for so long is not taken for one that computes.
FRESH_S = 3.0


def state_of_model(options: ServerOptions, model: str, beats: Path, timeout_s: float = TIMEOUT_S) -> tuple[bool, str]:
    """Whether a model can be asked, and how it is in words.

    One whose only trouble is other people's requests can: it answers when they are done.
    """
    problem = infer_one_pixel(options, model, timeout_s)
    if not problem:
        return True, "ready"
    if "maximum queue size" in problem:
        return True, "ready, but its queue is full"
    now = time.monotonic()
    for beat in read_beats(beats):
        if beat.model == model and beat.is_busy and now - beat.at_s < FRESH_S:
            return True, _busy(beat, now)
    return False, f"not ready: {problem}"


def infer_one_pixel(options: ServerOptions, model: str, timeout_s: float = TIMEOUT_S) -> str:
    """Why a request of one pixel got no answer; "" if it did."""
    url = f"http://{options.http_url}/v2/models/{quote(model)}/infer"
    # No proxies: this is our own server, whatever the environment says of the way out.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, json.dumps(ONE_PIXEL).encode(), {"Content-Type": "application/json"})
    try:
        with direct.open(request, timeout=timeout_s) as response:
            answer = json.load(response)
        return "" if answer["outputs"][0]["data"] else "it answers a request of one pixel with nothing"
    except HTTPError as error:
        return f"a request of one pixel is refused ({error.code}): {_message(error.read())}"
    except TimeoutError:
        return f"no answer to a request of one pixel in {timeout_s:g} s"
    except (OSError, HTTPException) as error:
        if isinstance(getattr(error, "reason", None), TimeoutError):
            return f"no answer to a request of one pixel in {timeout_s:g} s"
        return f"no connection to {options.http_url}"
    except (ValueError, LookupError, TypeError):
        return "it answers a request of one pixel with nothing that makes sense"


def _busy(beat: Beat, now: float) -> str:
    return f"ready, but busy with a request of {beat.lr_pixels:,} pixels for {now - beat.since_s:.0f} s"


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        return body[:200].decode("utf-8", "replace")
