"""How many results a second the page of draw shows while one draws, in Chromium without a GPU.

    python benchmarks/drawing.py RUN

draws on the page for some seconds, as fast as a hand does, and prints how many results come, and
how much of the time between two the generator takes. Wants playwright and Chromium.
"""

import math
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the program is

import pix2pix  # noqa: F401  # isort: skip  # tells TensorFlow what to be loaded with

import tensorflow as tf
import tyro
from playwright.sync_api import Page, sync_playwright

from pix2pix.commands.draw.command import DrawServer
from pix2pix.commands.draw.drawings import find_drawings
from pix2pix.commands.export.page import find_browser
from pix2pix.commands.open_run import open_run
from pix2pix.commands.translate import translator
from pix2pix.options.commands import Draw

MOVES_A_SECOND = 60
COUNT_RESULTS = """() => {  // each result that is shown comes with its time
    window.results = 0;
    new MutationObserver(() => { results += 1; }).observe(get("#time"), { childList: true });
}"""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    run: tyro.conf.Positional[Path]
    """The name of a run, or its folder."""
    seconds: float = 10
    """How long one draws."""
    data_dir: Path = Draw.data_dir
    """Where the run's pictures are."""


def time_generator() -> list[float]:
    """Let the server time its generator; return the list in which the seconds will be."""
    seconds, plain = [], translator.generate

    def generate(*sources: object) -> tf.Tensor:
        start = time.perf_counter()
        images = plain(*sources)
        images.numpy()  # when they are computed
        seconds.append(time.perf_counter() - start)
        return images

    translator.generate = generate
    return seconds


def draw_for(page: Page, seconds: float) -> float:
    """Draw circles on a page; return how many seconds there are between two results."""
    page.evaluate(COUNT_RESULTS)
    box = page.locator("#drawing").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    start = time.perf_counter()
    page.mouse.move(*middle)
    page.mouse.down()
    while (passed := time.perf_counter() - start) < seconds:
        angle, radius = 3 * passed, box["width"] * 0.4 * passed / seconds
        page.mouse.move(middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle))
        time.sleep(1 / MOVES_A_SECOND)
    results = page.evaluate("results")
    page.mouse.up()
    return seconds / results


def main(options: Options) -> None:
    """Serve the page of a run, draw on it, and print what that comes to."""
    trained = open_run(options.run)
    drawings = find_drawings(trained, Draw(options.run, data_dir=options.data_dir))
    generator_times = time_generator()
    server = DrawServer(("127.0.0.1", 0), trained, drawings)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_context(bypass_csp=True).new_page()
        page.goto(server.url)
        page.wait_for_function("made && !working")
        generator_times.clear()
        between = draw_for(page, options.seconds)
        browser.close()
    server.shutdown()
    generation = sum(generator_times) / len(generator_times)
    print(f"results a second   {1 / between:.1f}")
    print(f"the generator      {generation / between:.2f} of the time between two")
    print(f"all else           {1000 * (between - generation):.0f} ms")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
