"""`cnnx.plot` draws what it says, and leaves matplotlib as the user has set it."""

import io

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")

import matplotlib
from networks import sample

import cnnx
from cnnx import plot
from cnnx.network import History


@pytest.fixture(scope="module")
def trained():
    """Return the article's network after an epoch of the sample, and its history."""
    digits = sample()
    network = cnnx.models.article_cnn(rng=0)
    held_out = digits.test_images[:200], digits.test_labels[:200]
    history = network.fit(
        digits.train_images, digits.train_labels, epochs=1, learn_rate=0.005, rng=0, validation=held_out
    )
    return network, history


def texts(figure):
    """Return all text of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def png(figure):
    return figure._repr_png_()[0]


def draw(network, history):
    """Return a picture of each kind: curves, and a sheet with images, boxes and text."""
    return [png(plot.curves(history)), png(plot.feature_maps(network, sample().test_images[0]))]


def test_the_user_s_settings_neither_change_nor_matter(trained):
    before = dict(matplotlib.rcParams)
    pictures = draw(*trained)
    assert dict(matplotlib.rcParams) == before
    dark = {"savefig.facecolor": "red", "savefig.dpi": 50, "image.cmap": "gray", "axes.grid": True, "font.size": 20}
    dark |= {"text.color": "white", "image.origin": "lower", "lines.linewidth": 9, "axes.facecolor": "black"}
    with matplotlib.rc_context(dark):
        assert draw(*trained) == pictures


@pytest.mark.smoke
def test_a_confusion_has_every_count(trained):
    network, _ = trained
    digits = sample()
    answers = network.predict(digits.test_images).argmax(axis=1)
    pairs = list(zip(digits.test_labels, answers, strict=True))
    counts = [pairs.count((label, answer)) for label in range(10) for answer in range(10)]
    names = [f"class {i}" for i in range(10)]
    written = texts(plot.confusion(network, digits.test_images, digits.test_labels, names=names))
    assert [int(text) for text in written if text.isdigit()] == [count for count in counts if count]
    assert written[0] == f"{np.mean(answers == digits.test_labels):.2%} of 1,000 images are right"
    assert [text for text in written if text.startswith("class")] == [name for name in names for _ in range(2)]


def test_the_worst_mistakes_come_first(trained):
    network, _ = trained
    digits = sample()
    outputs = network.predict(digits.test_images)
    of_labels = outputs[np.arange(1000), digits.test_labels]
    wrong = np.flatnonzero(outputs.argmax(axis=1) != digits.test_labels)
    worst = wrong[np.argsort(of_labels[wrong])][:5]
    written = texts(plot.mistakes(network, digits.test_images, digits.test_labels, count=5))
    assert written[0] == f"The 5 worst of {len(wrong)} mistakes in 1,000 images"
    assert written[2::2] == [str(digits.test_labels[i]) for i in worst]
    assert written[3::2] == [f"{outputs[i].argmax()}, {outputs[i].max():.0%}" for i in worst]


def test_no_mistakes_are_no_error(trained):
    network, _ = trained
    digits = sample()
    right = network.predict(digits.test_images).argmax(axis=1) == digits.test_labels
    written = texts(plot.mistakes(network, digits.test_images[right], digits.test_labels[right]))
    assert written[0] == "No mistakes"


def test_filters_have_their_numbers(trained):
    network, _ = trained
    written = texts(plot.filters(network))[2:]
    numbers = [float(text.replace("−", "-")) for text in written]
    np.testing.assert_allclose(numbers, network.layers[0].filters.ravel(), atol=0.0051)


def test_maps_have_a_panel_for_each_layer_that_changes_more_than_single_values():
    network = cnnx.models.keras_convnet(rng=0)
    written = texts(plot.feature_maps(network, sample().test_images[0]))
    assert [text for text in written if "3x3" in text] == ["Conv3x3 + ReLU"] * 2
    assert [text for text in written if "Pool" in text] == ["MaxPool2", "MaxPool2 + Dropout"]
    output = network.predict(sample().test_images[0])
    assert f"{output.max():.0%}" in written


def test_of_more_maps_than_fit_the_first_are_drawn(rng):
    for count, size in {3481: "3481", 3482: "3482, the first 3481", 3725: "3725, the first 3481"}.items():
        network = cnnx.Sequential([cnnx.Dense(16, count, rng=0), cnnx.Softmax(count, 2, rng=0)])
        figure = plot.feature_maps(network, rng.uniform(0, 1, (4, 4)))
        assert size in texts(figure)
        heights = [len(image.get_array()) for image in figure.axes[0].images]
        assert heights == [280, 59 * 7 - 2]


@pytest.mark.parametrize("shape", [(12, 17), (12, 12, 3), (12, 12, 2)], ids=str)
def test_other_images_and_many_filters_are_drawn(rng, shape):
    channels = shape[2] if len(shape) == 3 else 1
    network = cnnx.Sequential([cnnx.Conv3x3(13, channels, rng=0), cnnx.GlobalAveragePool(), cnnx.Dense(13, 40, rng=0)])
    assert len(png(plot.feature_maps(network, rng.uniform(0, 1, shape)))) > 1000
    assert len(png(plot.filters(network))) > 1000


def history_of(losses, validation=(), images=25):
    """Return a history without classes, whose validation has these losses."""
    validated = np.stack([validation, np.full(len(validation), np.nan)], axis=1)
    return History(np.asarray(losses, float), np.zeros(0, np.bool_), validated, images)


def test_a_training_that_stopped_within_an_epoch_has_its_validation_at_the_epoch_s_end():
    digits = sample()
    some = digits.train_images[:100], digits.train_labels[:100]
    options = {"epochs": 4, "batch_size": 10, "learn_rate": 0.01, "rng": 0, "validation": some, "progress_every": 5}
    history = cnnx.Sequential([cnnx.Softmax(784, 10, rng=0)]).fit(
        *some, **options, on_progress=lambda progress: progress.epoch == 2
    )
    assert (len(history.losses), len(history.validation)) == (150, 1)
    for axes in plot.curves(history).axes:
        assert (axes.get_xlabel(), axes.get_xlim()) == ("epochs", (0, 1.5))
        assert axes.lines[2].get_xdata() == [1]


def test_curves_are_the_means_of_the_history():
    (axes,) = plot.curves(history_of(np.repeat(np.arange(1, 9) / 8, 25), images=50)).axes
    thin, strong = axes.lines
    np.testing.assert_allclose(thin.get_xdata(), (np.arange(8) * 25 + 12.5) / 50)
    np.testing.assert_allclose(thin.get_ydata(), np.arange(1, 9) / 8)
    np.testing.assert_allclose(strong.get_ydata(), 4.5 / 8)
    assert texts(axes.figure) == ["training\n0.562"]
    assert axes.get_xlim() == (0, 4)


def test_the_strong_line_is_the_mean_of_up_to_17_points():
    _, strong = plot.curves(history_of(np.repeat(np.arange(40.0) ** 2, 25))).axes[0].lines
    # The sum of the squares from 0 to n is n (n + 1) (2n + 1) / 6.
    expected = [204 / 9, 506 / 12, 400 + 2 * 204 / 17, (20540 - 9455) / 9]  # of 0..8, 0..11, 12..28 and 31..39
    np.testing.assert_allclose(strong.get_ydata()[[0, 3, 20, 39]], expected)
    np.testing.assert_allclose(strong.get_xdata()[[0, 3, 20, 39]], [0.5, 3.5, 20.5, 39.5])


@pytest.mark.parametrize(
    ("losses", "least", "most"), [((-4, -1), -4.2, 0.2), ((-1, 3), -1.2, 3.2), ((1, 3), 0, 3.15), ((0, 0), 0, 1)]
)
def test_the_axis_goes_up_and_has_0(losses, least, most):
    (axes,) = plot.curves(history_of(np.full(25, losses[0]), [losses[1]])).axes
    assert axes.get_ylim() == pytest.approx((least, most))


NONE = history_of([])
UNKNOWN = history_of(np.ones(7), [1.0], images=0)
CROWDED = history_of(np.ones(7), [1.0, 1.0], images=4)
WRONG = {
    "history: expected what Sequential.fit returns, got int": lambda _: plot.curves(3),
    "history: expected at least one sample, got none": lambda _: plot.curves(NONE),
    "history.images: expected an integer of at least 1, got 0": lambda _: plot.curves(UNKNOWN),
    "history.validation: expected at most 1, one after each epoch of 4 images, got 2": lambda _: plot.curves(CROWDED),
    "layer: expected the position of a Conv3x3: 0, got 1": lambda network: plot.filters(network, 1),
    "layer: expected a network with a Conv3x3, got None": lambda _: plot.filters(cnnx.Sequential([cnnx.ReLU()])),
    "network: expected a Sequential, got int": lambda _: plot.filters(3),
    "network: expected a Sequential, got str": lambda _: plot.feature_maps("digits.npz", sample().test_images[0]),
    "network: expected a Sequential, got list": lambda _: plot.confusion(
        [], sample().test_images, sample().test_labels
    ),
    "network: expected a Sequential, got NoneType": lambda _: plot.mistakes(
        None, sample().test_images, sample().test_labels
    ),
    "names: expected a list of texts, got 5": lambda network: plot.feature_maps(
        network, sample().test_images[0], names=5
    ),
    "names: expected a list of texts, got <generator": lambda network: plot.feature_maps(
        network, sample().test_images[0], names=(str(i) for i in range(10))
    ),
    "names: expected 10, one for each output, got 1": lambda network: plot.feature_maps(
        network, sample().test_images[0], names=["a"]
    ),
    "count: expected an integer of at least 1, got 0": lambda network: plot.mistakes(
        network, sample().test_images, sample().test_labels, count=0
    ),
    "labels: expected 0 to 9, got 10 to 10": lambda network: plot.confusion(
        network, sample().test_images[:1], np.array([10])
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_bad_arguments_are_named(trained, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        WRONG[message](trained[0])


def test_a_figure_is_an_ordinary_one(trained):
    buffer = io.BytesIO()
    plot.filters(trained[0]).savefig(buffer, format="svg")
    assert buffer.getvalue().startswith(b"<?xml")
