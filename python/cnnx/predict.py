"""``python -m cnnx.predict MODEL PICTURE…`` reads pictures of digits with a saved network.

It needs the extra ``pictures``, that is, Pillow.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence

from . import _command_line
from .data import ByteArray, DataError
from .network import Sequential

__all__ = ["main"]

_INK = " .:-=+*#%@"  # from paper to full ink


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code: 0, 2 after bad input, or 130 after Ctrl-C."""
    return _command_line.run("cnnx.predict", lambda: _run(_make_parser().parse_args(arguments)))


def _make_parser() -> argparse.ArgumentParser:
    parser = _command_line.OneLineParser(
        prog="python -m cnnx.predict",
        description="Read pictures of digits with a saved network. Each picture shows one digit, of any size, colour "
        "and place. It gets a line with the digit and the probability of each class.",
        epilog="Example: 'python -m cnnx.predict digits.npz photo.jpg', after 'python -m cnnx.train --data mnist "
        "--save digits.npz'.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="a network saved by cnnx, trained on images like MNIST's")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="a file that Pillow reads, such as PNG or JPEG")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object a line, for programs")
    output.add_argument("--show", action="store_true", help="also draw what the network sees, as text")
    return parser


def _run(options: argparse.Namespace) -> None:
    from . import pictures, storage

    network = storage.load(options.model)
    failures = 0
    for name in options.pictures:
        try:
            image = pictures.read(name)
        except DataError as error:  # the other pictures are read all the same
            failures += 1
            _command_line.flush()  # so that lines and errors stay in order
            print(f"cnnx.predict: error: {error}", file=sys.stderr)
            continue
        probabilities = _predict(network, image, options.model)
        digit = max(range(len(probabilities)), key=probabilities.__getitem__)
        if options.json:
            print(json.dumps({"picture": name, "digit": digit, "probabilities": probabilities}), flush=True)
            continue
        shares = " ".join(f"{number}:{share:.1%}" for number, share in enumerate(probabilities))
        print(f"{name}: {digit} ({shares})", flush=True)
        if options.show:
            print(_drawn(image), flush=True)
    if failures:
        raise ValueError(f"{failures} of {len(options.pictures)} pictures could not be read")


def _predict(network: Sequential, image: ByteArray, model: str) -> list[float]:
    """Return the probabilities. What is wrong with the network is an error that names its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of images on another scale: the answer would be worthless
        try:
            return [float(share) for share in network.predict(image)]
        except (TypeError, ValueError, UserWarning) as error:
            raise ValueError(
                f"{model}: expected a network for uint8 images of 28x28 pixels, such as MNIST's, got another ({error})"
            ) from None


def _drawn(image: ByteArray) -> str:
    """Return the image as text. A pixel has two characters, since these are taller than wide."""
    rows = ("".join(2 * _INK[int(pixel) * (len(_INK) - 1) // 255] for pixel in row) for row in image)
    return "\n".join(row.rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main())
