"""Forks, the interpreter's end, signals and sub-interpreters meet a network in the middle of its work."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from networks import bits, small_problem
from tolerances import assert_same_bits

import cnnx

HANG = 60  # seconds that nothing here takes


def run(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=HANG, check=False
    )


def predict_and_train_in_child(network, images, labels, pipe):
    predicted = network.predict(images)
    network.fit(images, labels, epochs=1, learn_rate=0.0)
    pipe.send(predicted.tobytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_is_forked_while_another_thread_trains_can_predict_and_train():
    network, images, labels = small_problem()
    training, stop = threading.Event(), threading.Event()

    def report(_):
        training.set()
        if stop.is_set():
            raise StopIteration

    def train():
        with pytest.raises(StopIteration, match=r"^$"):
            network.fit(
                np.tile(images, (500, 1, 1)), np.tile(labels, 500), epochs=1000, learn_rate=0.0, on_progress=report
            )

    thread = threading.Thread(target=train)
    thread.start()
    training.wait()
    expected = network.predict(images).tobytes()
    context = multiprocessing.get_context("fork")
    try:
        for _ in range(20):
            here, there = context.Pipe()
            child = context.Process(
                target=predict_and_train_in_child, args=(network, images, labels, there), daemon=True
            )
            child.start()
            assert here.poll(HANG), "the child hangs"
            assert here.recv() == expected
            child.join()
    finally:
        stop.set()
        thread.join()


DAEMON = """
import threading, time
import numpy as np
import cnnx

network = cnnx.models.article_cnn(dtype=np.float32)
digits = cnnx.data.load()
train = lambda: network.fit(digits.train_images, digits.train_labels, epochs=10**5, learn_rate=0.005)
predict = lambda: [network.predict(np.repeat(digits.test_images, 50, axis=0)) for _ in range(10**5)]
for work in (train, predict):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
print("ends")
"""


def test_the_interpreter_ends_while_a_daemon_thread_trains_and_another_predicts():
    ended = run(DAEMON)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ends\n", "")


DAEMON_RANKS = """
import sys, threading, time
import numpy as np
import cnnx
sys.path.insert(0, sys.argv[1])
from ranks import Communicator, World

digits, world = cnnx.data.load(), World(2)

def network():  # whose batches have 8 shards
    return cnnx.Sequential(
        [cnnx.Conv3x3(4, in_channels=1, rng=0), cnnx.GlobalAveragePool(), cnnx.Softmax(4, 10, rng=0)]
    )

def train(rank):
    options = {"epochs": 10**4, "learn_rate": 0.0, "batch_size": 16, "rng": 0, "threads": 2}
    network().fit(digits.train_images, digits.train_labels, comm=Communicator(world, rank), **options)

for rank in range(2):
    threading.Thread(target=train, args=(rank,), daemon=True).start()
time.sleep(0.3)
print("ends")
"""


def test_the_interpreter_ends_while_ranks_train_in_daemon_threads():
    ended = run(DAEMON_RANKS, str(Path(__file__).parents[1]))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ends\n", "")


SUB_INTERPRETER = """
import sys
name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
interpreters = __import__(name)
try:
    print(interpreters.run_string(interpreters.create(), "import cnnx._core"))  # from 3.13 on it returns the error
except Exception as error:
    print(error)
"""


def test_a_sub_interpreter_is_refused():
    ended = run(SUB_INTERPRETER)
    assert "expected the main interpreter" in ended.stdout or "does not support" in ended.stdout, ended


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import cnnx

signal.signal(signal.SIGINT, signal.default_int_handler)
network = cnnx.models.article_cnn(dtype=np.float32, rng=np.random.default_rng(0))
twin = cnnx.models.article_cnn(dtype=np.float32, rng=np.random.default_rng(0))
digits = cnnx.data.load()
images, labels = digits.train_images, digits.train_labels
optimizer, other = (eval("cnnx." + sys.argv[1]) for _ in range(2))

def interrupt():
    while optimizer.steps < int(sys.argv[2]):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
options = {"epochs": 10**4, "shuffle": False}
try:
    network.fit(images, labels, optimizer=optimizer, **options)
except KeyboardInterrupt:
    epochs, rest = divmod(optimizer.steps, len(images))
    if epochs:
        twin.fit(images, labels, epochs=epochs, optimizer=other, shuffle=False)
    if rest:
        twin.fit(images[:rest], labels[:rest], epochs=1, optimizer=other, shuffle=False)
    assert len(network.history.losses) == len(network.history.correct) == optimizer.steps >= int(sys.argv[2])
    assert np.isfinite(network.history.losses).all()
    print(np.allclose(network.parameters, twin.parameters, rtol=1e-4, atol=1e-6))
"""


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [("SGD(0.001)", 7000), ("SGD(0.0001, momentum=0.9)", 1), ("Adam(0.0001)", 5000)],
)
def test_ctrl_c_leaves_parameters_and_optimizer_of_the_same_step(optimizer, steps):
    ended = run(INTERRUPTED, optimizer, str(steps))
    assert ended.stdout == "True\n", ended


def predict_or_evaluate_often(network, method, images, labels):
    end = time.perf_counter() + HANG
    while time.perf_counter() < end:  # on many fast CPUs, one call takes less than the test's timer
        network.predict(images) if method == "predict" else network.evaluate(images, labels)


@pytest.mark.parametrize("method", ["predict", "evaluate"])
def test_ctrl_c_ends_a_long_prediction_soon(method):
    network = cnnx.models.deep_convnet(dtype=np.float32)
    images, labels = np.zeros((20_000, 28, 28), np.uint8), np.zeros(20_000, int)
    images[:, 5:20, 5:20] = np.random.default_rng(0).integers(0, 256, (15, 15))
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    started = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            predict_or_evaluate_often(network, method, images, labels)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, usual)
    few = images[:2]
    assert_same_bits(network.predict(few), network.predict(images[:300])[:2])
    assert time.perf_counter() - started < HANG  # a hang, not a time


class Named(cnnx.Sequential):
    """A network with a constructor of its own."""

    def __init__(self):
        super().__init__([cnnx.Conv3x3(3), cnnx.MaxPool2(), cnnx.Softmax(2 * 3 * 3, 4)])
        self.name = "mine"


def test_copies_of_a_subclass_keep_its_weights_and_attributes():
    _, images, labels = small_problem()
    network = Named()
    network.fit(images[:, :6], labels, epochs=1, learn_rate=0.1)
    for twin in (copy.copy(network), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert type(twin) is Named
        assert twin.name == "mine"
        assert bits(twin) == bits(network)
        assert not np.shares_memory(twin.parameters, network.parameters)
        assert_same_bits(twin.predict(images[:, :6]), network.predict(images[:, :6]))
