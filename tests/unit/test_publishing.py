"""Figures become the project's own only when asked, and never in the place of another machine's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from edsr_perf.baselines import page
from edsr_perf.errors import PerfError
from edsr_perf.machine import machine
from edsr_perf.publishing import kind_of, slug, target
from edsr_perf.sections import read_results

ROOT = Path(__file__).resolve().parents[2]
XEON = {"processor": "Intel(R) Xeon(R) Processor (avx2, avx512f, avx512_bf16, amx_bf16, amx_int8)", "cores": 2}
EPYC = {"processor": "AMD EPYC (avx2, avx512f, avx512_bf16)", "cores": 2}


@pytest.mark.parametrize(
    ("processor", "kind"),
    [
        (XEON["processor"], "Intel Xeon (AMX), 4 cores"),
        (EPYC["processor"], "AMD EPYC (AVX-512 BF16), 4 cores"),
        ("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz (avx2, avx512f)", "Intel Xeon Gold 6338 (AVX-512), 4 cores"),
        ("AMD Ryzen 5 3600 6-Core Processor (avx2)", "AMD Ryzen 5 3600 6-Core (AVX2), 4 cores"),
        ("Something ()", "Something () (no AVX2), 4 cores"),
        ("", "unknown processor (no AVX2), 4 cores"),
    ],
)
def test_a_processor_is_named_by_what_makes_it_fast(processor: str, kind: str) -> None:
    assert kind_of({"processor": processor, "cores": 4}) == kind


def test_results_go_to_an_ignored_folder_unless_published(tmp_path: Path) -> None:
    result = {"machine": XEON}
    assert target(tmp_path, "halo-m", result, publish=False) == tmp_path / "perf/local/halo-m.json"
    published = target(tmp_path, "halo-m", result, publish=True)
    assert published == tmp_path / "perf/results/halo-m-intel-xeon-amx-2-cores.json"
    assert target(tmp_path, "halo-m", result, publish=False, folder=tmp_path / "x") == tmp_path / "x" / "halo-m.json"
    ignored = subprocess.run(
        ["git", "check-ignore", "perf/local/halo-m.json"], cwd=ROOT, capture_output=True, check=False
    )
    assert ignored.returncode in (0, 128)  # 128: not a repository


def test_a_publication_never_replaces_another_machines(tmp_path: Path) -> None:
    mine: dict[str, Any] = {"machine": XEON}
    path = target(tmp_path, "halo-m", mine, publish=True)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(mine), "utf-8")
    assert target(tmp_path, "halo-m", mine, publish=True) == path  # one's own is measured again
    assert target(tmp_path, "halo-m", {"machine": EPYC}, publish=True) != path
    twin = {"machine": {**XEON, "processor": XEON["processor"].replace("avx512f, ", "")}}  # type: ignore[attr-defined]
    for text in (json.dumps(twin), "{", "[]"):
        path.write_text(text, "utf-8")
        with pytest.raises(PerfError, match="another machine"):
            target(tmp_path, "halo-m", mine, publish=True)


def test_every_published_file_is_of_one_machine_and_named_for_it() -> None:
    for pattern in ("baselines", "roofline", "scaling", "halo"):
        paths = sorted((ROOT / "perf/results").glob(f"{pattern}-*.json"))
        assert paths
        for path, result in zip(paths, read_results(ROOT, f"{pattern}-*.json"), strict=True):
            assert path.stem == f"{pattern}-{result['model']}-{slug(result['machine'])}"


def test_the_documents_show_every_kind_of_processor_beside_the_others() -> None:
    results = read_results(ROOT, "baselines-*.json")
    head, _, *rows = page.beside_opencv(results).splitlines()
    kinds = {kind_of(result["machine"]) for result in results}
    assert len(kinds) >= 2
    assert all(f"| {kind} |" in head for kind in kinds)
    assert any("2.6x | 10.0x" in row for row in rows)
    text = (ROOT / "docs/performance.md").read_text("utf-8")
    assert all(f"**{kind}**" in text for kind in kinds)


def test_this_machine_has_a_name() -> None:
    assert kind_of(machine())
    assert slug(machine())
