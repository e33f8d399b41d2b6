"""The page in Chromium: how soon it is painted, how long its frames are while it trains, how fast it trains.

``python benchmarks/page.py --data FOLDER`` needs Chromium, its chromedriver, selenium, and the page that web/build.sh
makes. FOLDER has the four files of MNIST. A frame is long if the page could not answer a click meanwhile; the program
fails if the longest one takes more than 50 milliseconds, or the first paint more than a second.
"""

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

PAGE = Path(__file__).parents[1] / "web" / "dist" / "cnnx.html"
LONGEST_FRAME, LATEST_PAINT = 50, 1000  # milliseconds
FIRST_PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
WATCH = """
window.frames_ = [];
let last = performance.now();
const tick = (now) => {
  if (page.training !== null) frames_.push(now - last);
  last = now;
  requestAnimationFrame(tick);
};
requestAnimationFrame(tick);
"""


def start() -> webdriver.Chrome:
    """Start Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def wait(browser: webdriver.Chrome, condition: str) -> None:
    """Wait until a condition of JavaScript holds."""
    while not browser.execute_script(f"return {condition}"):
        time.sleep(0.2)  # seldom, since each question takes a part of a frame


def main() -> int:
    """Measure, print, and say whether the limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the four files of MNIST, .gz or not")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    files = sorted(options.data.glob("*-ubyte*"))
    browser = start()
    try:
        paints = []
        for _ in range(5):
            browser.get(PAGE.as_uri())
            wait(browser, "document.body.classList.contains('ready')")
            paints.append(browser.execute_script(FIRST_PAINT))
        browser.execute_script(f"document.querySelector('[name=epochs]').value = {options.epochs}")
        browser.execute_script(WATCH)
        browser.find_element(By.ID, "files").send_keys("\n".join(str(path) for path in files))
        wait(browser, "page.training !== null")
        wait(browser, "page.training === null")
        frames = browser.execute_script("return frames_")
        lines = browser.execute_script("return document.getElementById('log').textContent").splitlines()
    finally:
        browser.quit()
    frames = [round(frame) for frame in frames]  # they are whole turns of the screen: 17, 33, 50 milliseconds
    long = sum(frame > LONGEST_FRAME for frame in frames)
    print(f"first paint: {statistics.median(paints):.0f} ms, the median of {len(paints)}; at most {max(paints):.0f} ms")
    print(f"frames while training: {len(frames)}, {statistics.median(frames):.0f} ms in the median")
    print(f"longest frame: {max(frames)} ms; {long} took more than {LONGEST_FRAME} ms")
    print("\n".join(lines[-3:]))
    return int(max(frames) > LONGEST_FRAME or max(paints) > LATEST_PAINT)


if __name__ == "__main__":
    sys.exit(main())
