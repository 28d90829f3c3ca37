"""The page in a real browser, by clicks and keys, against a real ``stylecli serve``."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from serving import Server, start
from stylecli.core.model_files import find_model
from stylecli.files.content import bundled_photos

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [pytest.mark.xdist_group("page"), pytest.mark.timeout(600)]

VIEWS = ("paint", "train", "camera", "compare")
PAINTED = "#frame.painted[aria-busy=false]"  # and nothing is on its way
PATIENCE = 240_000  # ms, for a machine that is busy with other things
expect.set_options(timeout=PATIENCE)
SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const one of list.getEntries()) if (one.hadRecentInput || one.value < 0.001) continue;
        else window.shifts.push([one.value, ...one.sources.map(({ node }) => node?.outerHTML)]);
    }).observe({ type: "layout-shift", buffered: true });
"""


SMALL = """(all) => all
    .filter((one) => one.checkVisibility() && parseFloat(getComputedStyle(one).fontSize) < 14)
    .map((one) => one.outerHTML)
"""


@pytest.fixture(scope="session")
def chromium(launch_browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A browser whose camera shows two bundled photos in turn."""
    lens = tmp_path_factory.mktemp("lens") / "lens.mjpeg"
    with lens.open("wb") as film:
        for photo in bundled_photos()[3:5]:
            Image.open(photo).resize((640, 480)).save(film, "JPEG")
    browser = launch_browser(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={lens}",
    )
    yield browser
    browser.close()


@pytest.fixture
def context(chromium) -> Iterator[object]:
    """A fresh profile in which no page may say an error or ask anything elsewhere."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    context.add_init_script(SHIFTS)
    troubles: list[str] = []

    def note(line: str) -> None:
        # The browser itself says of each refused request that it was; the page says it to the user.
        refused = ("Failed to load resource", "WebSocket connection to 'ws://127.0.0.1:")
        if not line.startswith((*refused, "http://127.0.0.1:", "blob:http://127.")):
            troubles.append(line)

    context.on("console", lambda line: line.type == "error" and note(line.text))
    context.on("weberror", lambda error: note(str(error.error)))
    context.on("request", lambda request: note(request.url))
    yield context
    context.close()
    assert troubles == []


@pytest.fixture
def page(context, server) -> object:
    return open_page(context, server)


def open_page(context, server: Server, view: str = "paint") -> object:
    page = context.new_page()
    page.goto(f"{server.address}#/{view}")
    page.wait_for_selector(".tile:nth-of-type(8)", state="attached")
    return page


def wait_until(page, expression: str, argument: object = None) -> None:
    """As ``page.wait_for_function``, which the page's Content-Security-Policy forbids."""
    last = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression, argument):
        assert time.monotonic() < last, expression
        page.wait_for_timeout(50)


def choose(page, files: Path, *names: str) -> None:
    page.set_input_files("#paint-files", [files / name for name in names])
    page.wait_for_selector(PAINTED)


def change(page, act) -> None:
    """Do something, and wait until the picture is another one."""
    before = page.evaluate("document.querySelector('#after').src")
    act()
    wait_until(page, "(before) => document.querySelector('#after').src !== before", before)
    page.wait_for_selector(PAINTED)


