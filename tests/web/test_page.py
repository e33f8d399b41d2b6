"""The page that trains in a browser, in Chromium: web/build.sh makes it, and nothing on it is simulated."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx import idx, write
from strokes import somewhere
from twins import computing_on

import cnnx

pytest.importorskip("selenium", reason="selenium is not installed")
from browser_page import OpenPage, served, start  # after the skip

PAGE = Path(__file__).parents[2] / "web" / "dist" / "cnnx.html"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
DATA = Path(os.environ.get("CNNX_DATA", ""))
MNIST = [DATA / f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
SEVEN = [[(0.25, 0.25), (0.5, 0.24), (0.72, 0.25), (0.6, 0.5), (0.45, 0.8)]]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="Chromium and its chromedriver are not installed"),
    pytest.mark.skipif(not PAGE.exists(), reason="web/dist/cnnx.html is missing (web/build.sh makes it)"),
]
needs_mnist = pytest.mark.skipif(
    not all(path.exists() for path in MNIST), reason="CNNX_DATA names no folder with all of MNIST"
)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads):
    browser = start(CHROMIUM, DRIVER, downloads)
    yield browser
    browser.quit()


@pytest.fixture
def page(browser):
    """Give the page as it opens. Whatever a test does, the browser has nothing to complain about."""
    page = OpenPage(browser)
    page.open(PAGE.as_uri())
    yield page
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@pytest.fixture(scope="module")
def trained_on_mnist(browser, downloads):
    """Train on all of MNIST for one epoch; give the test accuracy that is shown, and the saved network's file."""
    page = OpenPage(browser)
    page.open(PAGE.as_uri())
    page.set(epochs=1)
    page.give("files", *MNIST)
    page.wait_for_training()
    page.click("save")
    file = downloads / "digits.npz"
    page.wait_for(file.exists)
    return page.fact("Test accuracy"), file


@pytest.mark.parametrize("way", ["file", "http"])
def test_the_page_opens_from_a_disk_and_over_http(page, way):
    with served(PAGE.parent) as address:
        page.open(PAGE.as_uri() if way == "file" else f"{address}/{PAGE.name}")
        assert page.answer() in "0123456789"
        assert "learned nothing yet" in page.text("verdict")
        page.train()
        assert "learned nothing yet" not in page.text("verdict")
        assert float(page.fact("Test accuracy").removesuffix("%")) > 80


@pytest.mark.parametrize(
    "settings", [{}, {"seed": 3, "learnRate": 0.01, "epochs": 1, "ties": "first"}], ids=["as it opens", "others"]
)
def test_the_log_has_the_lines_of_the_command_that_the_page_names(page, settings):
    page.set(**settings)
    page.train()
    command = page.text("command").split()
    assert command[:3] == ["python", "-m", "cnnx.train"]
    environment = {**os.environ, "CNNX_TARGET": "baseline"}
    python = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, text=True, check=True)
    *lines, speed = python.stdout.splitlines()
    assert page.log()[:-1] == lines
    assert page.log()[-1].split(" in ")[0] == speed.split(" in ")[0]


def test_a_second_press_of_the_button_trains_as_a_second_fit(page):
    digits = cnnx.data.load()
    page.set(epochs=1)
    page.train()
    page.train()
    with computing_on("baseline"):
        np.random.seed(0)
        network = cnnx.models.article_cnn(dtype="float32")
        for _ in range(2):
            network.fit(digits.train_images, digits.train_labels, epochs=1, learn_rate=0.005)
        np.testing.assert_array_equal(page.parameters(), network.parameters)


@needs_mnist
def test_one_epoch_of_all_of_mnist_reads_95_percent(trained_on_mnist):
    assert float(trained_on_mnist[0].removesuffix("%")) >= 95


@needs_mnist
@pytest.mark.parametrize("kind", ["mouse", "touch", "pen"])
def test_a_drawn_seven_is_read(page, trained_on_mnist, kind):
    page.load(trained_on_mnist[1])
    page.click("clear")
    assert page.answer() == "?"
    page.point_along(SEVEN, kind)
    assert page.answer() == "7"
    assert "7" in page.text("verdict")


@needs_mnist
def test_drawn_digits_of_all_sizes_are_read_wherever_they_are(page, trained_on_mnist):
    page.load(trained_on_mnist[1])
    rng = np.random.default_rng(0)
    answers = [int(page.draw([points[::4] for points in somewhere(number % 10, rng)])) for number in range(200)]
    assert np.mean(np.equal(answers, np.arange(200) % 10)) >= 0.92


