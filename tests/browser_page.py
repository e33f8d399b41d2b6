"""The page of web/ in a browser: what a person does on it, and what that person sees."""

import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

HANG = 100  # seconds that nothing here takes

# Many pointer events in one call. They come from no device, so the browser cannot capture its pointer.
DRAW = """
document.getElementById('clear').click();
const pad = document.getElementById('pad'), frame = pad.getBoundingClientRect();
pad.setPointerCapture = () => {};
const fire = (name, [x, y]) => {
  const place = {clientX: frame.left + x * frame.width, clientY: frame.top + y * frame.height};
  pad.dispatchEvent(new PointerEvent(name, {pointerId: 1, button: 0, bubbles: true, ...place}));
};
for (const stroke of arguments[0]) {
  fire('pointerdown', stroke[0]);
  stroke.slice(1).forEach((point) => fire('pointermove', point));
  fire('pointerup', stroke.at(-1));
}
delete pad.setPointerCapture;
return document.getElementById('answer').textContent;
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """Give the address of a web server for a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def start(chromium, driver, downloads):
    """Start a browser that saves files in the folder `downloads`."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


class OpenPage:
    """The page in a browser."""

    def __init__(self, browser):
        self.browser = browser
        self.script = browser.execute_script

    def open(self, address, width=1280, is_dark=False):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        mode = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [mode]})
        self.browser.get(address)
        self.wait("document.body.classList.contains('ready')")

    def wait(self, condition):
        """Wait until a condition of JavaScript holds."""
        self.wait_for(lambda: self.script(f"return {condition}"), condition)

    @staticmethod
    def wait_for(holds, condition="what is waited for"):
        end = time.monotonic() + HANG
        while not holds():
            assert time.monotonic() < end, f"still not: {condition}"
            time.sleep(0.02)

    def find(self, name):
        return self.browser.find_element(By.ID, name)

    def text(self, name):
        return self.find(name).get_attribute("textContent")

    def click(self, name):
        self.script("document.getElementById(arguments[0]).scrollIntoView({block: 'center'})", name)
        self.find(name).click()

    def set(self, **settings):
        for name, value in settings.items():
            self.script(
                "const field = document.querySelector(`[name=${arguments[0]}]`); field.value = arguments[1];"
                "field.dispatchEvent(new Event('change', {bubbles: true}))",
                name,
                str(value),
            )

    def give(self, name, *paths):
        self.find(name).send_keys("\n".join(map(str, paths)))

    def drop(self, **files):
        """Drop files, given by their names and contents, on the page."""
        self.script(
            "const data = new DataTransfer();"
            "for (const [name, bytes] of Object.entries(arguments[0]))"
            "  data.items.add(new File([Uint8Array.from(bytes)], name));"
            "document.body.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data}))",
            {name: list(content) for name, content in files.items()},
        )

    def train(self):
        self.click("train-sample")
        self.wait_for_training()

    def wait_for_training(self):
        self.wait("page.training === null && document.getElementById('log').textContent.includes('steps in')")
        self.wait("!document.getElementById('mistakes').hidden")

    def load(self, path):
        """Load a network, and wait until it has read the test digits."""
        self.give("network-file", path)
        self.wait("!document.getElementById('mistakes').hidden")

    def press(self, name, keys):
        """Press keys, such as "space arrow_left", on an element."""
        self.find(name).send_keys(*(getattr(Keys, key.upper()) for key in keys.split()))

    def type(self, keys):
        """Press keys on what has the focus."""
        self.browser.switch_to.active_element.send_keys(*(getattr(Keys, key.upper()) for key in keys.split()))

    def layer_name(self, position):
        return self.script("return page.net.layers[arguments[0]].name", position)

    def hover(self, selector, number, x, y):
        """Move the mouse over an element, from (0, 0) to (1, 1); the selector's `number`th."""
        left, top, width, height = self.frame(selector, number)
        actions = ActionBuilder(self.browser, mouse=PointerInput("mouse", "the mouse"), duration=0)
        actions.pointer_action.move_to_location(round(left + x * width), round(top + y * height))
        actions.perform()

    def log(self):
        return self.text("log").splitlines()

    def fact(self, name):
        terms = self.script("return [...document.querySelectorAll('#facts dt')].map((it) => it.textContent)")
        return self.script("return document.querySelectorAll('#facts dd')[arguments[0]].textContent", terms.index(name))

    def frame(self, selector, number=0):
        """Scroll to an element, the selector's `number`th. Return its left, top, width and height on the screen."""
        return self.script(
            "const element = document.querySelectorAll(arguments[0])[arguments[1]];"
            "element.scrollIntoView({block: 'center'}); const frame = element.getBoundingClientRect();"
            "return [frame.left, frame.top, frame.width, frame.height]",
            selector,
            number,
        )

    def point_along(self, strokes, kind):
        """Draw strokes on the pad, from (0, 0) to (1, 1), with a mouse, a finger ("touch") or a pen."""
        left, top, side, _ = self.frame("#pad")
        device = PointerInput(kind, f"a {kind}")
        actions = ActionBuilder(self.browser, mouse=device, duration=0)
        for stroke in strokes:
            for number, (x, y) in enumerate(stroke):
                device.create_pointer_move(duration=0, x=round(left + x * side), y=round(top + y * side))
                if number == 0:
                    device.create_pointer_down(button=0)
            device.create_pointer_up(button=0)
        actions.perform()

    def draw(self, strokes):
        """Draw strokes on the empty pad in less time. Return the answer."""
        return self.script(DRAW, [np.asarray(stroke).tolist() for stroke in strokes])

    def answer(self):
        return self.text("answer")

    def image(self):
        """Return what the network sees: uint8 (28, 28)."""
        return np.array(self.script("return Array.from(page.image)"), np.uint8).reshape(28, 28)

    def evaluate(self):
        """Return the loss, the accuracy and the predictions on the sample's test digits."""
        return self.script(
            "const {loss, accuracy, predictions} = page.net.evaluate(page.sample.testImages, page.sample.testLabels);"
            "return [loss, accuracy, Array.from(predictions)]"
        )

    def parameters(self):
        return np.array(self.script("return Array.from(page.net.snapshot())"), np.float32)
