"""Draws docs/page.png and docs/page-inside.png: ``python tools/draw_page.py FOLDER`` with the four files of MNIST.

It needs Chromium, its chromedriver, selenium, Pillow, and the page that web/build.sh makes.
"""

import base64
import shutil
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser_page import OpenPage, start  # noqa: E402
from strokes import by_hand  # noqa: E402

WIDTH = 1180  # pixels
MARGIN = 24
COLOURS = 96  # of the picture, which keep it small


def main(data: Path) -> None:
    """Train on all of MNIST for one epoch, draw a three, and take two pictures of the page."""
    browser = start(shutil.which("chromium"), shutil.which("chromedriver"), ROOT)
    try:
        page = OpenPage(browser)
        page.open((ROOT / "web/dist/cnnx.html").as_uri(), width=WIDTH)
        page.set(epochs=1)
        page.give("files", *sorted(data.glob("*-ubyte*")))
        page.wait_for_training()
        page.draw([points / 14 * 0.62 + (0.26, 0.19) for points in by_hand(3, np.random.default_rng(4))])
        page.script("document.activeElement.blur(); scrollTo(0, 0)")
        take(browser, "page", 0, page.script("return document.getElementById('drop').getBoundingClientRect().top"))
        top, height = page.script(
            "const it = document.getElementById('inside').getBoundingClientRect(); return [it.top, it.height]"
        )
        take(browser, "page-inside", top - MARGIN, height + 2 * MARGIN)
    finally:
        browser.quit()


def take(browser, name: str, top: float, height: float) -> None:
    """Write a part of the page, in its whole width."""
    clip = {"x": 0, "y": top, "width": WIDTH, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    picture = Image.open(BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(ROOT / f"docs/{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
