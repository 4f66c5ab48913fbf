"""Which of a machine's GPUs are used: NVML's order is not CUDA's nor ours, and only UUIDs mean the same in all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from edsr_conversion.errors import CardError
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.cli import _of_card
from edsr_conversion.gpu.workshop import check_builds_on
from edsr_serving.errors import InstallationError
from edsr_serving.gpu.devices import Device, devices
from edsr_serving.gpu.selection import choose, compute_capability_of_first, docker_gpus, only, use, visible

CARDS = load_cards(Path(__file__).resolve().parents[2])
L4 = Device(0, "NVIDIA L4", "8.9", 23034, uuid="GPU-11aa")
T4 = Device(1, "Tesla T4", "7.5", 15360, uuid="GPU-12bb")
SECOND_T4 = Device(2, "Tesla T4", "7.5", 15360, uuid="GPU-99cc")
SLICE = Device(3, "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "8.0", 4864, uuid="MIG-77dd")
ALL = (L4, T4, SECOND_T4, SLICE)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        *(("", ALL), ("1", (T4,)), ("2,0", (SECOND_T4, L4)), ("1, 1,GPU-12bb", (T4,))),
        *(("GPU-99cc", (SECOND_T4,)), ("gpu-99", (SECOND_T4,)), ("MIG-77dd", (SLICE,)), ("3", (SLICE,))),
    ],
)
def test_gpus_are_named_by_place_or_uuid(wanted: str, expected: tuple[Device, ...]) -> None:
    assert choose(ALL, wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        *(("4", "no GPU '4'"), ("-1", "no GPU '-1'"), ("GPU-", "no GPU 'GPU-'"), ("L4", "no GPU 'L4'")),
        ("GPU-1", "several GPUs of this machine begin with 'GPU-1'"),
    ],
)
def test_what_names_no_gpu_or_several_is_refused_with_the_list(wanted: str, words: str) -> None:
    with pytest.raises(InstallationError, match=words) as caught:
        choose(ALL, wanted)
    assert "1: Tesla T4, 15,360 MiB, GPU-12bb" in str(caught.value)


def test_cudas_own_variable_is_kept_but_its_indices_mean_nothing_where_cards_differ() -> None:
    assert visible(ALL, {}) == ALL
    assert visible(ALL, {"CUDA_VISIBLE_DEVICES": "GPU-99cc,GPU-11aa"}) == (SECOND_T4, L4)
    assert visible(ALL, {"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert visible(ALL, {"CUDA_VISIBLE_DEVICES": "GPU-99cc,nonesuch,GPU-11aa"}) == (SECOND_T4,)
    with pytest.raises(InstallationError, match=r"counts in CUDA's own order.*DEVICE="):
        visible(ALL, {"CUDA_VISIBLE_DEVICES": "0"})
    assert visible(ALL, {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) == (T4,)
    equal = (T4, SECOND_T4)
    assert visible(equal, {"CUDA_VISIBLE_DEVICES": "2,1"}) == (SECOND_T4, T4)


def test_cuda_and_docker_are_told_uuids(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only((SECOND_T4, L4))["CUDA_VISIBLE_DEVICES"] == "GPU-99cc,GPU-11aa"
    assert only(()) == only((replace(T4, uuid=""),)) == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    use((SLICE,))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-77dd"
    assert docker_gpus((T4,)) == "device=GPU-12bb"
    assert docker_gpus((T4, SECOND_T4)) == '"device=GPU-12bb,GPU-99cc"'
    assert docker_gpus(()) == "all"


def test_a_container_gets_the_gpus_that_are_the_card_and_no_others() -> None:
    assert _of_card(CARDS["t4"], ALL, named=False) == (T4, SECOND_T4)
    assert _of_card(CARDS["t4"], (SECOND_T4,), named=True) == (SECOND_T4,)
    with pytest.raises(CardError, match=r"not NVIDIA T4: 0: NVIDIA L4"):
        _of_card(CARDS["t4"], (T4, L4), named=True)


def test_an_engine_is_not_built_on_another_card_than_it_is_for() -> None:
    check_builds_on(CARDS["t4"], "7.5")
    check_builds_on(CARDS["t4"], "")  # no driver to ask
    with pytest.raises(CardError, match=r"capability 8\.9, not on NVIDIA T4 \(7\.5\).*DEVICE="):
        check_builds_on(CARDS["t4"], "8.9")


@pytest.mark.skipif(bool(devices()), reason="this machine has a GPU")
def test_without_a_driver_nothing_is_known_of_cudas_first_gpu() -> None:
    assert compute_capability_of_first() == ""


@pytest.mark.parametrize(
    "command",
    [
        ("edsr_conversion", "engines", "--gpu", "t4"),
        ("edsr_conversion", "verify", "--gpu", "t4"),
        ("edsr_conversion", "gpus", "--docker", "t4"),
        ("edsr_serving", "run", "--gpu", "t4"),
        ("edsr_perf", "gpu"),
    ],
)
@pytest.mark.skipif(bool(devices()), reason="this machine has a GPU")
def test_every_command_about_gpus_refuses_one_that_is_not_there(root: Path, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--device", "GPU-nonesuch"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode not in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert re.search("no GPU 'GPU-nonesuch'|has no NVIDIA GPU", done.stderr)
