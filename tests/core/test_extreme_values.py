"""NaN, infinities and huge pixels go through a network as through its layers."""

import numpy as np
import pytest
from networks import Plain, bits, forward_by_hand
from pairwise import pairwise
from stacks import IMAGE, stack
from tolerances import assert_close, assert_same_bits
from twins import DTYPES, uniform

import cnnx
from cnnx import Sequential

EXTREMES = [np.nan, np.inf, -np.inf]


@pairwise(filters=[3, 8, 9], count=[2, 12], dtype=DTYPES, target=cnnx.targets())  # many images take other kernels
def test_an_infinity_that_loses_its_windows_harms_nobody(rng, filters, count, dtype):
    network, images = (
        Sequential(stack(cnnx, f"article:{filters} pool softmax:5", dtype)),
        uniform(rng, (count, *IMAGE), dtype),
    )
    network.layers[0].filters[:, 2, 2] = -1
    images[:, 9, 13] = np.inf  # of one window alone, as its last pixel
    with np.errstate(all="ignore"):
        expected = np.array([forward_by_hand(network.layers, image) for image in images])
    assert np.isfinite(expected).all()
    assert_close(network.predict(images), expected, terms=400)


@pairwise(ending=["valid pool", "valid pool relu", "same relu pool"], dtype=DTYPES, target=cnnx.targets())
def test_an_infinity_in_a_tile_that_is_pooled_harms_no_other_value(rng, ending, dtype):
    """Winograd's algorithm would make the outputs that it loses NaN."""
    padding, *names = ending.split()
    conv = cnnx.Conv3x3(16, 16, padding=padding, dtype=dtype, rng=rng)
    conv.filters[:, :2, :, 3] = -1
    images = uniform(rng, (2, 10, 12, 16), dtype)
    images[1, 0, 1, 3] = np.inf  # makes outputs -inf: the upper half of the first window or, with padding, all of it
    values = 16 * (30 if padding == "same" else 20)
    kinds = {"relu": cnnx.ReLU, "pool": cnnx.MaxPool2}
    network = Sequential([conv, *(kinds[name]() for name in names), cnnx.Softmax(values, 5, dtype=dtype, rng=rng)])
    with np.errstate(all="ignore"):
        expected = np.array([forward_by_hand(network.layers, image) for image in images])
    assert np.isfinite(expected).all()
    assert_close(network.predict(images), expected, terms=400)


@pytest.mark.usefixtures("target")
def test_few_huge_images_are_predicted_as_many_are(dtype, rng):
    network = Sequential(stack(cnnx, "article:8 pool softmax:5", dtype, image_shape=(28, 28)))
    images = np.finfo(dtype).max / 10 * uniform(rng, (9, 28, 28), dtype)  # their pooled values add up to an inf
    few = network.predict(images[:3])
    assert np.isfinite(few).all()
    assert_same_bits(network.predict(images)[:3], few)


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("filters", [5, 8])
def test_nothing_is_left_of_a_run_that_diverged(dtype, rng, filters):
    names = f"article:{filters} pool softmax:5"
    network, fresh = (Sequential(stack(cnnx, names, dtype)) for _ in range(2))
    images, labels = uniform(rng, (12, *IMAGE), dtype), rng.integers(0, 5, 12)
    with pytest.raises(FloatingPointError, match="expected a finite number"):
        network.fit(images, labels, epochs=1, learn_rate=float(np.finfo(dtype).max), shuffle=False)
    images[:, 4, 5] = 2**21  # large enough that infinities are looked for
    assert_same_bits(network.predict(images), fresh.predict(images))
    for one in (network, fresh):
        one.fit(images, labels, epochs=1, learn_rate=1e-15, shuffle=False)
    assert_same_bits(network.parameters, fresh.parameters)


@pytest.mark.usefixtures("target")
def test_an_infinite_weight_harms_only_the_rows_of_the_gradient_that_it_reaches(dtype, rng):
    conv, dense = cnnx.Conv3x3(1, 16, dtype=dtype, rng=rng), cnnx.Dense(100, 5, dtype=dtype, rng=rng)
    conv.filters[0, 0, 1, 2] = np.inf  # in the upper row of the filter, so it never lies on the images' last two rows
    network = Sequential([conv, dense])
    with np.errstate(all="ignore"):
        network.forward(uniform(rng, (2, 12, 12, 16), dtype))
        d_images = network.backward(1 + uniform(rng, (2, 5), dtype), d_images=True)
    assert not np.isfinite(d_images[:, :10]).all()
    assert np.isfinite(d_images[:, 10:]).all()


