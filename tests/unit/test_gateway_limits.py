"""The bounds of a gateway, and the folder of what is under way."""

from __future__ import annotations

from pathlib import Path

import pytest
from edsr_gateway.cli import settings_of
from edsr_gateway.limits.limits import Limits
from edsr_gateway.limits.scratch import Scratch
from edsr_gateway.workers import wire


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_every_limit_is_positive_and_finite(value: float) -> None:
    with pytest.raises(ValueError, match="picture_s"):
        Limits(picture_s=value)


def test_a_scratch_folder_goes_with_its_gateway_and_leaves_those_of_others(tmp_path: Path) -> None:
    one, two = Scratch(tmp_path), Scratch(tmp_path)
    one.path().write_bytes(b"upload")
    two.path().write_bytes(b"upload")
    one.close()
    assert not one.folder.exists()
    assert len(list(two.folder.iterdir())) == 2
    two.close()


def test_what_a_killed_gateway_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "0123456789abcdef"
    left.mkdir()
    (left / "lock").touch()
    (left / "upload").write_bytes(b"x")
    Scratch(tmp_path).close()
    assert not left.exists()


def test_messages_between_gateway_and_worker_come_out_as_they_went_in() -> None:
    parts = packed = wire.packed({"done": 1}, b"content")
    assert wire.lengths(parts[0]) == (len(packed[1]), len(b"content"))


def test_a_message_of_absurd_length_is_refused() -> None:
    with pytest.raises(ValueError, match="message"):
        wire.lengths(wire.HEAD.pack(1 << 31, 0))


def test_limits_come_from_the_environment_too_and_a_misspelt_variable_is_refused() -> None:
    assert settings_of([], {"EDSR_GATEWAY_LIMIT": "pixels=1000,in_flight=2"}).limits.pixels == 1000
    assert settings_of(["--limit", "pixels=7"], {"EDSR_GATEWAY_LIMIT": "pixels=1000"}).limits.pixels == 7
    with pytest.raises(ValueError, match="EDSR_GATEWAY_LIMITS"):
        settings_of([], {"EDSR_GATEWAY_LIMITS": "pixels=1000"})
