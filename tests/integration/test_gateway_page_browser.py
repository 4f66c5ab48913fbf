"""The page in a real Chromium, in front of a real gateway and a real Triton."""

# ruff: noqa: RUF001 - the page's words, as they are seen

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from edsr_client import Finishing, Upscaler
from edsr_gateway.limits.admission import UPLOADS_FACTOR
from edsr_gateway.limits.keys import create
from edsr_serving import RunningServer, ServerOptions, free_ports, speed, start
from edsr_serving.cpu import usable_cpus
from gateway_processes import Gateway, eventually
from page_screen import DESKTOP, PHONE, Screen, chromium
from PIL import Image
from playwright.sync_api import Browser, expect
from proxies import Gate, TcpProxy
from video_files import make_video

Open = Callable[..., Screen]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def triton(embedded_server: RunningServer) -> str:
    return f"http://{embedded_server.options.http_url}"


@pytest.fixture(scope="module")
def gate(embedded_server: RunningServer) -> Iterator[Gate]:
    """In front of Triton: what it holds (`held`) is work that takes as long as a test wants."""
    with Gate(embedded_server.options.http_url, math.inf) as between:
        yield between


@contextlib.contextmanager
def held(gate: Gate) -> Iterator[None]:
    """No picture is finished meanwhile."""
    gate.left = 0
    try:
        yield
    finally:
        gate.left = math.inf


