"""`cnnx.pictures` turns ordinary pictures of digits into images like MNIST's."""

import io
import os
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (extra pictures)")

from digit_pictures import FORMATS, drawn, made, typed
from PIL import Image, ImageDraw

import cnnx
from cnnx import train
from cnnx.data import DataError
from cnnx.pictures import read

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
MNIST = os.environ.get("CNNX_DATA")


def a_digit(side=100, paper=255, ink=0):
    """Return a picture (side, side) of something like a 7."""
    image = Image.new("L", (side, side), paper)
    ImageDraw.Draw(image).line([(30, 20), (70, 20), (45, 80)], ink, 9)
    return np.asarray(image)


SEVEN = a_digit()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Train on MNIST by the command of the guide."""
    if not MNIST:
        pytest.skip("CNNX_DATA names no folder with all of MNIST")
    file = tmp_path_factory.mktemp("network") / "digits.npz"
    lines = (ROOT / "docs" / "howto" / "own-pictures.md").read_text("utf-8").splitlines()
    command = next(line for line in lines if line.startswith("python -m cnnx.train"))
    assert train.main([*shlex.split(command)[3:], "--quiet", "--save", str(file)]) == 0
    return cnnx.load(file)


def matplotlib_fonts():
    """Return ways to type in matplotlib's fonts: sans and serif, typewriter, upright and slanted, thin and bold."""
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib, which has fonts, is not installed (extra plot)")
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSansMono DejaVuSerif DejaVuSerif-Italic "
    names += "STIXGeneral STIXGeneralBol STIXGeneralItalic cmr10 cmss10 cmtt10"
    return [partial(typed, font=folder / f"{name}.ttf") for name in names.split()]


MADE = {
    "drawn by a pen": lambda: made(120, seed=0, ways=[drawn]),
    "typed in Pillow's font": lambda: made(100, seed=0, ways=[typed]),
    "typed in other fonts": lambda: made(120, seed=0, ways=matplotlib_fonts()),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_network_trained_as_the_guide_says_reads_95_of_100_pictures(network, tmp_path, kind):
    """No font chose anything: the digits of --typed are drawn without fonts, and were compared on fonts of Debian."""
    wrong, count = [], 0
    for digit, content, what in MADE[kind]():
        file = tmp_path / "picture"
        file.write_bytes(content)
        got = int(network.predict(read(file)).argmax())
        if got != digit:
            wrong.append(f"{digit} read as {got}: {what}")
        count += 1
    assert len(wrong) <= 0.05 * count, "\n".join(wrong)


@pytest.mark.smoke
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_image(tmp_path, kind):
    """The digit is the same, so only what the format cannot keep may differ: soft edges, exact colours."""
    from digit_pictures import saved

    ink = (255 - SEVEN) / 255
    picture = np.stack([SEVEN] * 3, axis=-1)
    file = tmp_path / "picture"
    file.write_bytes(saved(picture, ink, kind))
    assert np.abs(read(file).astype(int) - read(SEVEN)).mean() < 4


def test_it_does_what_mnist_s_makers_did():
    image = read(SEVEN)
    assert (image.shape, image.dtype) == ((28, 28), np.uint8)
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    assert rows[-1] - rows[0] + 1 == 20
    assert columns[-1] - columns[0] + 1 < 20
    centre = [(image.sum(axis=1 - axis) @ np.arange(28)) / image.sum() for axis in (0, 1)]
    assert np.abs(np.array(centre) - 14).max() <= 0.5
    assert image.max() == 255


def test_digits_of_mnist_stay_nearly_as_they_are():
    digits = np.delete(cnnx.data.load().test_images, 95, axis=0)  # beside that 9, there is a long line
    again = np.stack([read(digit) for digit in digits])
    assert np.abs(again.astype(int) - digits).mean() < 6
    moved = [np.abs(np.array(_mass(after)) - _mass(before)).max() for after, before in zip(again, digits, strict=True)]
    assert np.mean(np.array(moved) < 0.2) > 0.9  # the others by a whole pixel: their centre is between two
    assert max(moved) < 1.1


def _mass(image):
    return [(image.sum(axis=1 - axis) @ np.arange(28)) / image.sum() for axis in (0, 1)]


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: 255 - picture,
        lambda picture: picture // 4 + 100,
        lambda picture: np.pad(picture, ((0, 150), (90, 10)), constant_values=255),
        lambda picture: picture[..., np.newaxis],
        lambda picture: np.stack([picture, picture, picture], axis=-1),
        lambda picture: np.stack([picture, np.full_like(picture, 255), picture], axis=-1),
        lambda picture: picture > 127,
        lambda picture: picture / 255,
        lambda picture: picture.astype(np.float32) * 1e6 - 3e7,
        lambda picture: picture.astype(np.uint16) * 16,
        lambda picture: picture.astype(np.int64) - 40,
        lambda picture: Image.fromarray(picture),
        lambda picture: np.asfortranarray(picture),
        lambda picture: (picture * np.linspace(0.6, 1, 100)).astype(np.uint8),
    ],
)
def test_colours_numbers_light_and_place_change_nothing(change):
    assert np.abs(read(change(SEVEN)).astype(int) - read(SEVEN)).mean() < 2