def test_photos_are_painted_by_clicks(page, files):
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose photos").click()
    chooser.value.set_files([files / "photo.jpg", files / "clear.png"])
    page.wait_for_selector(PAINTED)
    expect(page.get_by_alt_text("photo.jpg, painted as The Starry Night")).to_be_visible()
    expect(page.locator("#strip .painted")).to_have_count(8)
    wait_until(page, "[...document.querySelectorAll('#strip .small')].every((x) => x.naturalWidth)")
    # Settings at their default are not sent, and so not noted in the metadata.
    with page.expect_request(lambda request: "/painted?style=udnie&size=screen" in request.url):
        change(page, lambda: page.click("#strip .tile:has-text('Udnie')"))
    with page.expect_request(lambda request: "udnie%3A0.50%2Cgreat-wave%3A0.50" in request.url):
        change(page, lambda: page.select_option("#blend", label="The Great Wave off Kanagawa"))
    expect(page.get_by_alt_text("Udnie and The Great Wave off Kanagawa")).to_be_visible()
    with page.expect_request(lambda request: "preserve_color=true" in request.url):
        change(page, lambda: page.check("#colors"))
    change(page, lambda: page.click("#photos .thumb[aria-label='clear.png']"))
    page.click("[aria-label='Remove photo.jpg']")
    expect(page.locator("#photos li")).to_have_count(1)
    page.click("[aria-label='Remove clear.png']")
    expect(page.get_by_text("Turn your photos into paintings")).to_be_visible()


def test_photos_are_painted_by_keys(page, files):
    choose(page, files, "photo.jpg")
    page.focus("#strip input:checked")
    change(page, lambda: page.keyboard.press("ArrowRight"))
    expect(page.locator("#title")).to_have_text("The Scream")
    for key, wanted in [("Strokes", "stroke_size=1.18"), ("Layers", "layers=3")]:
        page.locator("#look").get_by_label(key).focus()
        with page.expect_request(lambda request, wanted=wanted: wanted in request.url):
            change(page, lambda: page.keyboard.press("ArrowRight"))
    page.focus("#wipe")
    clip = "getComputedStyle(document.querySelector('#before')).clipPath"
    before = page.evaluate(clip)
    page.keyboard.press("ArrowRight")
    wait_until(page, f"(before) => {clip} !== before", before)
    page.focus("#download")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "photo-the-scream.jpg"
    saved = Image.open(download.value.path())
    assert saved.size == (200, 300)
    assert saved.getexif()[0x010F] == "A camera"


def test_the_tabs_are_walked_with_the_arrow_keys(page):
    page.focus("#tab-paint")
    for view in (*VIEWS[1:], VIEWS[0]):
        page.keyboard.press("ArrowRight")
        expect(page.locator(":focus")).to_have_id(f"tab-{view}")
        expect(page.locator("[role=tabpanel]:visible")).to_have_id(view)
    page.go_back()
    expect(page.locator("#compare")).to_be_visible()
    for key, view in (("Home", "paint"), ("End", "compare")):
        page.keyboard.press(key)
        expect(page.locator(":focus")).to_have_id(f"tab-{view}")
        expect(page.locator("[role=tabpanel]:visible")).to_have_id(view)


def test_a_file_that_no_view_takes_does_not_replace_the_page(page):
    page.click("#tab-compare")
    prevented = page.evaluate("""[true, false].map((withFile) => {
        const dataTransfer = new DataTransfer();
        if (withFile) dataTransfer.items.add(new File(["x"], "x.jpg"));
        else dataTransfer.setData("text/plain", "x");
        const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer });
        return !document.body.dispatchEvent(drop);
    })""")
    assert prevented == [True, False]


def test_a_photo_may_be_dropped_anywhere_and_all_come_as_a_zip(page, files):
    drop = """(pixels) => {
        const files = new DataTransfer();
        for (const name of ["one.png", "two.png"]) {
            files.items.add(new File([Uint8Array.from(pixels)], name));
        }
        document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: files }));
    }"""
    page.evaluate(drop, list((files / "clear.png").read_bytes()))
    page.wait_for_selector("#photos li:nth-of-type(2).here")
    page.wait_for_selector(PAINTED)
    with page.expect_download() as download:
        page.click("text=Download all as ZIP")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["one-starry-night.png", "two-starry-night.png"]
    expect(page.get_by_role("link", name="Save starry-night.zip")).to_be_visible()


