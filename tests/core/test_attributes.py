"""An attribute that is assigned later is checked as in the constructor, and one that nobody knows is refused."""

import copy
import pickle

import numpy as np
import pytest

import cnnx
from cnnx import BatchNorm, Conv3x3, Dense, Dropout, GlobalAveragePool, MaxPool2, ReLU, Sequential, Softmax
from cnnx.augment import Augmentation

NAN = float("nan")
MAKERS = {
    "Conv3x3": lambda: Conv3x3(3, 2),
    "the article's Conv3x3": lambda: Conv3x3(3),
    "MaxPool2": MaxPool2,
    "GlobalAveragePool": GlobalAveragePool,
    "ReLU": ReLU,
    "Dropout": lambda: Dropout(0.25),
    "BatchNorm": lambda: BatchNorm(3),
    "Dense": lambda: Dense(4, 3),
    "Softmax": lambda: Softmax(4, 3),
    "SGD": lambda: cnnx.SGD(0.1, momentum=0.5),
    "Adam": lambda: cnnx.Adam(0.1),
    "RandomShift": lambda: cnnx.RandomShift(2),
    "RandomAffine": lambda: cnnx.RandomAffine(rotation=10),
    "RandomFlip": cnnx.RandomFlip,
    "EarlyStopping": lambda: cnnx.EarlyStopping(3),
    "Sequential": lambda: Sequential([Softmax(4, 3)]),
}

BAD_SETTINGS = [
    *((kind, "learn_rate", bad) for kind in ("SGD", "Adam") for bad in (-1, NAN, float("inf"), "fast", None, True)),
    *((kind, "weight_decay", bad) for kind in ("SGD", "Adam") for bad in (-1e-4, NAN, "0", None)),
    *((kind, "steps", bad) for kind in ("SGD", "Adam") for bad in (-1, 1.5, None)),
    *(("SGD", "momentum", bad) for bad in (1, 1.5, -0.1, NAN, "0.9")),
    *(("SGD", "nesterov", bad) for bad in (1, "yes", None)),
    *(("SGD", "velocity", bad) for bad in (0.0, [0.0], np.zeros((2, 2)), np.zeros(3, int))),
    *(("Adam", "betas", bad) for bad in (0.9, (0.9,), (0.9, 1.0), ("0.9", 0.99), (NAN, 0.9))),
    *(("Adam", "eps", bad) for bad in (0, -1e-8, NAN, "1e-8")),
    *(("Adam", name, "zeros") for name in ("first_moment", "second_moment")),
    *(("RandomShift", "pixels", bad) for bad in (-1, 1.5, "2", True)),
    *(("RandomAffine", name, bad) for name in ("rotation", "scale", "shift") for bad in (-0.1, NAN, "1", None)),
    ("RandomAffine", "scale", 1.0),
    *((kind, "background", bad) for kind in ("RandomShift", "RandomAffine") for bad in (NAN, float("inf"), "0", True)),
    *(("RandomFlip", "background", bad) for bad in (7.0, "0")),
    *(("EarlyStopping", "patience", bad) for bad in (0, -1, 2.5, True, "3", None)),
    *(("EarlyStopping", "monitor", bad) for bad in ("val_loss", "", None, 0)),
    *(("EarlyStopping", "restore_best", bad) for bad in (1, "yes", None)),
    *(("BatchNorm", "momentum", bad) for bad in (1, 1.5, -0.1, NAN, "0.9", None, True)),
    *(("BatchNorm", "eps", bad) for bad in (0, -1e-8, NAN, float("inf"), "1e-8")),
    *(("Sequential", "layers", bad) for bad in (None, 3, [None], "layers")),
]


@pytest.mark.parametrize(("kind", "name", "bad"), BAD_SETTINGS)
def test_a_setting_is_checked_on_assignment(kind, name, bad):
    owner = MAKERS[kind]()
    before = getattr(owner, name)
    with pytest.raises((TypeError, ValueError), match=rf"^{name}(\[\d\])?: expected .*, got"):
        setattr(owner, name, bad)
    assert getattr(owner, name) is before


