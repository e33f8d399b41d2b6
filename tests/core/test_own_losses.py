"""A loss that is a Python function: it trains as a named loss does, and what it returns is checked."""

import numpy as np
import pytest
from networks import bits
from pairwise import pairwise
from stacks import IMAGE, fitted, problem, stack
from tolerances import assert_close, assert_same_bits
from twins import DTYPES, uniform

import cnnx
from cnnx import Sequential

REGRESSION = "conv:6 relu pool:first dropout:0.25 dense:7 relu dense:4"
CLASSES = "article:5 pool relu dropout:0.5 softmax:3"
TERMS = 3000  # in two epochs of steps


def squared_error(outputs, targets):
    differences = outputs - targets
    factor = outputs.dtype.type(2) / outputs.dtype.type(outputs.shape[1])
    return np.mean(differences.astype(np.float64) ** 2, axis=1), factor * differences


def cross_entropy(outputs, labels):
    chosen = np.arange(len(labels)), labels
    gradients = np.zeros_like(outputs)
    gradients[chosen] = -1 / outputs[chosen]
    return -np.log(outputs[chosen]), gradients


LOSSES = {"mean_squared_error": (squared_error, REGRESSION), "cross_entropy": (cross_entropy, CLASSES)}
OPTIMIZERS = {
    "plain": lambda: cnnx.SGD(0.02),
    "momentum": lambda: cnnx.SGD(0.01, momentum=0.9, nesterov=True),
    "adam": lambda: cnnx.Adam(1e-3),
}


def case(rng, name, count, dtype):
    function, names = LOSSES[name]
    images, labels = problem(rng, names, count)
    return function, names, images, uniform(rng, (count, 4), dtype) if name == "mean_squared_error" else labels


@pairwise(
    name=LOSSES,
    dtype=DTYPES,
    optimizer=OPTIMIZERS,
    batch_size=[1, 5, 21],
    augment=[None, cnnx.RandomAffine(rotation=10, shift=1), cnnx.RandomShift(1)],
    average=[None, 0.9],
    target=cnnx.targets(),
)
def test_fit_with_a_function_is_fit_with_the_named_loss(rng, name, dtype, optimizer, batch_size, augment, average):
    function, names, images, targets = case(rng, name, 21, dtype)
    weights, parameters, histories = rng.uniform(0, 2, 21), [], []
    for loss in (name, function):
        network = Sequential(stack(cnnx, names, dtype))
        histories.append(
            network.fit(
                images,
                targets,
                epochs=2,
                batch_size=batch_size,
                optimizer=OPTIMIZERS[optimizer](),
                loss=loss,
                sample_weight=weights,
                augment=augment,
                average=average,
                schedule="cosine",
                rng=5,
            )
        )
        parameters.append(network.parameters)
    assert_close(parameters[1], parameters[0], TERMS)
    assert_close(histories[1].losses.astype(dtype), histories[0].losses.astype(dtype), TERMS)
    assert histories[1].correct.shape == (0,)


@pairwise(name=LOSSES, dtype=DTYPES, target=cnnx.targets())
def test_gradients_and_evaluate_take_a_function(rng, name, dtype):
    function, names, images, targets = case(rng, name, 13, dtype)
    weights, networks = rng.uniform(0, 2, 13), [Sequential(stack(cnnx, names, dtype)) for _ in range(2)]
    results = []
    for network, loss in zip(networks, (name, function), strict=True):
        means = [network.gradients(images, targets, loss=loss, sample_weight=weights, rng=4)[0]]
        means.append(network.evaluate(images, targets, loss=loss, sample_weight=weights)[0])
        results.append(np.array(means, dtype))
    assert_close(results[1], results[0], TERMS)
    assert_close(networks[1].gradient, networks[0].gradient, TERMS)


