"""The embedded model is worth having: on photographs it has never seen, as served, with 8-bit weights."""

from __future__ import annotations

from edsr_client import Upscaler
from edsr_serving import RunningServer

from models.training.evaluate import evaluate


def test_it_beats_bicubic_on_ten_held_out_photographs(embedded_server: RunningServer) -> None:
    with Upscaler(embedded_server.options.http_url) as upscaler:
        table = evaluate(upscaler.upscale)
    assert len(table) == 10 + 1
    assert all(row["gain_db"] > 0 for row in table.values())
    assert table["mean"]["gain_db"] >= 1.5
