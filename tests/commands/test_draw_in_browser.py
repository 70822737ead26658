"""The page of draw in a browser: what the hand does, what is shown of it, what other sites get."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from conftest import copying, make_picture, make_run, small_task
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api")

RESULT = "document.querySelector('#result')"
DRAWING = "document.querySelector('#drawing')"


@pytest.fixture
def visit(open_tab):
    """Open the page of a server, and wait for its first result."""

    def open_page(server, **options):
        page = open_tab(server.url, **options)
        wait(page)
        return page

    return open_page


def wait(page) -> None:
    """Wait until everything that was drawn is translated."""
    page.wait_for_function("made && !working")


def pixels_of(page, canvas: str) -> np.ndarray:
    """What a canvas shows: [height, width, 4]."""
    script = f"{canvas}.getContext('2d').getImageData(0, 0, {canvas}.width, {canvas}.height)"
    height, width = page.evaluate(f"[{canvas}.height, {canvas}.width]")
    data = page.evaluate(f"Array.from({script}.data)")
    return np.array(data, np.uint8).reshape(height, width, 4)


def drag(page, *places: tuple[float, float], **options) -> None:
    """Draw a stroke through places of the drawing, each a share of its width and height."""
    box = page.locator("#drawing").bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, **options)
    page.mouse.up()
    wait(page)


def test_the_policy_lets_the_page_do_all_that_it_does(small, tmp_path, serve, browser):
    server, complaints = serve(make_run(tmp_path / "run", small)), []
    page = browser.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(server.url)
    playwright.expect(page.locator("#time")).to_contain_text("ms")
    with page.expect_download():
        page.click("button >> text=Download")
    page.close()
    assert complaints == []


def test_a_rectangle_of_a_class_is_drawn_and_translated_and_undone(small, tmp_path, serve, visit):
    server = serve(make_run(tmp_path / "run", small, copying()))
    page = visit(server)
    before = pixels_of(page, DRAWING)
    np.testing.assert_array_equal(pixels_of(page, RESULT), before)  # the generator copies
    page.click("text=Rectangle")
    page.click("#palette >> text=door")
    drag(page, (0.26, 0.51), (0.49, 0.74))
    expected = before.copy()
    expected[16:24, 8:16, :3] = (0, 207, 255)
    assert not np.array_equal(expected, before)
    for canvas in (DRAWING, RESULT):
        np.testing.assert_array_equal(pixels_of(page, canvas), expected)
    page.keyboard.press("Control+z")
    wait(page)
    np.testing.assert_array_equal(pixels_of(page, RESULT), before)
    page.keyboard.press("Control+Shift+z")
    wait(page)
    np.testing.assert_array_equal(pixels_of(page, RESULT), expected)


def test_results_come_while_one_draws_and_only_the_newest_waits(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small, copying())))
    page.click("text=Brush")
    page.evaluate(
        """() => {
            Object.assign(window, { moves: 0, results: 0 });
            canvas.addEventListener("pointermove", () => { moves += 1; });
            const plain = window.fetch;
            window.fetch = async (...all) => {
                const answer = await plain(...all);
                results += start ? 1 : 0;  // while the stroke is being drawn
                return answer;
            };
        }"""
    )
    drag(page, *[(0.1 + 0.8 * k / 60, 0.5 + 0.3 * np.sin(k)) for k in range(60)], steps=4)
    assert 3 <= page.evaluate("results") < page.evaluate("moves")
    np.testing.assert_array_equal(pixels_of(page, RESULT), pixels_of(page, DRAWING))


def test_it_is_drawn_on_by_keyboard_alone(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small, copying())))
    page.keyboard.press("r")
    page.keyboard.press("1")
    colour = page.evaluate("run.palette[0].colour")
    page.click("text=Clear")
    page.keyboard.press("2")
    page.focus("#drawing")
    for key in ("Space", *["ArrowRight"] * 4, *["ArrowDown"] * 2, "Space"):
        page.keyboard.press(key)
    wait(page)
    made = pixels_of(page, RESULT)[..., :3]
    other = page.evaluate("run.palette[1].colour")
    assert (made[16:19, 16:21] == other).all()
    assert (made == other).all(-1).sum() == 15
    assert (made == colour).all(-1).sum() == 32 * 32 - 15
    page.keyboard.press("Escape")  # gives up nothing, as nothing is begun
    assert page.get_attribute("#drawing", "aria-label").startswith("Label map, at 20, 18")


def test_what_comes_between_ends_a_stroke_that_can_be_undone(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small, copying())))
    before, count = pixels_of(page, DRAWING), page.evaluate("done.length")
    page.click("#palette >> text=door")
    for interrupt in ("f", "r", "Mirror", "Clear", "Show"):
        page.keyboard.press("b")
        page.focus("#drawing")
        page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
        if len(interrupt) == 1:
            page.keyboard.press(interrupt)
        else:
            page.click(f"button >> text={interrupt}")
        page.keyboard.press("Escape")
        wait(page)
        assert page.evaluate("start === null && before === null")
    assert page.evaluate("done.length") > count
    while page.evaluate("done.length") > count:
        page.click("#undo")
    wait(page)
    assert np.array_equal(pixels_of(page, DRAWING), before)


def test_two_fingers_draw_nothing(small, tmp_path, serve, visit):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    page = visit(serve(make_run(tmp_path / "run", small, copying())), **phone)
    before = pixels_of(page, DRAWING)
    page.click("text=Fill")
    page.click("#palette >> text=door")
    page.evaluate("""() => {
        const box = canvas.getBoundingClientRect();
        const touch = (type, pointerId, x) => canvas.dispatchEvent(new PointerEvent(type, {
            pointerId, pointerType: "touch", clientX: box.left + x, clientY: box.top + 20 }));
        canvas.setPointerCapture = () => {};
        for (const [type, id, x] of [["pointerdown", 1, 20], ["pointerdown", 2, 60],
            ["pointermove", 1, 30], ["pointerup", 1, 30], ["pointerup", 2, 60]]) touch(type, id, x);
    }""")
    wait(page)
    np.testing.assert_array_equal(pixels_of(page, DRAWING), before)


def test_fill_pick_and_mirror(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small, copying())))
    before = pixels_of(page, DRAWING)
    page.click("text=Mirror")
    wait(page)
    np.testing.assert_array_equal(pixels_of(page, RESULT), before[:, ::-1])
    page.click("text=Clear")
    page.click("text=Pick")
    drag(page, (0.5, 0.5))
    page.click("#palette >> text=window")
    page.click("text=Line")
    page.evaluate("chooseSize(0)")
    drag(page, (0.51, 0.01), (0.51, 0.99))  # a wall, so that half stays as it is
    page.click("#palette >> text=door")
    page.click("text=Fill")
    drag(page, (0.1, 0.1))
    made = pixels_of(page, RESULT)[..., :3]
    assert (made[:, :16] == (0, 207, 255)).all()
    assert (made[:, 16] == (0, 128, 255)).all()
    assert (made[:, 17:] == page.evaluate("run.palette[0].colour")).all()


def test_a_sketch_has_pen_and_eraser(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small_task(small, "sketch"))))
    page.click("text=Clear")
    drag(page, (0.1, 0.5), (0.9, 0.5))
    drawn = pixels_of(page, DRAWING)
    assert (drawn[16, 4:28, :3] == 0).all()
    assert (drawn[:8, :, :3] == 255).all()
    page.keyboard.press("e")
    page.evaluate("chooseSize(8)")
    drag(page, (0.1, 0.5), (0.9, 0.5))
    assert (pixels_of(page, DRAWING) == 255).all()


def test_holes_are_erased_in_a_photo_and_filled(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small_task(small, "inpaint"))))
    make_picture(tmp_path / "photo.png", 32, 32)
    page.set_input_files("input[type=file]", tmp_path / "photo.png")
    playwright.expect(page.locator("#status")).to_have_text("Erase what is to be filled.")
    photo = pixels_of(page, DRAWING)
    np.testing.assert_array_equal(pixels_of(page, RESULT), photo)
    np.testing.assert_array_equal(photo[..., :3], np.asarray(Image.open(tmp_path / "photo.png")))
    page.click("text=Rectangle")
    drag(page, (0.26, 0.26), (0.49, 0.49))
    erased, result = pixels_of(page, DRAWING), pixels_of(page, RESULT)
    assert (erased[8:16, 8:16, 3] == 0).all()
    kept = erased[..., 3] == 255
    np.testing.assert_array_equal(result[kept], photo[kept])
    assert (result[8:16, 8:16] != photo[8:16, 8:16]).any()
    page.click("text=Bring back")
    page.evaluate("chooseSize(8)")
    drag(page, (0.1, 0.1), (0.6, 0.6))
    np.testing.assert_array_equal(pixels_of(page, DRAWING), photo)
    page.keyboard.press("Control+z")  # the hole is there again
    page.click("text=Mirror")
    np.testing.assert_array_equal(pixels_of(page, DRAWING), erased[:, ::-1])
    page.click("text=Clear")
    np.testing.assert_array_equal(pixels_of(page, DRAWING), photo[:, ::-1])
    wait(page)


def test_what_is_half_transparent_in_a_photo_is_a_hole(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small_task(small, "inpaint"))))
    Image.new("RGBA", (32, 32), (200, 100, 50, 128)).save(tmp_path / "photo.png")
    page.set_input_files("input[type=file]", tmp_path / "photo.png")
    page.wait_for_function("pixels[0] >>> 24 === 0")
    wait(page)
    assert (pixels_of(page, DRAWING) == 0).all()
    playwright.expect(page.locator("#status")).to_have_text("")  # and not: "Erase …"


def test_a_photo_is_dropped_compared_and_downloaded(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small_task(small, "colorize"))))
    pixels = np.full((64, 64, 3), (200, 100, 50), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    page.set_input_files("input[type=file]", tmp_path / "photo.png")
    page.wait_for_function("(pixels[0] & 255) === 200")
    wait(page)
    with page.expect_download() as download:
        page.select_option("[aria-label='What to download']", label="side by side")
        page.click("button >> text=Download")
    both = np.asarray(Image.open(download.value.path()).convert("RGB"))
    assert download.value.suggested_filename == "run-side-by-side.png"
    assert both.shape == (32, 64, 3)
    assert (both[:, :32] == (200, 100, 50)).all()
    np.testing.assert_array_equal(both[:, 32:], pixels_of(page, RESULT)[..., :3])
    page.evaluate("document.querySelector('#compare').value = 50; showResult()")
    shown = pixels_of(page, RESULT)[..., :3]
    assert (shown[:, :15] == (200, 100, 50)).all()
    np.testing.assert_array_equal(shown[:, 16:], both[:, 48:])
    page.click("text=Clear")
    assert (pixels_of(page, DRAWING) == 255).all()
    wait(page)


def test_what_is_no_picture_is_said(small, tmp_path, serve, visit):
    page = visit(serve(make_run(tmp_path / "run", small)))
    (tmp_path / "notes.txt").write_text("no picture")
    page.set_input_files("input[type=file]", tmp_path / "notes.txt")
    page.wait_for_function("get('#status').textContent.includes('no picture')")


def test_on_a_phone_nothing_is_wider_than_the_screen(small, tmp_path, serve, visit):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = visit(serve(make_run(tmp_path / "run", small, copying())), **phone)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator("#drawing").bounding_box()
    assert box["y"] + box["height"] < 844
    before = pixels_of(page, DRAWING)
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait(page)
    assert not np.array_equal(pixels_of(page, RESULT), before)


HOSTILE = """<!doctype html><title>Elsewhere</title><img id="picture" src="{url}examples/0.png">
<form action="{url}translate" method="post" target="frame"><input name="x"></form>
<iframe name="frame"></iframe>
<script>
  const found = [];
  const attempt = async (name, action) => {{
    try {{ found.push([name, await action()]); }} catch {{ found.push([name, "nothing"]); }}
  }};
  const body = new Blob(["x"], {{ type: "text/plain" }});
  window.done = (async () => {{
    await attempt("page", async () => (await fetch("{url}")).text());
    await attempt("translate", async () => (await fetch("{url}translate", {{ method: "POST", body }})).text());
    await attempt("blind", async () => (await fetch("{url}translate", {{ method: "POST", body, mode: "no-cors" }})).type);
    document.forms[0].submit();
    await new Promise((resolve) => setTimeout(resolve, 500));
    found.push(["picture", document.querySelector("#picture").naturalWidth || "nothing"]);
    return found;
  }})();
</script>"""  # noqa: E501


def test_a_page_of_another_site_gets_nothing(small, tmp_path, serve, browser, monkeypatch):
    server = serve(make_run(tmp_path / "run", small))
    asked = []
    monkeypatch.setattr(
        "pix2pix.commands.draw.command.translate_encoded", lambda *given: asked.append(given) or b""
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text(HOSTILE.format(url=server.url))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{site.server_address[1]}/")
        found = dict(page.evaluate("window.done"))
        page.close()
        site.shutdown()
    assert found == dict.fromkeys(("page", "translate", "blind", "picture"), "nothing")
    assert asked == []  # neither was anything computed for it
