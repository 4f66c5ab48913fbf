"""Tests are marked by the folder they stand in."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is slow, and that is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.integration)
        if "gpu" in item.path.parts:
            item.add_marker(pytest.mark.gpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where EDSR_REQUIRE_PROGRAMS is set, as in CI, a test that skips for want of a system program fails."""
    report = yield
    if report.skipped and "apt-get install" in str(report.longrepr) and os.environ.get("EDSR_REQUIRE_PROGRAMS"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def anyio_backend() -> str:
    """Tests that are coroutines (`pytest.mark.anyio`) run in asyncio."""
    return "asyncio"