@pytest.fixture(scope="module")
def gateway(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests that leave it as it was."""
    with Gateway(f"http://{gate.url}", tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, gateway: Gateway) -> Iterator[Open]:
    """Open a page: open_page(gateway, width and height, ...) -> Screen. At the end no script may have complained."""
    screens: list[Screen] = []

    def open_(at: Gateway | str | None = None, viewport: dict[str, int] | None = None, **how: Any) -> Screen:
        how = {"locale": "en-US", "viewport": viewport or DESKTOP, **how}
        url = at if isinstance(at, str) else str((at or gateway).http.base_url)
        screen = Screen(browser.new_context(**how).new_page(), url)
        screens.append(screen)
        return screen.open()

    yield open_
    for screen in screens:
        screen.page.context.close()
    assert [screen.complaints for screen in screens] == [[] for _ in screens]


@pytest.fixture(scope="session")
def photograph(root: Path) -> Image.Image:
    return Image.open(root / "demo" / "photograph.png").convert("RGB")


@pytest.fixture
def small(photograph: Image.Image, tmp_path: Path) -> Path:
    """A picture whose result fits the comparison at one to one."""
    path = tmp_path / "small bee.png"
    photograph.resize((120, 96), Image.Resampling.BICUBIC).save(path)
    return path


def test_a_chosen_picture_comes_back_as_the_client_makes_it(open_page: Open, triton: str, small: Path) -> None:
    screen = open_page().add(small).compared()
    name, content = screen.downloaded()
    with Upscaler(triton, model="auto") as upscaler:
        expected, result = upscaler.upscale_bytes(small.read_bytes(), finishing=Finishing(format="png"))
    assert (name, content) == ("small bee_x3.png", expected)
    facts = screen.at("#facts").inner_text()
    for fact in ("small bee.png", "360 × 288 from 120 × 96", "PNG", result.model):
        assert fact in facts
    assert screen.at("#live").inner_text() == "small bee.png: ready, 360 by 288 pixels"


def test_both_sides_show_the_true_pixels(open_page: Open, small: Path) -> None:
    screen = open_page().add(small).compared()
    screen.page.click("[data-zoom=one]")
    assert screen.at("#zoom-value").inner_text() == "100%"
    edsr = np.asarray(Image.open(io.BytesIO(screen.downloaded()[1])).convert("RGB")).astype(int)
    original = Image.open(small)
    bicubic = np.asarray(original.resize((360, 288), Image.Resampling.BICUBIC)).astype(int)
    nearest = np.asarray(original.resize((360, 288), Image.Resampling.NEAREST)).astype(int)
    # Between the words in the corners and the divider in the middle.
    left, right, rows = slice(10, 150), slice(210, 350), slice(10, 230)

    def seen() -> np.ndarray[Any, np.dtype[np.int64]]:
        shown = screen.pixels().astype(int)
        top, start = (shown.shape[0] - 288) // 2, (shown.shape[1] - 360) // 2
        return shown[top : top + 288, start : start + 360]

    assert np.abs(seen()[rows, left] - bicubic[rows, left]).max() <= 1
    assert (seen()[rows, right] == edsr[rows, right]).all()
    screen.page.check("[value=pixels]", force=True)
    assert (seen()[rows, left] == nearest[rows, left]).all()
    screen.page.check("[value=edsr]", force=True)
    assert (seen()[rows] == edsr[rows]).all()


def test_the_slider_moves_by_mouse_and_by_keys(open_page: Open, small: Path) -> None:
    screen = open_page().add(small).compared()
    slider, page = screen.at("#slider"), screen.page
    assert slider.get_attribute("aria-label")
    assert slider.get_attribute("aria-valuetext") == "Bicubic 50 percent"
    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 24 + (box["width"] - 48) / 4, middle, steps=5)
    page.mouse.up()
    assert float(slider.input_value()) == pytest.approx(25, abs=1)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) == pytest.approx(25.5, abs=1)
    page.keyboard.press("Home")
    assert slider.input_value() == "0"
    assert slider.get_attribute("aria-valuetext") == "Bicubic 0 percent"
    page.keyboard.press("End")
    assert slider.input_value() == "100"
    # Somewhere on the picture: the divider comes there.
    page.mouse.click(box["x"] + 24 + (box["width"] - 48) / 2, middle)
    assert float(slider.input_value()) == pytest.approx(50, abs=1)


def test_zoom_by_wheel_keys_buttons_and_double_click(open_page: Open, small: Path) -> None:
    screen = open_page().add(small).compared()
    page, viewport, value = screen.page, screen.at("#viewport"), screen.at("#zoom-value")

    def percent() -> int:
        return int(value.inner_text().rstrip("%"))

    fit = percent()
    box = viewport.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 500, box["y"] + 200)
    page.mouse.wheel(0, -300)
    eventually(lambda: percent() > fit)
    before = screen.pixels()
    page.mouse.down()
    page.mouse.move(box["x"] + 560, box["y"] + 230, steps=3)
    page.mouse.up()
    assert (screen.pixels() != before).any()
    viewport.focus()
    page.keyboard.press("1")
    assert percent() == 100
    page.keyboard.press("+")
    assert percent() == 150
    page.keyboard.press("-")
    page.keyboard.press("0")
    assert percent() == fit
    page.mouse.dblclick(box["x"] + 500, box["y"] + 200)
    assert percent() == pytest.approx(2 * fit, abs=1)
    for _ in range(12):
        page.click("[data-zoom=in]")
    assert percent() == 3200
    page.click("[data-zoom=fit]")
    assert percent() == fit


def test_fingers_move_the_divider_and_zoom(open_page: Open, small: Path) -> None:
    screen = open_page(viewport=PHONE, is_mobile=True, has_touch=True).add(small).compared()
    box = screen.at("#viewport").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = screen.page.context.new_cdp_session(screen.page)

    def move(*ways: tuple[float, float]) -> None:
        """Fingers from one x to another, at once."""
        for step in range(6):
            points = [{"x": a + (b - a) * step / 5, "y": y - 40, "id": number} for number, (a, b) in enumerate(ways)]
            kind = "touchMove" if step else "touchStart"
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    move((x - 100, x - 20))
    assert 40 < float(screen.at("#slider").input_value()) < 50
    fit = int(screen.at("#zoom-value").inner_text().rstrip("%"))
    move((x - 30, x - 120), (x + 30, x + 120))
    assert int(screen.at("#zoom-value").inner_text().rstrip("%")) == pytest.approx(4 * fit, rel=0.1)


def test_a_turned_photograph_is_compared_upright(open_page: Open, photograph: Image.Image, tmp_path: Path) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    photograph.resize((120, 80)).rotate(90, expand=True).transpose(Image.Transpose.ROTATE_180).save(turned, exif=exif)
    screen = open_page().add(turned).compared()
    for side in ("before canvas", "after img"):
        box = screen.at(f"#viewport .{side}").bounding_box()
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(120 / 80, rel=0.02), side


def test_a_picture_is_pasted(open_page: Open) -> None:
    screen = open_page(permissions=["clipboard-read", "clipboard-write"])
    screen.page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 20, height: 10 });
            canvas.getContext("2d").fillRect(2, 2, 9, 4);
            const blob = await new Promise((resolve) => canvas.toBlob(resolve));
            await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }"""
    )
    screen.page.keyboard.press("Control+V")
    assert "60 × 30 from 20 × 10" in screen.compared().at("#facts").inner_text()