def test_a_film_plays_when_it_is_painted(page, files):
    choose(page, files, "clip.mp4")
    page.click("text=Paint the film")
    page.wait_for_selector("#film:not([hidden])")
    wait_until(page, "document.querySelector('#film').videoWidth === 64")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save clip-starry-night.mp4").click()
    assert b"ftyp" in download.value.path().read_bytes()[:12]
    # A return to the browser's tab changes nothing.
    with page.expect_response("**/api/styles"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(100)
    expect(page.locator("#film")).to_be_visible()
    page.evaluate("document.querySelector('#film').play()")
    page.click("#tab-compare")
    wait_until(page, "document.querySelector('#film').paused")
    page.click("#tab-paint")
    page.evaluate("document.querySelector('#film').play()")
    change(page, lambda: page.click("#strip .tile:has-text('Udnie')"))
    expect(page.locator("#film")).to_be_hidden()
    wait_until(page, "document.querySelector('#film').paused")
    assert page.evaluate("document.querySelector('#film').readyState") == 0  # it is unloaded


def test_a_film_that_the_browser_cannot_play_leaves_its_link(page, files):
    """What the server sends as the film is none, as if the browser did not know its format."""
    page.route(
        "**/api/jobs/*/result", lambda route: route.fulfill(body="", content_type="video/mp4")
    )
    page.set_input_files("#paint-files", files / "clip.mp4")
    page.wait_for_selector(PAINTED)
    with page.expect_request("**/api/jobs/*/result"):
        page.click("text=Paint the film")
    page.get_by_role("link", name="Save clip-starry-night.mp4").wait_for()
    expect(page.locator("#film")).to_be_hidden()
    expect(page.locator("#frame")).to_be_visible()


def test_a_bad_file_and_huge_ones_are_refused_beside_the_drop(page, files, tmp_path):
    Image.new("1", (20_000, 10_001)).save(tmp_path / "pixels.png")
    with (tmp_path / "bytes.jpg").open("wb") as sparse:
        sparse.truncate(4 * 2**30 + 1)
    bad = [files / "text.jpg", tmp_path / "pixels.png", tmp_path / "bytes.jpg"]
    page.set_input_files("#paint-files", [*bad, files / "clear.png"])
    page.wait_for_selector(PAINTED)
    problems = page.locator("#paint-problems p")
    expect(problems).to_contain_text(["text.jpg", "200,000,000 pixels", "4096 MB"])
    expect(page.locator("#photos li")).to_have_count(1)
    page.click("#paint-problems button >> nth=0")
    expect(problems).to_have_count(2)


def test_the_seventh_tab_works_and_has_photos_of_its_own(context, server, files):
    """A browser has six connections to a server, for all its tabs together."""
    tabs = [open_page(context, server) for _ in range(7)]
    choose(tabs[-1], files, "clear.png")
    choose(tabs[0], files, "photo.jpg")
    expect(tabs[1].locator("#photos li")).to_have_count(0)
    tabs[0].close()
    change(tabs[-1], lambda: tabs[-1].click("#strip .tile:has-text('Udnie')"))
    expect(tabs[-1].locator("#photos li")).to_have_count(1)
    expect(tabs[-1].locator("#paint-problems p")).to_have_count(0)


def test_a_killed_server_is_said_and_so_is_its_return(context, files, tmp_path):
    server = start(tmp_path)
    page = open_page(context, server)
    choose(page, files, "clear.png")
    server.stop(signal.SIGKILL)
    page.wait_for_selector("#lost:has-text('stylecli has stopped')")
    page.click("#strip .tile:has-text('Udnie')")
    page.wait_for_selector("#paint-problems:has-text('stylecli does not answer')")
    again = start(tmp_path, "--port", str(server.port))
    page.click("text=Load this page again")
    page.wait_for_selector("#lost:empty", state="attached")
    page.wait_for_selector(".tile:nth-of-type(8)", state="attached")
    again.stop()


def test_a_full_disk_is_said(context, files, tmp_path):
    """On a real one that is full: it has one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    server = start(tmp_path, TMPDIR=str(disk))
    try:
        page = open_page(context, server)
        page.set_input_files("#paint-files", files / "photo.jpg")
        page.wait_for_selector("#paint-problems:has-text('the disk has no room')")
        page.click("#tab-train")
        page.set_input_files("#train-file", files / "photo.jpg")
        page.click("#train-start")
        page.wait_for_selector("#train-problems:has-text('the disk has no room')")
    finally:
        server.stop()
        subprocess.run(["umount", str(disk)], check=True)


def test_a_painting_becomes_a_style(page, server, painting, files):
    choose(page, files, "photo.jpg")
    page.click("#tab-train")
    page.set_input_files("#train-file", painting)
    expect(page.locator("#train-name")).to_have_value("Waves & Lines")
    page.fill("#train-name", "Ripples & Élan")
    page.check("text=1 minute")
    page.click("#train-start")
    page.wait_for_selector("#preview img[src]")
    wait_until(page, "document.querySelector('#curve polyline').points.length > 1")
    expect(page.get_by_role("img", name="The error after")).to_be_visible()
    page.click("text=Stop and use what is there")
    page.wait_for_selector("#trained:not([hidden])")
    change(page, lambda: page.click("#paint-with-it"))
    expect(page.locator("#title")).to_have_text("Ripples & Élan")
    expect(page.locator("#strip .tile:has(:checked)")).to_have_text("Ripples & Élan")
    expect(page.locator("#blend")).to_be_disabled()
    page.click("#tab-train")
    rename_and_remove(page)
    expect(page.locator(".tile")).to_have_count(8)


def test_a_model_of_several_styles_has_one_card(context, tmp_path):
    gallery = find_model("gallery")
    add = [sys.executable, "-m", "stylecli", "models", "add", str(gallery), "--name", "mine"]
    own = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    subprocess.run([*add, "--quiet"], env=own, check=True)
    server = start(tmp_path)
    try:
        page = open_page(context, server, "train")
        expect(page.locator("#own h3")).to_have_text(["mine"])
        expect(page.locator(".tile")).to_have_count(16)
    finally:
        server.stop()


def rename_and_remove(page) -> None:
    with page.expect_download() as download:
        page.click("#own a")
    assert download.value.suggested_filename.endswith(".safetensors")
    page.click("#own .rename")
    page.fill("#new-name", "Tree Rings!")
    page.keyboard.press("Enter")
    expect(page.locator("#own h3")).to_have_text("Tree Rings!")
    expect(page.locator("#own .use")).to_be_focused()
    page.click("#own .remove")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#own li")).to_have_count(1)
    page.click("#own .remove")
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator("#no-own")).to_be_visible()
    expect(page.locator("#tab-train")).to_be_focused()


def test_the_camera_is_painted_live(context, server):
    page = open_page(context, server, "camera")
    page.click("#camera-start")
    expect(page.locator("#rate")).to_contain_text("frames a second")
    width = page.evaluate("document.querySelector('#screen').width")
    assert width in (240, 320, 400, 480, 560, 640)
    warmth = """() => {
        const canvas = document.querySelector('#screen');
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let red = 0, blue = 0;
        for (let k = 0; k < data.length; k += 4) { red += data[k]; blue += data[k + 2]; }
        return red / blue;
    }"""
    cold = page.evaluate(warmth)
    page.click("#strip .tile:has-text('The Scream')")
    wait_until(page, f"({warmth})() > {1.3 * cold}")
    page.focus("#strokes")
    page.keyboard.press("End")
    expect(page.locator("#strokes-value")).to_have_text("broader, 4×")
    page.click("#still")
    with page.expect_download() as download:
        page.click("#stills a")
    still = Image.open(download.value.path())
    assert still.format == "PNG"
    assert still.width * 3 == still.height * 4
    page.click("#still")
    page.click("[aria-label='Remove still 1']")
    expect(page.get_by_role("img", name="Still 2")).to_be_visible()
    expect(page.locator("#stills li")).to_have_count(1)
    page.click("#camera-stop")
    expect(page.get_by_text("Step into a painting")).to_be_visible()
    assert page.evaluate("document.querySelector('#lens').srcObject") is None


TRACKS = """() => {
    window.tracks = [];
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        const stream = await ask(wanted);
        window.tracks.push(...stream.getTracks());
        return stream;
    };
}"""


def test_of_two_starts_of_the_camera_one_goes_on_and_none_in_a_hidden_view(context, server):
    page = open_page(context, server, "camera")
    page.evaluate(TRACKS)
    page.evaluate("for (const _ of [1, 2]) document.querySelector('#camera-start').click()")
    expect(page.locator("#rate")).to_contain_text("frames a second")
    assert page.evaluate("tracks.map((one) => one.readyState).toSorted()") == ["ended", "live"]
    page.click("#camera-stop")
    # The view is left while the browser would ask for permission.
    page.evaluate("document.querySelector('#camera-start').click(); location.hash = '/paint'")
    wait_until(page, "tracks.length === 3 && tracks.every((one) => one.readyState === 'ended')")
    assert page.evaluate("document.querySelector('#lens').srcObject") is None


def test_a_camera_that_is_unplugged_is_said(context, server):
    page = open_page(context, server, "camera")
    page.evaluate(TRACKS)
    page.click("#camera-start")
    page.wait_for_selector("#still:enabled")
    page.evaluate("tracks[0].dispatchEvent(new Event('ended'))")
    page.wait_for_selector("#camera-problems:has-text('There is no camera')")
    expect(page.get_by_text("Step into a painting")).to_be_visible()


def test_a_comparison_shows_its_report_in_place(context, server):
    page = open_page(context, server, "compare")
    form = page.locator("#comparison")
    form.get_by_label("Batch norm").uncheck()
    form.get_by_label("Residual").uncheck()
    expect(page.locator("#compare-start")).to_be_disabled()
    form.get_by_label("Pyramid").check()
    page.click("#compare-start")
    page.wait_for_selector("#compare-jobs progress")
    form.get_by_label("Residual").check()
    expect(page.locator("#compare-start")).to_be_disabled()
    page.wait_for_selector("#report:not([hidden])")
    report = page.frame_locator("#report")
    report.locator("h1").wait_for()
    assert report.locator("img").evaluate_all("e => e.length && e.every(x => x.naturalWidth)")
    report.locator("input[type=range]").first.focus()
    address = page.locator("#report-alone").get_attribute("href")
    answer = server.ask("GET", address)
    assert b"pyramid" in answer.body
    assert b'src="' not in answer.body.replace(b'src="data:', b"")  # it needs no other file
    policy = answer.headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy
    assert server.ask("GET", f"{address}../../../etc/passwd").status == 404


def test_axe_finds_nothing(context, server, files):
    page = open_page(context, server)
    page.emulate_media(reduced_motion="reduce")
    found = look_for_violations(page)
    page.click("#tab-paint")
    page.set_input_files("#paint-files", [files / "text.jpg", files / "photo.jpg"])
    page.wait_for_selector(PAINTED)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert found + look_for_violations(page) == []


def look_for_violations(page) -> list[str]:
    """What axe finds in all views, in one line each."""
    found = []
    for view in VIEWS:
        page.click(f"#tab-{view}")
        violations = axe_api.Axe().run(page).response["violations"]
        found += [
            f"{one['id']}: {node['html'][:200]}" for one in violations for node in one["nodes"]
        ]
    return found


def test_nothing_is_cut_off_and_nothing_jumps(context, server, files):
    for width in (390, 1280, 2560):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 844})
        page.goto(server.address)
        page.wait_for_selector("#main.ready")
        for view in VIEWS:
            page.click(f"#tab-{view}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
            assert page.locator("p, label, button, output, h3").evaluate_all(SMALL) == []
        page.click("#tab-paint")
        choose(page, files, "clear.png")
        expect(page.locator("#strip .painted")).to_have_count(8)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("shifts") == []
        page.close()
