"""Pictures of digits as people have them: typed or drawn, of any size, place, colour and format.

`made(count, seed, ways)` draws what varies. A picture that is drawn follows the same strokes as a pen, so it is not a
font.
"""

import io

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra pictures)")
from PIL import ImageDraw, ImageFont  # noqa: E402  # after the skip
from strokes import by_hand  # noqa: E402

SIDE = 600  # pixels of the canvas that a digit is drawn on, before it gets its size
COLOURS = {  # paper, ink
    "dark on light": ((240, 240, 235), (20, 20, 30)),
    "light on dark": ((15, 20, 25), (250, 250, 240)),
    "pencil": ((250, 250, 250), (170, 170, 170)),
    "blue on yellow": ((250, 230, 90), (20, 40, 160)),
    "red on green of the same brightness": ((50, 170, 60), (220, 85, 60)),
    "chalk": ((40, 90, 60), (230, 235, 225)),
}
FORMATS = ["grey", "RGB", "JPEG", "RGBA", "drawn on nothing", "palette", "16 bit", "two colours", "transparent palette"]


def typed(digit, rng, font=None):
    """Return a digit of a font's file, or of Pillow's own font, as it is or bolder, as a mask."""
    image = Image.new("L", (SIDE, SIDE))
    size = int(SIDE * 0.6)
    face = ImageFont.load_default(size) if font is None else ImageFont.truetype(font, size)
    bold = int(rng.integers(0, 7))
    ImageDraw.Draw(image).text((SIDE // 2, SIDE // 2), str(digit), 255, face, anchor="mm", stroke_width=bold)
    return image


def drawn(digit, rng):
    """Return a digit drawn by a pen that is thin or thick, with a hand that is not steady, as a mask."""
    image = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    width = int(rng.integers(14, 36))
    for points in by_hand(digit, rng):
        pen.line([tuple(p) for p in (points * 26 + (170, 118)).tolist()], 255, width, joint="curve")
    return image


def distorted(mask, rng):
    """Return the digit turned, slanted, scaled, and cut out of its canvas."""
    angle, slant = rng.uniform(-0.07, 0.07), rng.uniform(0, 0.2)
    wide, tall = rng.uniform(0.85, 1.15, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[wide, slant], [0, tall]])
    move = SIDE / 2 - matrix @ (SIDE / 2, SIDE / 2)
    coefficients = (*matrix[0], move[0], *matrix[1], move[1])
    turned = mask.transform(mask.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    cut = turned.crop(turned.getbbox())
    size = float(np.exp(rng.uniform(np.log(20), np.log(500)))) / max(cut.size)
    return cut.resize([max(1, round(side * size)) for side in cut.size], Image.Resampling.LANCZOS)


def on_paper(mask, rng, colours, light):
    """Return the picture (height, width, 3) and the share of ink of each of its pixels."""
    height, width = mask.height, mask.width
    left, right, top, bottom = (int(max(height, width) * rng.uniform(0.05, 1.2)) + 1 for _ in range(4))
    ink = np.pad(np.asarray(mask, float) / 255, ((top, bottom), (left, right)))
    paper, pen = (np.array(colour, float) for colour in COLOURS[colours])
    picture = paper + (pen - paper) * ink[..., np.newaxis]
    if light:
        y, x = np.mgrid[-1 : 1 : ink.shape[0] * 1j, -1 : 1 : ink.shape[1] * 1j]
        shade = rng.uniform(-0.12, 0.12, 2)
        picture *= (0.75 + shade[0] * y + shade[1] * x)[..., np.newaxis]
        picture += rng.normal(0, 4, picture.shape)
    return picture.clip(0, 255).round().astype(np.uint8), ink


def saved(picture, ink, kind):
    """Return the picture as a file's bytes, in one of FORMATS."""
    image, options = Image.fromarray(picture), {"format": "PNG", "compress_level": 1}
    if kind == "grey":
        image = image.convert("L")
    elif kind == "JPEG":
        options = {"format": "JPEG", "quality": 60}
    elif kind == "RGBA":
        image.putalpha(255)
        image.putpixel((0, 0), (0, 0, 0, 0))
    elif kind == "drawn on nothing":
        image = Image.new(
            "RGBA", image.size, image.getpixel(tuple(reversed(np.unravel_index(ink.argmax(), ink.shape))))
        )
        image.putalpha(Image.fromarray((ink * 255).round().astype(np.uint8)))
    elif kind == "palette":
        image = image.quantize(16)
    elif kind == "16 bit":
        grey = picture.mean(axis=-1)
        image = Image.fromarray((1000 + grey * 12).astype(np.uint16))  # a camera of 12 bits
    elif kind == "two colours":
        image = Image.fromarray((ink > ink.max() / 2) != (picture[0, 0, 0] > 127))
    elif kind == "transparent palette":
        image = Image.fromarray((ink > 0.5).astype(np.uint8))
        image.putpalette([0, 0, 0, 200, 60, 10])
        options["transparency"] = 0
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def made(count, seed, ways):
    """Yield `count` digits, each with its picture's bytes and what it is. The `ways` to make a mask take turns."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        digit, way = number % 10, ways[number // 10 % len(ways)]
        kind = FORMATS[number % len(FORMATS)]
        is_grey = kind in ("grey", "16 bit")
        colours = str(rng.choice([it for it in COLOURS if not (is_grey and "same brightness" in it)]))
        light = bool(rng.integers(0, 2))
        name = getattr(way, "keywords", {}).get("font", getattr(way, "__name__", ""))
        picture, ink = on_paper(distorted(way(digit, rng), rng), rng, colours, light)
        yield digit, saved(picture, ink, kind), f"{name}, {kind}, {colours}, {light=}, {picture.shape[:2]}"