@pytest.mark.parametrize(
    ("kind", "name", "good"),
    [
        ("SGD", "learn_rate", np.float32(0.5)),
        ("SGD", "momentum", 0),
        ("SGD", "nesterov", np.bool_(True)),
        ("Adam", "betas", [0.5, 0.25]),
        ("Adam", "eps", 1),
        ("RandomShift", "pixels", np.int64(3)),
        ("EarlyStopping", "patience", np.int64(2)),
        ("EarlyStopping", "monitor", "accuracy"),
        ("EarlyStopping", "restore_best", np.bool_(False)),
        ("RandomAffine", "scale", 0.5),
    ],
)
def test_a_good_setting_is_kept(kind, name, good):
    owner = MAKERS[kind]()
    setattr(owner, name, good)
    assert getattr(owner, name) == (tuple(good) if isinstance(good, list) else good)


READ_ONLY = [
    *(("Conv3x3", name, 16) for name in ("num_filters", "in_channels", "kind", "dtype", "core")),
    ("the article's Conv3x3", "num_filters", 16),
    ("the article's Conv3x3", "in_channels", 1),
    *((kind, "dtype", np.float32) for kind in ("Dense", "Softmax", "ReLU")),
    *(("ReLU", name, abs) for name in ("forward", "backprop")),
    *(("Sequential", name, np.zeros(15)) for name in ("parameters", "gradient")),
]


@pytest.mark.parametrize(("kind", "name", "value"), READ_ONLY)
def test_what_follows_from_the_arrays_is_only_read(kind, name, value):
    owner = MAKERS[kind]()
    with pytest.raises(AttributeError, match=rf"^{name}: expected only to be .*, got an assignment"):
        setattr(owner, name, value)


@pytest.mark.parametrize("kind", MAKERS)
def test_an_unknown_attribute_is_refused(kind):
    owner = MAKERS[kind]()
    for name in ("frozen", "lr", "layer", "filter", "x"):
        message = rf"^{name}: expected an attribute of {type(owner).__name__}, got an unkn"
        with pytest.raises(AttributeError, match=message):
            setattr(owner, name, 5)
        assert not hasattr(owner, name)


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        ("SGD", "lr", "learn_rate"),
        ("Adam", "learning_rate", "learn_rate"),
        ("SGD", "momentun", "momentum"),
        ("Sequential", "layer", "layers"),
        ("Conv3x3", "filter", "filters"),
        ("Softmax", "bias", "biases"),
        ("MaxPool2", "tie", "ties"),
        ("RandomShift", "pixel", "pixels"),
    ],
)
def test_the_refusal_suggests_what_was_meant(kind, name, meant):
    with pytest.raises(AttributeError, match=rf"did you mean (\w+ or )*{meant}"):
        setattr(MAKERS[kind](), name, 5)


class NamedReLU(ReLU):
    def __init__(self, name):
        super().__init__()
        self.name = name


class Warmup(cnnx.SGD):
    def __init__(self, learn_rate, target):
        super().__init__(learn_rate)
        self.target = target


class Quarter(Augmentation):
    def __init__(self, turns):
        self.turns = turns


class Named(Sequential):
    def __init__(self, layers, name="network"):
        super().__init__(layers)
        self.name = name


@pytest.mark.parametrize(
    "make", [lambda: NamedReLU("a"), lambda: Warmup(0.1, 2), lambda: Quarter(3), lambda: Named([Softmax(4, 3)])]
)
def test_a_subclass_may_add_attributes(make):
    owner = make()
    owner.note = "later"
    assert owner.note == "later"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda owner: pickle.loads(pickle.dumps(owner))])
@pytest.mark.parametrize("make", [*MAKERS.values(), lambda: NamedReLU("a"), lambda: Warmup(0.1, 2)])
def test_copies_have_the_settings_and_check_them_too(make, copied):
    owner = make()
    twin = copied(owner)
    settings = [name for name in ("learn_rate", "betas", "padding", "rate", "pixels", "name") if hasattr(owner, name)]
    assert [getattr(twin, name) for name in settings] == [getattr(owner, name) for name in settings]
    if not isinstance(owner, (NamedReLU, Warmup)):
        with pytest.raises(AttributeError, match=r"^frozen: expected"):
            twin.frozen = True