DROP = """async (files) => {
    const transfer = new DataTransfer();
    for (const [name, numbers] of files) transfer.items.add(new File([new Uint8Array(numbers)], name));
    const tell = (kind) => document.body.dispatchEvent(
        new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    const taken = !tell("dragover");
    tell("dragenter");
    const hinted = getComputedStyle(document.querySelector(".drop-hint")).display !== "none";
    tell("drop");
    return [taken, hinted];
}"""


def test_several_pictures_are_dropped_and_come_back_in_one_zip(open_page: Open, small: Path) -> None:
    screen = open_page()
    content = small.read_bytes()
    names = ["a.png", "b.png", "A.png"]
    assert screen.page.evaluate(DROP, [[name, list(content)] for name in names]) == [True, True]
    expect(screen.at("[data-state=done]")).to_have_count(3)
    name, packed = screen.downloaded("#download-all")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert (name, archive.testzip()) == ("edsr.zip", None)
        assert archive.namelist() == ["a_x3.png", "b_x3.png", "A_x3 (2).png"]
        assert archive.read("a_x3.png") == archive.read("A_x3 (2).png") == screen.downloaded()[1]


def test_a_zip_past_four_gigabytes_is_read_by_others(open_page: Open) -> None:
    made = """async ({ zip }) => {
        const files = ["x", "größe 猫", ""].map(
            (text) => ({ name: `${text}.txt`, blob: new Blob([text.repeat(9)]) }));
        const archive = await zip(files, () => {}, 0);
        return [...new Uint8Array(await archive.arrayBuffer())];
    }"""
    content = bytes(open_page().module("zip.js", made))
    assert b"PK\x06\x06" in content  # that it is a Zip64
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert [archive.read(name).decode() for name in archive.namelist()] == ["x" * 9, "größe 猫" * 9, ""]


def test_bicubic_is_pillows(open_page: Open) -> None:
    screen = open_page()
    script = "({ bicubic }, [pixels, ...sizes]) => [...bicubic(new Uint8ClampedArray(pixels), ...sizes)]"
    for size, to in (((23, 17), (69, 51)), ((64, 48), (20, 99)), ((1, 1), (3, 3))):
        pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
        pixels[..., 3] = 255
        found = screen.module("bicubic.js", script, [pixels.ravel().tolist(), *size, *to])
        expected = np.asarray(Image.fromarray(pixels[..., :3]).resize(to, Image.Resampling.BICUBIC)).astype(int)
        got = np.asarray(found).reshape(to[1], to[0], 4)
        assert np.abs(got[..., :3] - expected).max() <= 1
        assert (got[..., 3] == 255).all()


def test_what_is_no_picture_is_said_in_place_and_can_be_removed(open_page: Open, tmp_path: Path, small: Path) -> None:
    bad = tmp_path / "page.jpg"
    bad.write_text("<html><script>alert(1)</script></html>")
    screen = open_page().add(bad)
    assert screen.in_trouble() == "This is not a picture that can be read"
    assert screen.at("#live").inner_text() == "page.jpg: This is not a picture that can be read"
    screen.page.click("#discard")
    screen.wait("#empty").add(small).compared()


def test_a_file_above_the_limit_is_refused_before_it_is_sent(open_page: Open, gateway: Gateway, tmp_path: Path) -> None:
    screen = open_page()
    sent: list[str] = []
    screen.page.on("request", lambda request: sent.append(request.method))
    most = gateway.http.get("/v1/info").json()["limits"]["upload_bytes"]
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(most + 50_000_000)
    assert screen.add(large).in_trouble() == "This file is too large"
    advice = screen.at("#trouble-advice").inner_text().replace("\xa0", " ")
    assert "It has 318 MB; this server takes 268 MB at most" in advice
    assert "POST" not in sent