@pytest.mark.parametrize("size", [40, 60, 300, 1500, 3000])
def test_size_changes_little(size):
    picture = np.asarray(Image.fromarray(SEVEN).resize((size, size)))
    assert np.abs(read(picture).astype(int) - read(SEVEN)).mean() < 5


def test_thin_strokes_are_not_pale():
    image = Image.new("L", (900, 900), 255)
    ImageDraw.Draw(image).line([(200, 100), (700, 100), (400, 800)], 0, 3)
    got = read(np.asarray(image)).astype(float)
    assert np.square(got).sum() / got.sum() > 150


def test_specks_are_left_out():
    dirty = SEVEN.copy()
    dirty[5:8, 90:93] = dirty[95:97, 4:6] = 0
    np.testing.assert_array_equal(read(dirty), read(SEVEN))


def test_a_camera_s_note_on_how_it_was_held_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    Image.fromarray(SEVEN).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "held.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "held.png"), read(SEVEN))


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(SEVEN).save(tmp_path / "my 7.png")
    np.testing.assert_array_equal(read("~/my 7.png"), read(SEVEN))


def test_reading_changes_no_array():
    picture = SEVEN.copy()
    read(picture)
    np.testing.assert_array_equal(picture, SEVEN)


def png(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


GREY = Image.fromarray(SEVEN)
TWO = np.concatenate([SEVEN, SEVEN], axis=1)
NOISE = np.random.default_rng(0).normal(128, 20, (64, 64)).astype(np.uint8)
BAD_FILES = {
    "no picture": (b"hello", r"expected a picture that Pillow can read, such as PNG or JPEG$"),
    "empty": (b"", r"expected a picture that Pillow can read"),
    "cut": (png(Image.fromarray(NOISE), format="PNG")[:-2000], r"expected a whole picture, got a damaged one \("),
    "cut JPEG": (png(Image.fromarray(NOISE), format="JPEG")[:-900], r"expected a whole picture, got a damaged one \("),
    "animated": (
        png(GREY, format="GIF", save_all=True, append_images=[Image.fromarray(255 - SEVEN)]),
        r"expected a picture of one frame, got 2 frames$",
    ),
    "blank": (
        png(Image.new("RGB", (40, 40), "white"), format="PNG"),
        r"expected a digit, got a picture of one colour$",
    ),
    "transparent": (png(Image.new("RGBA", (40, 40)), format="PNG"), r"expected a digit, got a picture of one colour$"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path, kind):
    content, message = BAD_FILES[kind]
    file = tmp_path / "my picture.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "absent": "No such file",
        "pipe": "expected a regular file",
        ".": "expected a regular",
    }.items():
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (NOISE, r"expected a digit, got a picture with little contrast"),
        (SEVEN // 30, r"expected a digit, got a picture with little contrast \(8 levels of 255\)"),
        (np.zeros((5, 5)), r"expected a digit, got a picture of one colour"),
        (TWO, r"expected one digit, got 2 shapes side by side \(crop the picture\)"),
        (np.full((9, 9), np.nan), r"expected finite numbers"),
        (np.zeros((0, 5), np.uint8), r"expected shape \(height, width\), or with 1, 3 or 4 channels, got \(0, 5\)"),
        (np.zeros((5, 5, 2), np.uint8), r"expected shape .*, got \(5, 5, 2\)"),
        (np.zeros(784, np.uint8), r"expected shape .*, got \(784,\)"),
    ],
)
def test_an_array_without_one_digit_is_an_error(picture, message):
    with pytest.raises(DataError, match=rf"^picture: {message}"):
        read(picture)


@pytest.mark.parametrize("picture", [None, 7, b"bytes", [[0, 1]], np.array([["a"]])], ids=repr)
def test_what_is_no_picture_is_a_type_error(picture):
    with pytest.raises(TypeError, match=r"^picture: expected a.*, got "):
        read(picture)
