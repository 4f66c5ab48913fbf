"""The model for compressed photographs, and the client that takes it where a picture's file asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from commands import Run
from edsr_client import ModelContractError, ModelNotFoundError, Upscaler
from edsr_client.model_choice import CROSSING_QUALITY
from edsr_serving import RunningServer, ServerOptions, free_ports, speed, start
from edsr_serving.cpu import usable_cpus
from PIL import Image

from models.training.data import pair
from models.training.evaluate import evaluate, references

CLEAN, PHOTO = "edsr_baseline_x3", "edsr_photo_x3"
STRONG, WEAK = f"JPEG of quality 50, less than {CROSSING_QUALITY}", f"JPEG of quality 95, at least {CROSSING_QUALITY}"


@pytest.fixture(scope="module")
def both(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Both embedded models, in float32."""
    run_dir, repository = tmp_path_factory.mktemp("both"), root / "model_repository"
    files = [repository / name / "1" / "model.onnx" for name in (CLEAN, PHOTO)]
    (run_dir / speed.FILE).write_text(json.dumps({speed.key(file, "f32", usable_cpus()): 1e9 for file in files}))
    options = ServerOptions(repository, run_dir, models=(CLEAN, PHOTO), precision="f32")
    with start(options.with_ports(*free_ports(3))) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One photograph as a strongly and a weakly compressed JPEG file, and as PNG."""
    _, low = pair(dict(references())["koala"])
    made = tmp_path / "in"
    made.mkdir()
    Image.fromarray(low).save(made / "strong.jpg", quality=50)
    Image.fromarray(low).save(made / "weak.jpg", quality=95)
    Image.fromarray(low).save(made / "clean.png")
    return made


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_it_restores_compressed_photographs_and_hardly_loses_on_clean_ones(both: RunningServer) -> None:
    with Upscaler(both.options.http_url, model=PHOTO) as photo, Upscaler(both.options.http_url, model=CLEAN) as clean:
        assert (photo.model_info().inputs, clean.model_info().inputs) == ("compressed", "clean")
        compressed = evaluate(photo.upscale, 50)
        on_clean = evaluate(photo.upscale)["mean"]["gain_db"]
        assert compressed["mean"]["gain_db"] >= 0.4
        assert all(row["gain_db"] > 0 for row in compressed.values())
        assert on_clean >= evaluate(clean.upscale)["mean"]["gain_db"] - 0.5


def test_a_client_that_names_no_model_takes_the_one_for_clean_pictures(both: RunningServer, folder: Path) -> None:
    with Upscaler(both.options.http_url) as upscaler:
        result = upscaler.upscale_file(folder / "strong.jpg")
    assert (result.model, result.model_reason, result.notes) == (CLEAN, "", [])


def test_auto_goes_by_the_file_and_says_why(both: RunningServer, folder: Path, run: Run) -> None:
    names = ("strong.jpg", "weak.jpg", "clean.png")
    url = ("--url", both.options.http_url, "--model", "auto")
    done = run("edsr_client", "upscale", *names, *url, "--json", "-o", "out", "--tile", "80", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {line["input"]: (line["model"], line["model_reason"]) for line in lines if "input" in line}
    wanted = {"strong.jpg": (PHOTO, STRONG), "weak.jpg": (CLEAN, WEAK), "clean.png": (CLEAN, "the file is no JPEG")}
    assert found == wanted
    for line in lines[:3]:
        assert line["tiles"] > 1
        assert line["notes"] == [f"{line['model']} was taken: {line['model_reason']}"]
        with Upscaler(both.options.http_url, model=line["model"]) as named:  # the same for all tiles
            named.upscale_file(folder / line["input"], folder / "named.png", tile=80)
        np.testing.assert_array_equal(pixels(folder / "named.png"), pixels(Path(folder / line["path"])))


def test_auto_in_words_and_before_the_work(both: RunningServer, folder: Path, run: Run) -> None:
    command = ("upscale", "strong.jpg", "--url", both.options.grpc_url, "--protocol", "grpc", "--model", "auto")
    told = run("edsr_client", *command, "--dry-run", cwd=folder)
    assert f"by {PHOTO} ({STRONG})" in told.stdout
    told = run("edsr_client", *command, cwd=folder)
    assert f", {PHOTO} on " in told.stdout
    assert f"note: {PHOTO} was taken: {STRONG}" in told.stderr
    told = run("edsr_client", *command, "--bands", "always", "--overwrite", "--json", cwd=folder)
    assert told.returncode == 0, told.stderr
    banded = json.loads(told.stdout)
    assert (banded["model"], banded["model_reason"]) == (PHOTO, STRONG)


def test_a_batch_chooses_for_every_picture(both: RunningServer, folder: Path, run: Run) -> None:
    def batch(*more: str) -> CompletedProcess[str]:
        where = ("--url", both.options.http_url)
        return run("edsr_client", "batch", "in", "out", *where, *more, "--json", cwd=folder.parent)

    done = batch("--model", "auto")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {Path(line["input"]).name: (line["model"], line["model_reason"]) for line in lines if "model" in line}
    assert found["strong.jpg"] == (PHOTO, STRONG)
    assert found["weak.jpg"] == (CLEAN, WEAK)
    again = json.loads(batch("--model", "auto").stdout.splitlines()[-1])
    assert (again["done_before"], again["other_settings"]) == (3, 0)
    other = json.loads(batch().stdout.splitlines()[-1])
    assert (other["done_before"], other["other_settings"]) == (3, 3)


def test_info_says_what_a_model_is_for(both: RunningServer, run: Run) -> None:
    for name, inputs in ((PHOTO, "compressed"), (CLEAN, "clean")):
        told = run("edsr_client", "info", "--url", both.options.http_url, "--model", name).stdout
        assert f"{name}, x3, for {inputs} pictures" in told
        assert f"{CLEAN}, {PHOTO}" in told


def test_an_array_says_nothing_of_its_file(both: RunningServer) -> None:
    image = np.random.default_rng(2).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    with Upscaler(both.options.http_url, model="auto") as auto, Upscaler(both.options.http_url) as usual:
        np.testing.assert_array_equal(auto.upscale(image), usual.upscale(image))


def test_without_a_second_model_auto_changes_nothing(embedded_server: RunningServer, folder: Path) -> None:
    url = embedded_server.options.http_url
    with Upscaler(url, model="auto") as auto, Upscaler(url) as usual:
        assert auto.compressed_model_info() is None
        result = auto.upscale_file(folder / "strong.jpg", folder / "auto.png")
        usual.upscale_file(folder / "strong.jpg", folder / "usual.png")
    assert result.model == CLEAN
    assert result.model_reason == "JPEG of quality 50, but no model for compressed pictures is served"
    assert (folder / "auto.png").read_bytes() == (folder / "usual.png").read_bytes()


def test_servers_that_differ_are_not_mixed(both: RunningServer, embedded_server: RunningServer, folder: Path) -> None:
    urls = (both.options.http_url, embedded_server.options.http_url)
    with Upscaler(urls, model="auto") as upscaler, pytest.raises(ModelContractError) as error:
        upscaler.upscale_file(folder / "strong.jpg")
    assert f"{urls[0]}: {PHOTO}, weights " in str(error.value)
    assert f"{urls[1]}: none" in str(error.value)
    with Upscaler(urls) as upscaler:
        assert upscaler.upscale_file(folder / "strong.jpg").model == CLEAN


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_model_that_is_not_served_is_answered_with_those_that_are(both: RunningServer, protocol: str) -> None:
    url = both.options.http_url if protocol == "http" else both.options.grpc_url
    with Upscaler(url, protocol, model="edsr_phot_x3") as upscaler, pytest.raises(ModelNotFoundError) as error:
        upscaler.model_info()
    assert f"does not serve 'edsr_phot_x3'; it serves: {CLEAN}, {PHOTO}" in str(error.value)