def test_a_function_gets_the_targets_of_its_batch_as_they_are(rng):
    """Whatever they are: here two numbers and a name for each sample."""
    images = rng.integers(0, 256, (9, *IMAGE), np.uint8)
    targets = np.array([(i, -i, str(i)) for i in range(9)], [("up", float), ("down", float), ("name", "U3")])
    seen = []

    def loss(outputs, given):
        assert outputs.shape == (len(given), 2)
        seen.extend(given["name"])
        return squared_error(outputs, np.stack([given["up"], given["down"]], axis=1))

    Sequential([cnnx.Dense(IMAGE[0] * IMAGE[1], 2, rng=1)]).fit(
        images, targets, epochs=2, batch_size=4, learn_rate=1e-4, loss=loss, rng=3
    )
    assert sorted(seen[:9]) == sorted(seen[9:]) == [str(i) for i in range(9)]
    assert seen[:9] != seen[9:]


@pytest.mark.parametrize("threads", [2, 3, None])
def test_the_number_of_threads_changes_no_bit(dtype, rng, threads):
    function, names, images, targets = case(rng, "mean_squared_error", 37, dtype)
    options = {"loss": function, "batch_size": 17, "optimizer": cnnx.Adam, "dtype": dtype, "rng": 3}
    runs = [
        fitted(names, images, targets, **{**options, "optimizer": cnnx.Adam(0.01), "threads": used})
        for used in (1, threads)
    ]
    assert runs[0] == runs[1]


def test_a_function_validates_too_and_can_stop_early(rng):
    function, names, images, targets = case(rng, "mean_squared_error", 20, np.float64)
    network = Sequential(stack(cnnx, names))
    history = network.fit(
        images,
        targets,
        epochs=30,
        batch_size=5,
        optimizer=cnnx.Adam(0.1),
        loss=function,
        validation=(images[:7], targets[:7]),
        early_stopping=cnnx.EarlyStopping(1),
    )
    loss, accuracy = network.evaluate(images[:7], targets[:7], loss="mean_squared_error")
    assert loss == pytest.approx(history.validation[:, 0].min(), rel=1e-12)
    assert np.isnan([accuracy, *history.validation[:, 1]]).all()


# What a function for outputs (n, 4) may not return, and the error.
RETURNS = {
    "None": (lambda _: None, TypeError, r"^loss: expected the function to return losses and gradients, got None$"),
    "losses alone": (lambda o: o[:, 0], TypeError, r"^loss: expected the function to return losses and gradients"),
    "three": (lambda o: (o[:, 0], o, o), TypeError, r"^loss: expected the function to return losses and gradients"),
    "a mean": (lambda o: (o.mean(), o), TypeError, r"^loss: losses: expected a numpy array, got"),
    "a mean in an array": (lambda o: (np.array(o.mean()), o), ValueError, r"^loss: losses: expected shape \(5,\)"),
    "a column": (lambda o: (o[:, :1], o), ValueError, r"^loss: losses: expected shape \(5,\), got \(5, 1\)$"),
    "few losses": (lambda o: (o[1:, 0], o), ValueError, r"^loss: losses: expected shape \(5,\), got \(4,\)$"),
    "flat gradients": (lambda o: (o[:, 0], o[:, 0]), ValueError, r"^loss: gradients: expected shape \(5, 4\), got"),
    "turned": (lambda o: (o[:, 0], o.T), ValueError, r"^loss: gradients: expected shape \(5, 4\), got \(4, 5\)$"),
    "a list": (lambda o: (o[:, 0].tolist(), o), TypeError, r"^loss: losses: expected a numpy array, got list$"),
    "complex": (lambda o: (o[:, 0], o * 1j), TypeError, r"^loss: gradients: expected an array of real numbers"),
    "NaN": (lambda o: (o[:, 0] * np.nan, o), FloatingPointError, r"^loss: expected finite losses, got nan"),
    "inf": (lambda o: (o[:, 0], o + np.inf), FloatingPointError, r"^loss: expected finite gradients, got \[inf"),
}