def test_too_many_pixels_are_refused_with_the_limit(open_page: Open, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("1", (9000, 9000)).save(large)
    screen = open_page().add(large)
    assert screen.in_trouble() == "This file is too large"
    assert "It has 81 megapixels; this server takes 50 at most." in screen.at("#trouble-advice").inner_text()


def test_triton_stops_in_mid_work_and_the_picture_waits_for_it(
    open_page: Open, root: Path, tmp_path: Path, small: Path
) -> None:
    model = root / "model_repository" / "edsr_baseline_x3" / "1" / "model.onnx"
    run_dir = tmp_path / "triton"
    run_dir.mkdir()
    # Not measured anew at its starts.
    (run_dir / speed.FILE).write_text(json.dumps({speed.key(model, "f32", usable_cpus()): 1e9}))
    options = ServerOptions(
        repository=root / "model_repository", run_dir=run_dir, models=("edsr_baseline_x3",), precision="f32"
    ).with_ports(*free_ports(3))
    with Gate(options.http_url, math.inf) as gate, Gateway(f"http://{gate.url}", tmp_path / "gateway") as gateway:
        with start(options) as server:
            screen = open_page(gateway)
            with held(gate):
                screen.add(small).wait("#phase:text('Upscaling')")
                server.end()
            screen.wait("#phase:text('The upscaling server does not answer. The picture waits until it does')")
        other = open_page(gateway)
        expect(other.at("#standing")).to_have_text(re.compile("^The upscaling server is not ready yet"))
        with start(options):
            screen.compared()
            expect(other.at("#standing")).to_have_text("")


def test_cancelling_leaves_nothing_on_the_server(open_page: Open, gateway: Gateway, gate: Gate, small: Path) -> None:
    screen = open_page()
    with held(gate):
        screen.add(small).wait("#working")
        eventually(lambda: len(screen.jobs()) == 1)
        (job,) = screen.jobs()
        screen.page.click("#cancel")
        screen.wait("#trouble")
    assert screen.at("#trouble-title").inner_text() == "Cancelled"
    eventually(lambda: gateway.result(job["job"]).status_code == 410)
    assert not [file for file in gateway.files() if job["job"] in file]
    assert screen.jobs() == []
    screen.page.click("#retry")
    screen.compared()


def test_a_reload_in_mid_job_goes_on_and_still_compares(open_page: Open, gate: Gate, small: Path) -> None:
    screen = open_page()
    with held(gate):
        screen.add(small).wait("#working")
        eventually(lambda: len(screen.jobs()) == 1)
        screen.page.reload()
        screen.wait("#working")
    screen.compared()
    assert screen.downloaded()[0] == "small bee_x3.png"
    screen.page.click(".close")
    screen.wait("#empty")
    screen.page.reload()
    screen.wait("#empty")


def test_a_lost_connection_comes_back(open_page: Open, gateway: Gateway, gate: Gate, small: Path) -> None:
    with TcpProxy(gateway.http.base_url.netloc.decode()) as network:
        screen = open_page(f"http://{network.url}")
        with held(gate):
            screen.add(small).wait("#phase:text('Upscaling')")
            network.refusing = True
            network.cut()
            screen.wait("#phase:text('No connection. Trying again')")
        network.refusing = False
        screen.compared()


def test_what_cannot_be_sent_is_said_and_tried_again(open_page: Open, gateway: Gateway, small: Path) -> None:
    with TcpProxy(gateway.http.base_url.netloc.decode()) as network:
        screen = open_page(f"http://{network.url}")
        network.refusing = True
        network.cut()
        assert screen.add(small).in_trouble() == "The connection was lost"
        network.refusing = False
        screen.page.click("#retry")
        screen.compared()


HALF_AN_UPLOAD = b"POST /v1/jobs HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\nGIF"


def test_a_full_server_is_waited_for_by_itself(open_page: Open, triton: str, tmp_path: Path, small: Path) -> None:
    with Gateway(triton, tmp_path / "gateway", limits={"in_flight": 1}) as gateway:
        screen = open_page(gateway)
        with contextlib.ExitStack() as others:
            for _ in range(UPLOADS_FACTOR):  # as many half uploads as there may be
                slow = socket.create_connection(("127.0.0.1", gateway.http.base_url.port or 0))
                others.enter_context(slow).sendall(HALF_AN_UPLOAD)
            screen.add(small).wait("#phase:text('The server is busy. Trying again in')")
        screen.compared()


def test_who_waits_for_a_full_server_can_try_at_once(open_page: Open, triton: str, tmp_path: Path, small: Path) -> None:
    with Gateway(triton, tmp_path / "gateway", limits={"jobs": 1}) as gateway:
        other = gateway.post(small.read_bytes())
        screen = open_page(gateway).add(small).wait("#phase:text('The server is busy. Trying again in')")
        assert gateway.http.delete(f"/v1/jobs/{other}").status_code == 204
        screen.page.click("#hurry")
        screen.compared()


def test_more_pictures_than_the_server_keeps_all_come_back(
    open_page: Open, triton: str, tmp_path: Path, small: Path
) -> None:
    with Gateway(triton, tmp_path / "gateway", limits={"jobs_per_client": 2}) as gateway:
        files = [tmp_path / f"{number}.png" for number in range(4)]
        for file in files:
            file.write_bytes(small.read_bytes())
        screen = open_page(gateway).add(*files)
        expect(screen.at("[data-state=done]")).to_have_count(4)
        with zipfile.ZipFile(io.BytesIO(screen.downloaded("#download-all")[1])) as archive:
            assert len(archive.namelist()) == 4


def test_options_are_sent_and_remembered(open_page: Open, small: Path) -> None:
    Image.open(small).save(small, dpi=(300, 300))
    screen = open_page()
    page = screen.page
    page.click("#options summary")
    for name, value in {"format": "webp", "size": "side", "metadata": "strip", "model": "edsr_baseline_x3"}.items():
        page.select_option(f"[name={name}]", value)
    page.fill("[name=quality]", "40")
    page.fill("[name=side]", "200")
    screen.open().add(small).compared()
    summary = screen.at("#options-summary").inner_text()
    assert summary == "WebP · quality 40 · 200 px · no metadata · edsr_baseline_x3"
    name, content = screen.downloaded()
    image = Image.open(io.BytesIO(content))
    assert (name, image.format, image.size) == ("small bee_x1.67.webp", "WEBP", (200, 160))
    page.click("#options summary")
    page.select_option("[name=format]", "png")
    page.select_option("[name=size]", "2")
    assert page.is_disabled("[name=quality]")
    page.click("#again")
    screen.wait("#facts:has-text('240 × 192')")
    assert "dpi" not in Image.open(io.BytesIO(screen.downloaded()[1])).info
    page.select_option("[name=metadata]", "keep")
    page.click("#again")
    screen.wait("#working", state="hidden").compared()
    eventually(lambda: "dpi" in Image.open(io.BytesIO(screen.downloaded()[1])).info)


def test_what_the_browser_cannot_show_is_upscaled_all_the_same(
    open_page: Open, photograph: Image.Image, tmp_path: Path
) -> None:
    scan = tmp_path / "scan.tiff"
    photograph.resize((40, 32)).save(scan)
    screen = open_page().add(scan).wait("#viewport")
    assert screen.at("#compare input").first.is_disabled()
    assert screen.at("#notes li").first.inner_text().startswith("The result is a PNG, because this browser cannot")
    assert Image.open(io.BytesIO(screen.downloaded()[1])).format == "PNG"
    screen.page.click("#options summary")
    screen.page.select_option("[name=format]", "tiff")
    screen.page.click("#again")
    screen.wait("#unseen")
    assert "cannot show TIFF" in screen.at("#unseen-why").inner_text()
    name, content = screen.downloaded()
    assert (name, Image.open(io.BytesIO(content)).size) == ("scan_x3.tif", (120, 96))


def test_a_video_is_upscaled_and_shown(open_page: Open, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", 5)
    screen = open_page().add(clip).wait("#video")
    eventually(lambda: screen.at("#video").evaluate("(video) => video.videoWidth") == 96)
    assert screen.downloaded()[0] == "clip_x3.mp4"


def test_the_browsers_language_comes_first_and_the_choice_is_remembered(open_page: Open, small: Path) -> None:
    screen = open_page(locale="zh-CN")
    page = screen.page
    assert (page.get_attribute("html", "lang"), page.title()) == ("zh-CN", "EDSR ×3：图片放大")
    assert screen.at("h1").inner_text() == "图片放大三倍，细节依然清晰。"
    screen.add(small).compared()
    assert "120 × 96 → 360 × 288" in screen.at("#facts").inner_text()
    page.click("[data-language=en]")
    assert (page.get_attribute("html", "lang"), page.title()) == ("en", "EDSR ×3: enlarge pictures")
    assert screen.at(".tag-before").inner_text() == "Bicubic"
    assert screen.at("#slider").get_attribute("aria-valuetext") == "Bicubic 50 percent"
    assert screen.open().page.title() == "EDSR ×3: enlarge pictures"


def test_both_languages_say_everything_with_the_same_values(open_page: Open) -> None:
    words = open_page().module("strings.js", "({ languages }) => languages")
    assert words["en"].keys() == words["zh"].keys()

    def values(text: str) -> list[str]:
        return sorted(part.partition("}")[0] for part in text.split("{")[1:])

    for key, text in words["en"].items():
        assert values(text) == values(words["zh"][key]), key


def test_a_key_is_asked_for_in_place_and_stays_in_the_tab(
    open_page: Open, gate: Gate, tmp_path: Path, small: Path
) -> None:
    token = create("alice", tmp_path / "keys")
    with Gateway(f"http://{gate.url}", tmp_path / "gateway", keys=str(tmp_path / "keys")) as gateway:
        screen = open_page(gateway).wait("#locked")
        assert serious(screen) == []
        screen.add(small)  # it waits for the key
        for key, refusal in (("edsr_wrong", "The server does not accept this key."), (token, "")):
            screen.page.fill("#key", key)
            screen.page.click("#locked [type=submit]")
            if refusal:
                expect(screen.at("#key-wrong")).to_have_text(refusal)
        screen.compared()
        screen.page.reload()
        screen.compared()
        assert token not in json.dumps(screen.page.evaluate("({ ...localStorage })"))
        (tmp_path / "keys").write_text("")  # it is taken back
        eventually(
            lambda: gateway.http.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        )
        screen.add(small).wait("#locked")
        expect(screen.at("#key-wrong")).to_have_text("The server does not accept this key.")


def serious(screen: Screen) -> list[Any]:
    """What axe holds for serious or critical."""
    found = Axe().run(screen.page).response["violations"]
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def states(screen: Screen, gate: Gate, small: Path, bad: Path) -> Iterator[str]:
    """Bring the page into its states one after another; says which."""
    yield "empty"
    screen.page.click("#options summary")
    yield "options"
    screen.page.click("#options summary")
    with held(gate):
        screen.add(small).wait("#working")
        eventually(lambda: len(screen.jobs()) == 1)
        yield "working"
    screen.compared()
    yield "done"
    screen.add(bad).wait("#trouble")
    yield "trouble"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_anybody(
    open_page: Open, gate: Gate, small: Path, tmp_path: Path, scheme: str
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    screen = open_page(color_scheme=scheme, reduced_motion="reduce")
    for state in states(screen, gate, small, bad):
        assert serious(screen) == [], state


@pytest.mark.parametrize(("width", "locale"), [(360, "en-US"), (390, "zh-CN")])
def test_a_phone_shows_every_state_without_scrolling_sideways(
    open_page: Open, gate: Gate, small: Path, tmp_path: Path, width: int, locale: str
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    screen = open_page(viewport={**PHONE, "width": width}, locale=locale, is_mobile=True, has_touch=True)
    for state in states(screen, gate, small, bad):
        assert screen.page.evaluate("document.documentElement.scrollWidth") == width, state
        outside = screen.page.evaluate(
            """() => [...document.querySelectorAll("main button, main select, main input, main label, main p")]
                .filter((one) => one.checkVisibility({ visibilityProperty: true })
                    && !one.closest(".hidden-visually, #viewport, #strip"))
                .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML)"""
        )
        assert outside == [], state


WATCH = """
window.shifts = [];
new PerformanceObserver((list) => window.shifts.push(...
    list.getEntries().filter((one) => !one.hadRecentInput).map((one) => one.value)))
    .observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_the_page_is_light_and_nothing_moves(open_page: Open, locale: str) -> None:
    screen = open_page(locale=locale)
    screen.page.add_init_script(WATCH)
    screen.open()
    screen.page.wait_for_load_state("networkidle")
    sizes = screen.page.evaluate(
        """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
            .map((one) => [one.name, one.encodedBodySize])"""
    )
    assert len(sizes) > 10
    assert sum(size for _, size in sizes) < 150_000
    screen.page.click("#sample")
    screen.compared()
    # Reported with the next picture that is drawn.
    screen.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert screen.page.evaluate("window.shifts") == []