@pytest.mark.usefixtures("target")
def test_the_gradient_of_huge_pixels_is_finite_where_layers_alone_have_a_finite_one(dtype, rng):
    """Winograd's algorithm adds pixels before it multiplies them, and these would become infinite."""
    huge = np.finfo(dtype).max / 3
    images, labels = huge * (1 + uniform(rng, (2, 12, 12, 16), dtype)) / 2, rng.integers(0, 5, 2)
    conv, softmax = cnnx.Conv3x3(16, 16, dtype=dtype, rng=rng), cnnx.Softmax(1600, 5, dtype=dtype, rng=rng)
    conv.filters *= 10 / huge
    softmax.weights *= 1e-3
    gradients = []
    for kind in (Sequential, Plain):
        network = kind([conv, softmax])
        network.gradients(images, labels)
        gradients.append(network.gradient[: conv.filters.size] / huge)
    assert np.isfinite(gradients[1]).all()
    assert_close(gradients[0], gradients[1], terms=400)


NETWORKS = ["article:9 pool softmax:5", "biased:8 relu pool:first softmax:5", "conv:3 pool relu conv:4 softmax:5"]
PLACES = ["a pixel", "the last pixel of the last window", "the background", "a filter"]


@pairwise(
    where=[(names, place) for names in NETWORKS for place in PLACES],
    extreme=[*EXTREMES, 1e30],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_extremes_spread_through_a_network_as_through_its_layers(rng, where, extreme, dtype):
    names, place = where
    network, images = Sequential(stack(cnnx, names, dtype)), uniform(rng, (3, *IMAGE), dtype)
    images[:, :5] = 0.25  # the first pixel's value is that of half the image
    if place == "a filter":
        network.layers[0].filters[1, 1] = extreme
    elif place == "the background":
        images[1, images[1] == 0.25] = extreme
    else:
        images[1][(6, 7) if place == "a pixel" else (9, 13)] = extreme
    with np.errstate(all="ignore"):
        expected = np.array([forward_by_hand(network.layers, image) for image in images])
        for times in (1, 3):  # few images and many take different kernels
            assert_close(network.predict(np.tile(images, (times, 1, 1))), np.tile(expected, (times, 1)), terms=400)
    assert not np.isfinite(extreme) or np.isfinite(expected).all()


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("names", ["article:8 pool softmax:5", "biased:5 relu pool:first conv:4 softmax:5"])
def test_huge_pixels_in_some_images_change_no_window(dtype, rng, names, batch_size):
    """The steps on them go by the plain plan, whatever the windows.

    The two plans round differently. Shorter steps would hide that.
    """
    images, labels = uniform(rng, (40, *IMAGE), dtype), rng.integers(0, 5, 40)
    images[[3, 17, 18, 33], 4, 5] = 2**21
    trained = []
    for progress_every in (1, 3, 40):
        network = Sequential(stack(cnnx, names, dtype))
        network.fit(
            images,
            labels,
            epochs=2,
            learn_rate=1e-7,
            batch_size=batch_size,
            shuffle=False,
            progress_every=progress_every,
            on_progress=lambda _: None,
        )
        trained.append(bits(network))
    assert trained[0] == trained[1] == trained[2]


@pairwise(parameter=["weights", "biases"], extreme=EXTREMES, count=[1, 12], dtype=DTYPES, target=cnnx.targets())
def test_extreme_weights_of_the_last_layer_spread_as_through_its_layers(rng, parameter, extreme, count, dtype):
    network, images = Sequential(stack(cnnx, "article:8 pool softmax:5", dtype)), uniform(rng, (count, *IMAGE), dtype)
    images[:, :5] = 0.25
    getattr(network.layers[2], parameter).flat[3] = extreme
    with np.errstate(all="ignore"):
        expected = np.array([forward_by_hand(network.layers, image) for image in images])
    assert_close(network.predict(images), expected, terms=400)