@pytest.mark.parametrize("kind", RETURNS)
def test_what_a_function_returns_is_checked_and_an_error_changes_nothing(dtype, rng, kind):
    returned, error, message = RETURNS[kind]
    _, names, images, targets = case(rng, "mean_squared_error", 10, dtype)
    network, optimizer, calls = Sequential(stack(cnnx, names, dtype)), cnnx.SGD(0.1, momentum=0.9), []

    def loss(outputs, targets):
        calls.append(len(outputs))
        return squared_error(outputs, targets) if len(calls) == 1 else returned(outputs)

    before = bits(network)
    with pytest.raises(error, match=message):
        network.fit(images, targets, epochs=1, batch_size=5, optimizer=optimizer, loss=loss)
    assert calls == [5, 5]
    assert bits(network) == before
    assert optimizer.steps == 0
    assert not optimizer.velocity.any()
    for method in (network.gradients, network.evaluate):
        with pytest.raises(error, match=message):
            method(images[:5], targets[:5], loss=loss)
    assert bits(network) == before


def test_an_error_in_the_function_reaches_the_caller_and_ends_the_training_before_its_window(rng):
    _, names, images, targets = case(rng, "mean_squared_error", 12, np.float64)
    network, calls = Sequential(stack(cnnx, names)), []

    def loss(outputs, targets):
        calls.append(len(outputs))
        if len(calls) == 4:
            raise ZeroDivisionError("mine")
        return squared_error(outputs, targets)

    twin = Sequential(stack(cnnx, names))
    options = {"learn_rate": 0.05, "batch_size": 4, "rng": 2, "progress_every": 3, "on_progress": lambda _: None}
    twin.fit(images, targets, epochs=1, loss=squared_error, **options)
    with pytest.raises(ZeroDivisionError, match=r"^mine$"):
        network.fit(images, targets, epochs=2, loss=loss, **options)
    assert bits(network) == bits(twin)
    assert network.history.losses.shape == (12,)


def test_ctrl_c_in_the_function_leaves_the_parameters_after_the_last_step(rng):
    _, names, images, targets = case(rng, "mean_squared_error", 12, np.float64)
    network, twin, calls = *(Sequential(stack(cnnx, names)) for _ in range(2)), []

    def loss(outputs, targets):
        calls.append(len(outputs))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return squared_error(outputs, targets)

    optimizer = cnnx.SGD(0.05)
    with pytest.raises(KeyboardInterrupt):
        network.fit(images, targets, epochs=1, batch_size=4, optimizer=optimizer, loss=loss, shuffle=False, rng=2)
    assert optimizer.steps == 2
    assert network.history.losses.shape == (8,)
    twin.fit(images[:8], targets[:8], epochs=1, batch_size=4, learn_rate=0.05, loss=squared_error, shuffle=False, rng=2)
    assert bits(network) == bits(twin)


def test_the_network_has_no_gradient_of_fit(rng):
    """`gradient` belongs to the caller's own loops."""
    function, names, images, targets = case(rng, "mean_squared_error", 12, np.float64)
    network = Sequential(stack(cnnx, names))
    network.gradients(images, targets, loss=function, rng=1)
    before = network.gradient.copy()
    network.fit(images, targets, epochs=1, learn_rate=0.1, loss=function)
    assert_same_bits(network.gradient, before)


@pytest.mark.parametrize("loss", ["mean_squared_error", squared_error], ids=["named", "function"])
def test_a_run_goes_on_from_its_checkpoint_and_not_with_another_loss(tmp_path, rng, loss):
    images, targets, weights = problem(rng, REGRESSION, 20)[0], uniform(rng, (20, 4)), rng.uniform(0, 2, 20)
    options = {"batch_size": 6, "loss": loss, "sample_weight": weights, "validation": (images[:5], targets[:5])}

    def run(epochs, **changed):
        network = Sequential(stack(cnnx, REGRESSION))
        optimizer = cnnx.Adam(0.01)
        history = network.fit(images, targets, epochs=epochs, optimizer=optimizer, rng=5, **{**options, **changed})
        return bits(network), history.losses.tobytes(), history.validation.tobytes(), history.correct.shape

    path = tmp_path / "checkpoint"
    run(2, checkpoint=path)
    assert run(3, resume=path) == run(3)
    others = {
        "loss": {"loss": lambda *given: squared_error(*given)},
        "sample_weight and class_weight": {"sample_weight": weights[::-1]},
    }
    for name, changed in others.items():
        with pytest.raises(ValueError, match=rf"^{name}: expected .*, as in the checkpoint"):
            run(3, resume=path, **changed)
