"""Processes that share each batch: they get the bits of one process, and fail together."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from networks import bits
from ranks import Communicator, on_ranks

import cnnx
from cnnx import Sequential, _training
from cnnx._batch import Batch

rng = np.random.default_rng(5)
IMAGES, LABELS = rng.random((45, 12, 12)), rng.integers(0, 4, 45)
VALIDATION = IMAGES[::3], LABELS[::3]


def layers(dtype=np.float64, has_norm=False):
    """Return a network whose batches of 20 images have 8 shards."""
    middle = [cnnx.BatchNorm(4, dtype=dtype)] if has_norm else [cnnx.Dropout(0.3)]
    first = cnnx.Conv3x3(4, in_channels=1, dtype=dtype, rng=1)
    last = [cnnx.ReLU(), cnnx.MaxPool2(), cnnx.GlobalAveragePool(), cnnx.Softmax(4, 4, dtype=dtype, rng=2)]
    return [first, *middle, *last]


def train(comm=None, *, dtype=np.float64, has_norm=False, network=None, images=IMAGES, **options):
    """Train a network. Return it, its history and the optimizer."""
    network = network or Sequential(layers(dtype, has_norm))
    settings = {"epochs": 2, "batch_size": 20, "rng": 3, "optimizer": cnnx.Adam(0.01), "validation": VALIDATION}
    settings |= {"augment": cnnx.RandomShift(1), "average": 0.9, **options}
    images = images.astype(dtype)
    validation = settings.pop("validation")
    validation = validation and (validation[0].astype(dtype), validation[1])
    history = network.fit(images, settings.pop("labels", LABELS), validation=validation, comm=comm, **settings)
    return network, history, settings["optimizer"]


def ends(trained):
    network, history, optimizer = trained
    return bits(network), [array.tobytes() for array in (*history[:3], *optimizer.states())]


def messages(results):
    return {f"{type(result).__name__}: {result}" for result in results}


@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("size", "threads"), [(1, 1), (2, 2), (3, 1), (8, 1)])
@pytest.mark.smoke
def test_any_number_of_ranks_gives_the_bits_of_one_process(size, threads, dtype, has_norm):
    alone = ends(train(dtype=dtype, has_norm=has_norm))
    trained = on_ranks(
        size, lambda comm: ends(train(comm, dtype=dtype, has_norm=has_norm, threads=threads, optimizer=cnnx.Adam(0.01)))
    )
    assert trained == [alone] * size


def test_windows_that_nobody_watches_grow_by_the_clock_of_rank_0(monkeypatch):
    """All ranks must take the same ones, but one of them may be slower than the others."""
    of_rank, found, train_batch = threading.local(), ([], []), Batch.train

    def perf_counter():
        of_rank.now += (0.001, 1)[of_rank.rank]
        return of_rank.now

    def recorded(batch, samples, *more):
        found[of_rank.rank].append(len(samples.order))
        train_batch(batch, samples, *more)

    def run(comm):
        of_rank.rank, of_rank.now = comm.rank, 0.0
        return ends(train(comm, progress_every=1))

    monkeypatch.setattr(_training, "time", SimpleNamespace(perf_counter=perf_counter))
    monkeypatch.setattr(Batch, "train", recorded)
    first, second = on_ranks(2, run)
    assert first == second
    assert found == ([20, 25, 45], [20, 25, 45])


DIFFERENT = {
    "images": {"images": IMAGES[::-1]},
    "labels": {"labels": LABELS[::-1].copy()},
    "validation": {"validation": None},
    "batch_size": {"batch_size": 21},
    "epochs": {"epochs": 3},
    "shuffle": {"shuffle": False},
    "augment": {"augment": None},
    "schedule": {"schedule": "cosine"},
    "optimizer": {"optimizer": cnnx.Adam(0.02)},
    "progress_every": {"progress_every": 7},
    "checkpoint": {"checkpoint": "run.npz"},
    "resume": {"resume": "absent.npz"},
    "random numbers": {"rng": 4},
    "parameters": {"network": Sequential([cnnx.Conv3x3(4, in_channels=1, rng=7), *layers()[1:]])},
    r"layers\[1\]": {"network": Sequential([layers()[0], cnnx.Dropout(0.5), *layers()[2:]])},
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_ranks_with_other_arguments_are_refused_alike(name):
    results = on_ranks(
        3, lambda comm: train(comm, **DIFFERENT[name] if comm.rank == 2 else {"optimizer": cnnx.Adam(0.01)})
    )
    assert len(messages(results)) == 1
    with pytest.raises(ValueError, match=rf"^{name}: expected the same on all ranks, got .* rank 0 and .* rank 2"):
        raise results[0]


class Own(cnnx.layers.Layer):
    def forward(self, values):
        return values

    def backprop(self, d_output):
        return d_output


UNSHARED = {
    "batch_size: expected at least 2 beside comm": {"batch_size": 1},
    "loss: expected 'cross_entropy' or 'mean_squared_error' beside comm": {"loss": lambda *_: (1, 2)},
    "comm: expected no more ranks than shards, .* got 3 ranks and 2 for batch_size=3 ": {"batch_size": 3},
    r"layers\[0\] \(Own\): expected layers of cnnx beside comm": {"network": Sequential([Own(), *layers()])},
}


@pytest.mark.parametrize("message", UNSHARED)
def test_a_run_that_cannot_be_shared_is_refused(message):
    results = on_ranks(3, lambda comm: train(comm, **UNSHARED[message]))
    for result in results:
        with pytest.raises(ValueError, match=message):
            raise result


def test_what_is_no_communicator_is_refused():
    with pytest.raises(TypeError, match="comm: expected a communicator of mpi4py or None, got int"):
        train(7)


class BrokenError(Exception):
    pass


class BrokenShift(cnnx.RandomShift):
    breaks = False

    def maps(self, *arguments):
        if self.breaks:
            raise BrokenError("my maps")
        return super().maps(*arguments)


def fail(_):
    raise BrokenError("my report")


def broken_shift(is_broken):
    augment = BrokenShift(1)
    augment.breaks = is_broken
    return {"augment": augment}


BROKEN = {
    "BrokenError: my report": lambda is_broken: {"on_progress": fail if is_broken else None},
    "BrokenError: my maps": broken_shift,
    "ValueError: epochs: expected an integer of at least 1, got 0": lambda is_broken: {"epochs": 1 - is_broken},
}


@pytest.mark.parametrize("error", BROKEN)
def test_an_error_on_one_rank_is_one_on_all(error):
    results = on_ranks(3, lambda comm: train(comm, **BROKEN[error](comm.rank == 1)))
    told = f"OtherRankError: comm: rank 1 of 3 has ended with {error}"
    assert [f"{type(result).__name__}: {result}" for result in results] == [told, error, told]


def test_a_rank_that_cannot_begin_a_window_tells_the_others():
    networks = [Sequential(layers()) for _ in range(2)]

    def lock_filters(_):
        networks[1].layers[0].filters.flags.writeable = False

    options = {"progress_every": 1, "average": None, "validation": None}
    results = on_ranks(
        2,
        lambda comm: train(
            comm,
            network=networks[comm.rank],
            optimizer=cnnx.SGD(0.1),
            on_progress=lock_filters if comm.rank else None,
            **options,
        ),
    )
    assert "writ" in str(results[1])
    told = f"OtherRankError: comm: rank 1 of 2 has ended with {type(results[1]).__name__}: {results[1]}"
    assert messages(results[:1]) == {told}


# Within a step: before a rank has received anything, and after.
@pytest.mark.parametrize(("has_norm", "sent"), [(False, 4), (False, 5), (True, 4), (True, 6), (True, 7)])
def test_a_rank_that_fails_within_a_step_ends_all(capfd, has_norm, sent):
    optimizer, network, sends = cnnx.SGD(0.1), Sequential(layers(has_norm=has_norm)), []

    def body(comm):
        if comm.rank == 1:

            def send(*arguments):
                sends.append(arguments)
                if len(sends) > sent:
                    raise BrokenError("my network")
                return Communicator.Isend(comm, *arguments)

            comm.Isend = send
            return train(comm, network=network, optimizer=optimizer, average=None)
        return train(comm, has_norm=has_norm, optimizer=cnnx.SGD(0.1), average=None)

    results = on_ranks(2, body)
    assert [type(result) for result in results] == [SystemExit, BrokenError]
    assert network.parameters.tobytes() == Sequential(layers(has_norm=has_norm)).parameters.tobytes()
    assert optimizer.steps == 0
    printed = capfd.readouterr().err
    assert "cnnx: rank 1 of 2 ends all ranks, which wait for it:\n" in printed
    assert "BrokenError: my network" in printed
    # What other ranks have sent does not reach the next run.
    assert ends(train(network=network, has_norm=has_norm)) == ends(train(has_norm=has_norm))


def test_on_progress_of_one_rank_stops_all():
    seen = []

    def stop(progress):
        seen.append(progress.step)
        return len(seen) == 2

    results = on_ranks(
        2,
        lambda comm: train(comm, progress_every=1, optimizer=cnnx.SGD(0.1), on_progress=None if comm.rank else stop),
    )
    assert seen == [1, 2]
    assert ends(results[0]) == ends(results[1])
    assert len(results[1][1].losses) == 40


def test_a_setting_that_only_one_rank_changes_is_refused():
    def body(comm):
        optimizer = cnnx.SGD(0.1)

        def report(_):
            optimizer.learn_rate = 0.05

        return train(comm, optimizer=optimizer, on_progress=report if comm.rank == 1 else None, progress_every=2)

    results = on_ranks(2, body)
    expected = r"^optimizer: expected the same on all ranks, got SGD\(.*0.1,.*0 and SGD\(.*0.05,.* \(since step 2; "
    assert len(messages(results)) == 1
    with pytest.raises(ValueError, match=expected):
        raise results[0]


def test_a_layer_that_only_one_rank_changes_is_refused():
    networks = [Sequential(layers()) for _ in range(2)]

    def report(_):
        networks[1].layers[1].rate = 0.6

    results = on_ranks(
        2,
        lambda comm: train(
            comm,
            network=networks[comm.rank],
            optimizer=cnnx.SGD(0.1),
            on_progress=report if comm.rank else None,
            progress_every=2,
        ),
    )
    expected = (
        r"^layers\[1\]: expected the same on all ranks, got Dropout\(rate=0.3\) .* Dropout\(rate=0.6\) .*\(since step 2"
    )
    assert len(messages(results)) == 1
    with pytest.raises(ValueError, match=expected):
        raise results[0]


def test_a_loss_that_is_not_finite_is_the_same_error_on_all_ranks():
    networks = [Sequential(layers()) for _ in range(2)]
    options = {"average": None, "validation": None}
    results = on_ranks(2, lambda comm: train(comm, network=networks[comm.rank], optimizer=cnnx.SGD(1e200), **options))
    assert len(messages(results)) == 1
    with pytest.raises(FloatingPointError, match="at step"):
        raise results[0]
    assert bits(networks[0]) == bits(networks[1])


def test_rank_0_alone_reads_and_writes_checkpoints(tmp_path):
    def files(comm):
        path = tmp_path / f"{comm.rank}.npz"
        return {"checkpoint": path, "resume": path, "checkpoint_every": 2, "progress_every": 1}

    def begin(comm):
        return train(comm, optimizer=cnnx.Adam(0.01), on_progress=lambda progress: progress.step == 3, **files(comm))

    def go_on(comm):
        network = Sequential([cnnx.Conv3x3(4, in_channels=1, rng=comm.rank), *layers()[1:]])
        return ends(train(comm, network=network, optimizer=cnnx.Adam(0.01), **files(comm)))

    on_ranks(2, begin)
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]
    assert on_ranks(2, go_on) == [ends(train())] * 2