@needs_mnist
def test_python_reads_what_the_page_saved(page, trained_on_mnist):
    page.load(trained_on_mnist[1])
    digits = cnnx.data.load()
    loss, accuracy, predictions = page.evaluate()
    with computing_on("baseline"):
        network = cnnx.load(trained_on_mnist[1])
        assert network.evaluate(digits.test_images, digits.test_labels) == (loss, accuracy)
        assert network.predict(digits.test_images).argmax(axis=1).tolist() == predictions


@pytest.mark.parametrize("model", [cnnx.models.article_cnn, cnnx.models.small_convnet])
def test_the_page_loads_what_python_trained(page, tmp_path, model):
    digits = cnnx.data.load()
    with computing_on("baseline"):
        network = model(dtype="float32")
        network.fit(digits.train_images, digits.train_labels, epochs=1, learn_rate=0.005)
        network.save(tmp_path / "python.npz")
        page.load(tmp_path / "python.npz")
        loss, accuracy, predictions = page.evaluate()
        assert network.evaluate(digits.test_images, digits.test_labels) == (loss, accuracy)
        assert network.predict(digits.test_images).argmax(axis=1).tolist() == predictions
        assert page.fact("Test accuracy") == f"{accuracy:.1%}"


def test_one_click_corrects_a_wrong_answer_and_another_undoes_it(page):
    page.train()
    before = page.parameters()
    page.script("[...document.querySelectorAll('#worst button')].at(-1).click()")
    is_ = page.script("return [...document.querySelectorAll('#worst button')].at(-1).textContent[0]")
    read_as = page.answer()
    assert read_as != is_
    page.script("document.querySelectorAll('#meant button')[arguments[0]].click()", int(is_))
    assert page.answer() == is_
    assert np.any(page.parameters() != before)
    page.click("undo-correction")
    assert page.answer() == read_as
    np.testing.assert_array_equal(page.parameters(), before)


def test_the_page_answers_while_it_trains_and_the_training_can_be_stopped(page):
    page.set(epochs=50)
    before = page.parameters()[:72]
    page.click("train-sample")
    page.wait("page.progress.seen >= 2000")
    assert page.draw(SEVEN) == "7"
    assert np.any(page.parameters()[:72] != before)  # the filters
    assert page.script("return page.training !== null && document.getElementById('train-sample').disabled")
    page.click("stop")
    page.wait("page.training === null")
    page.wait("document.getElementById('progress').textContent.startsWith('Stopped')")
    assert page.find("stop").is_displayed() is False


def test_a_learn_rate_that_is_too_large_is_an_error_that_says_so(page):
    page.set(learnRate=1)
    page.click("train-sample")
    page.wait("!document.getElementById('problem').hidden")
    assert "learn rate 1" in page.text("problem")
    page.click("restart")
    assert page.find("problem").is_displayed() is False


def test_corrections_are_capped_and_the_page_says_why(page):
    page.train()
    for _ in range(5):
        page.script("document.querySelectorAll('#meant button')[3].click()")
    assert "One step" in page.text("correction")
    before = page.parameters()
    page.script("document.querySelectorAll('#meant button')[3].click()")
    assert "forgets" in page.text("correction")
    np.testing.assert_array_equal(page.parameters(), before)
    page.train()
    assert page.find("undo-correction").is_displayed() is False


@pytest.mark.parametrize(("size", "corner"), [(0.95, (0.02, 0.02)), (0.3, (0.65, 0.6)), (0.12, (0, 0.85))])
def test_a_drawing_is_scaled_and_centred_by_its_mass(page, size, corner):
    page.draw([np.array(SEVEN[0])])
    expected = page.image()
    least = np.array(SEVEN[0]).min(axis=0)
    page.draw([(np.array(SEVEN[0]) - least) / 0.56 * size + corner])
    image = page.image()
    assert np.abs(image.astype(float) - expected).mean() < 3
    rows, columns = np.nonzero(image)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (20, 21)
    centre = (image.sum(axis=1) @ np.arange(28) / image.sum(), image.sum(axis=0) @ np.arange(28) / image.sum())
    assert centre == pytest.approx((14, 14), abs=0.51)


def test_the_keyboard_draws(page):
    page.click("clear")
    page.press("pad", "arrow_left arrow_left space arrow_right arrow_right arrow_right arrow_down arrow_down space")
    assert np.count_nonzero(page.image()) > 30
    page.press("pad", "escape")
    assert page.text("verdict") == "The pad is empty."


