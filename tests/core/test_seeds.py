"""`rng` may be a seed, wherever it is an argument: the same as a generator made from it."""

import numpy as np
import pytest
from networks import bits
from tolerances import assert_same_bits
from twins import parameters

import cnnx
from cnnx import reference

MAKERS = {
    "Conv3x3": lambda module, rng: module.Conv3x3(3, rng=rng),
    "stacked Conv3x3": lambda module, rng: module.Conv3x3(3, 2, rng=rng),
    "Dense": lambda module, rng: module.Dense(6, 5, rng=rng),
    "Softmax": lambda module, rng: module.Softmax(6, 5, rng=rng),
}
MODELS = [getattr(cnnx.models, name) for name in cnnx.models.__all__]


@pytest.mark.parametrize("seed", [0, 3, np.int64(3), 2**40])
@pytest.mark.parametrize("name", MAKERS)
def test_a_layer_takes_a_seed(layers, name, seed):
    expected = parameters(MAKERS[name](layers, np.random.default_rng(seed)))
    for parameter, values in parameters(MAKERS[name](layers, seed)).items():
        assert_same_bits(values, expected[parameter])


@pytest.mark.parametrize("model", MODELS)
def test_a_model_draws_all_its_layers_from_one_seed(model):
    assert bits(model(rng=5)) == bits(model(rng=np.random.default_rng(5)))
    assert bits(model(rng=5)) != bits(model(rng=6))


def problem():
    images = np.random.default_rng(0).integers(0, 256, (20, 7, 8), np.uint8)
    return images, np.arange(20) % 4


def dropping_network():
    return cnnx.Sequential([cnnx.Dropout(0.5), cnnx.Softmax(56, 4, rng=1)])


def test_fit_takes_a_seed():
    images, labels = problem()
    networks = [dropping_network() for _ in range(3)]
    options = {"epochs": 2, "learn_rate": 0.01, "batch_size": 3, "augment": cnnx.RandomAffine(rotation=20)}
    for network, rng in zip(networks, (4, np.random.default_rng(4), 5), strict=True):
        network.fit(images, labels, rng=rng, **options)
    assert bits(networks[0]) == bits(networks[1])
    assert bits(networks[0]) != bits(networks[2])


def test_gradients_take_a_seed_or_a_generator():
    images, labels = problem()
    network, found = dropping_network(), []
    generator = np.random.default_rng(4)
    for rng in (4, 4, generator, generator, 5):
        network.gradients(images, labels, rng=rng)
        found.append(network.gradient.tobytes())
    assert found[0] == found[1] == found[2]
    assert len(set(found)) == 3


def test_without_a_seed_gradients_draw_from_numpy_s_global_generator():
    images, labels = problem()
    network, found = dropping_network(), []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        network.gradients(images, labels)
        found.append(network.gradient.tobytes())
    assert found[0] == found[1] != found[2]


def test_what_needs_no_random_number_draws_none():
    images, labels = problem()
    network = cnnx.Sequential([cnnx.Softmax(56, 4, rng=1)])
    generator = np.random.default_rng(4)
    before = generator.bit_generator.state
    network.gradients(images, labels, rng=generator)
    network.fit(images, labels, epochs=1, learn_rate=0.1, shuffle=False, rng=generator)
    assert generator.bit_generator.state == before


@pytest.mark.parametrize(
    "augment", [cnnx.RandomShift(3), cnnx.RandomAffine(rotation=20, scale=0.1), cnnx.RandomFlip()], ids=repr
)
def test_maps_take_a_seed(augment):
    expected = augment.maps(5, (7, 8), np.random.default_rng(4))
    assert_same_bits(augment.maps(5, (7, 8), 4), expected)
    assert (augment.maps(5, (7, 8), 5) != expected).any()
    drawn = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        drawn.append(augment.maps(5, (7, 8), None).tobytes())
    assert drawn[0] == drawn[1] != drawn[2]


BAD = {
    "negative": (-1, ValueError, "-1"),
    "bool": (True, TypeError, "True"),
    "numpy bool": (np.bool_(False), TypeError, r"(np\.)?False_?"),
    "float": (1.0, TypeError, "float"),
    "text": ("1", TypeError, "str"),
    "list": ([1], TypeError, "list"),
    "module": (np.random, TypeError, "module"),
    "old generator": (np.random.RandomState(0), TypeError, "RandomState"),
}
USES = {
    **{name: lambda rng, make=make: make(cnnx, rng) for name, make in MAKERS.items()},
    **{model.__name__: lambda rng, model=model: model(rng=rng) for model in MODELS},
    "fit": lambda rng: dropping_network().fit(*problem(), epochs=1, learn_rate=0.1, rng=rng),
    "gradients": lambda rng: dropping_network().gradients(*problem(), rng=rng),
    "maps": lambda rng: cnnx.RandomShift(1).maps(2, (7, 8), rng),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("use", USES)
def test_what_is_no_seed_is_refused(use, kind):
    rng, error, got = BAD[kind]
    expected = r"^rng: expected a numpy\.random\.Generator, an integer of at least 0 or None, got "
    with pytest.raises(error, match=expected + got + "$"):
        USES[use](rng)


def test_the_twins_draw_the_same_from_a_seed():
    assert_same_bits(cnnx.Conv3x3(3, rng=8).filters, reference.Conv3x3(3, rng=8).filters)
