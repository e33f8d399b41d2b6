"""The parts of beltwatch, each held against something else, and all of them beside a belt."""

import threading
import time

import numpy as np
import pytest
from beltwatch import Costs, Inspector, Lion, Sharpness
from beltwatch.__main__ import COSTS, LEAST_SHARPNESS, main, new_inspector
from beltwatch.belt import belt
from numpy.lib.stride_tricks import sliding_window_view

import cnnx


@pytest.fixture
def parts():
    return list(belt(300, np.random.default_rng(1)))


def small_network(dtype=np.float32):
    return cnnx.models.small_convnet(dtype=dtype, image_shape=(20, 20), nodes=3, rng=0)


def test_the_belt_is_judged_better_and_better(capsys):
    shares = main(parts_a_second=600)
    assert shares[0] + 0.1 < shares[-1] > 0.85
    assert "beside the belt" in capsys.readouterr().out


def test_blurred_pictures_are_less_sharp(parts):
    sharpness = Sharpness()
    assert {part.is_blurred for part in parts} == {True, False}
    for part in parts:
        assert (sharpness(part.picture) < LEAST_SHARPNESS) == part.is_blurred


def test_the_layer_in_the_pipeline_computes_what_numpy_does(parts):
    before = np.random.get_state()[1].copy()
    picture = parts[0].picture
    patches = sliding_window_view(picture.astype(float), (3, 3))
    edges = patches[:, :, 0, 1] + patches[:, :, 1, 0] + patches[:, :, 1, 2] + patches[:, :, 2, 1]
    expected = np.var(edges - 4 * patches[:, :, 1, 1]) / np.var(picture)
    assert Sharpness()(picture) == pytest.approx(expected, rel=1e-12)
    assert Sharpness()(np.full((20, 20), 9, np.uint8)) == 0
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_the_gradient_of_the_costs_is_the_derivative():
    p, labels, loss = np.random.default_rng(2).uniform(0.1, 1, (4, 3)), np.array([0, 2, 1, 2]), Costs(COSTS)
    _, gradients = loss(p, labels)
    for row, column in np.ndindex(p.shape):
        step = np.zeros_like(p)
        step[row, column] = 1e-6
        difference = loss(p + step, labels)[0] - loss(p - step, labels)[0]
        assert difference[row] / 2e-6 == pytest.approx(gradients[row, column], rel=1e-6)
    assert loss.costs.tolist() == COSTS  # the gradient is a copy of it


def test_costs_change_the_verdict_of_a_network_that_cannot_know():
    network = cnnx.Sequential([cnnx.Softmax(4, 2, rng=0)])
    pictures, labels = np.zeros((10, 2, 2)), np.arange(10) % 2
    network.fit(pictures, labels, loss=Costs([[0, 0], [5, 0]]), epochs=200, batch_size=10, learn_rate=0.5)
    good, bad = network.predict(pictures[0])
    assert bad > 0.7 > 0.3 > good


def test_lion_follows_its_formula_and_leaves_frozen_layers_alone(parts):
    network = small_network(np.float64)
    network.layers[0].trainable = False
    frozen = network.layers[0].parameter_count()
    pictures, labels = np.stack([part.picture for part in parts[:8]]), np.array([part.kind for part in parts[:8]])
    rule, p, m = Lion(0.01, betas=(0.8, 0.9), weight_decay=0.1), network.parameters.copy(), 0.0
    for _ in range(3):
        network.gradients(pictures, labels)
        g = network.gradient.copy()
        p[frozen:] -= 0.01 * (np.sign(0.8 * m + (1 - 0.8) * g) + 0.1 * p)[frozen:]
        m = 0.9 * m + (1 - 0.9) * g
        rule.apply(network)
        np.testing.assert_allclose(network.parameters, p, rtol=1e-9, atol=1e-12)


class Switch(Lion):
    """Changes the sign of all parameters."""

    def apply(self, network):
        network.gradient[:] = 2 * network.parameters
        network.apply(self._step)


def test_a_verdict_is_of_the_parameters_before_a_step_or_after_it(parts):
    network = cnnx.Sequential([cnnx.Dense(400, 400, dtype=np.float32, rng=0), cnnx.Softmax(400, 3, dtype=np.float32)])
    network.parameters[:] = np.random.default_rng(0).normal(0, 0.02, network.parameters.size)
    verdicts = set()
    with Inspector(network, Switch(1.0), Costs(np.zeros((3, 3)))) as inspector:
        while inspector.steps < 100:  # on a busy computer, the thread may start after any number of parts
            inspector.learn(parts[0].picture, parts[0].kind)
            verdicts.add(network.predict(np.zeros((20, 20), np.uint8)).tobytes())
    assert len(verdicts) == 2


def test_the_end_waits_until_all_is_learned(parts):
    with new_inspector(0) as inspector:
        for part in parts:
            inspector.learn(part.picture, part.kind)
    assert (len(inspector._memory), inspector.dropped) == (300, 0)
    assert threading.active_count() == 1


def test_outside_the_with_statement_nothing_is_learned(parts):
    inspector, example, message = new_inspector(0), (parts[0].picture, parts[0].kind), "^learn: expected to be"
    with pytest.raises(RuntimeError, match=message):
        inspector.learn(*example)
    with inspector:
        inspector.learn(*example)
    with pytest.raises(RuntimeError, match=message):
        inspector.learn(*example)
    assert inspector.steps == 1


def test_a_belt_that_is_too_fast_loses_examples_and_does_not_stop(parts):
    free = threading.Event()

    class Slow(Lion):
        def apply(self, _):
            free.wait()

    with Inspector(small_network(), Slow(0.001), Costs(COSTS), waiting=5) as inspector:
        for part in parts:
            inspector.learn(part.picture, part.kind)
        free.set()
    assert 300 - 5 - 16 <= inspector.dropped <= 300 - 5


def teach_and_judge(inspector, wrong, picture):
    with inspector:
        inspector.learn(wrong, 0)
        for _ in range(1000):
            inspector.judge(picture)
            time.sleep(0.01)


def test_an_error_in_the_thread_reaches_who_calls_next(parts):
    inspector, started = new_inspector(0), time.monotonic()
    with pytest.raises(RuntimeError, match="has stopped learning") as error:
        teach_and_judge(inspector, np.zeros((7, 7), np.uint8), parts[0].picture)
    assert time.monotonic() - started < 10
    assert "expected shape (n, 20, 20), got (1, 7, 7)" in str(error.value.__cause__)

    with pytest.raises(RuntimeError, match="has stopped learning"), new_inspector(0) as inspector:
        inspector.learn(parts[0].picture, 3)