@pytest.mark.parametrize(
    ("preset", "layer"), [("article", 0), ("article", 1), ("small_convnet", 2), ("small_convnet", 3)]
)
def test_a_pixel_that_is_pointed_at_tells_how_it_was_computed(page, preset, layer):
    page.set(preset=preset)
    rows, columns, maps = page.script("return page.net.layers[arguments[0]].shape", layer)
    values = page.script("return Array.from(page.net.forward(page.image).layers[arguments[0]])", layer)
    map_ = 2
    values = np.reshape(values, (rows, columns, maps))[..., map_]
    row, column = np.unravel_index(np.abs(values - values[0, 0]).argmax(), values.shape)  # far from what paper gives
    name = page.layer_name(layer)
    earlier = sum(page.layer_name(i) == name for i in range(layer))  # small_convnet has each kind of layer twice
    page.hover(f"canvas[aria-label='{name}, map {map_ + 1}']", earlier, (column + 0.5) / columns, (row + 0.5) / rows)
    assert page.text("inspector-title") == f"{name}, map {map_ + 1}, row {row + 1}, column {column + 1}"
    shown = page.script("return document.querySelector('#inspector .result strong').textContent")
    assert float(shown.replace("\u2212", "-")) == pytest.approx(values[row, column], abs=0.0051)


def test_an_output_that_is_pointed_at_tells_what_spoke_for_it(page):
    page.train()  # before it, all totals are about 0
    page.hover("#outputs button", 3, 0.5, 0.5)
    assert page.text("inspector-title") == "What spoke for 3"
    totals = np.array(page.script("return Array.from(page.net.forward(page.image).totals)"))
    biases = np.array(page.script("return Array.from(page.net.layers.at(-1).parameters.biases.data)"))
    shown = page.script("return document.querySelector('#inspector .result strong').textContent")
    assert float(shown.replace("\u2212", "-")) == pytest.approx(totals[3], abs=0.0051)
    evidence = page.script("return document.querySelector('#seen canvas').getAttribute('aria-label')")
    products = totals - biases
    shown = evidence.removeprefix("What spoke for 3, and what against it: ").removesuffix(" in all")
    assert float(shown.replace("\u2212", "-")) == pytest.approx(products[3] - products.mean(), abs=0.0051)


def test_arrow_keys_go_from_pixel_to_pixel(page):
    page.script("document.querySelector(\"canvas[aria-label='MaxPool2, map 1']\").focus()")
    page.type("arrow_right arrow_right arrow_down")
    assert "map 1, row 8, column 9" in page.text("inspector-title")
    assert "MaxPool2, map 1, row 8, column 9" in page.text("spoken")


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_a_phone_is_wide_enough_in_both_modes(page, is_dark):
    page.open(PAGE.as_uri(), width=390, is_dark=is_dark)
    page.train()
    page.script("document.querySelectorAll('details').forEach((it) => (it.open = true))")
    assert page.script("return document.documentElement.scrollWidth") == 390
    paper = page.script("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    pad = page.script(
        "return Array.from(document.getElementById('pad').getContext('2d').getImageData(3, 3, 1, 1).data)"
    )
    assert (max(paper) < 60) == (max(pad[:3]) < 60) == is_dark


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images", idx(np.zeros((3, 27, 28), np.uint8)), "train-images: expected pictures of 28×28 pixels"),
        ("train-labels", idx(np.arange(8, 12, dtype=np.uint8))[:-1], "expected 4 bytes after the header, got 3"),
        ("train-labels.gz", b"\x1f\x8b\x08 and no more", "train-labels.gz: expected a whole .gz file"),
        ("labels", idx(np.zeros(3, np.uint8)), "labels: expected a name with “train” or “t10k”"),
        ("notes.txt", b"no digits", "notes.txt: expected a file of MNIST"),
        ("digits.npz", b"PK\x03\x04", "digits.npz: "),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_by_name(page, tmp_path, name, content, message):
    page.give("files", write(tmp_path / name, content))
    page.wait("!document.getElementById('problem').hidden")
    assert message in page.text("problem")


def test_files_may_come_one_after_the_other(page, tmp_path, rng):
    images, labels = rng.integers(0, 256, (20, 28, 28), np.uint8), rng.integers(0, 10, 20, np.uint8)
    page.give("files", write(tmp_path / "train-labels", idx(labels)), write(tmp_path / "train-images", idx(images)))
    page.wait("document.getElementById('files-report').textContent.length > 0")
    assert page.text("files-report") == "Still missing: test images, test labels."
    page.drop(**{"t10k-labels": idx(labels), "t10k-images": idx(images)})
    page.wait("page.training !== null")
    page.wait_for_training()
    assert page.fact("Digits learned from") == "60"
    assert re.search(r" an? [A-Z][a-z-]+", page.text("verdict"))  # as much ink as clothes have, so names of clothes
