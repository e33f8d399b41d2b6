"""A sweep over many small networks, in parallel: `python examples/sweep.py`. It needs joblib, of the extra sklearn.

Each trial is one training with settings of its own. Trials are compared on digits that none of them was trained on, and
only the best is tested. On a cluster, give the backend and the address of its scheduler:

    python examples/sweep.py --backend dask --address tcp://scheduler:8786
    python examples/sweep.py --backend ray --address auto

cnnx must be installed on each machine. The results are the same everywhere.
"""

import argparse
import itertools
from collections import defaultdict

import joblib
import numpy as np

import cnnx

SETTINGS = {"filters": [4, 8], "nodes": [0, 32], "learn_rate": [0.001, 0.004, 0.016], "seed": [0, 1, 2]}
HELD_OUT = 200  # of the 1,000 digits to train on


def make_network(filters, nodes, seed):
    """Return a convolution with `filters` filters, and a hidden layer if `nodes` is not 0."""
    options = {"dtype": np.float32, "rng": np.random.default_rng(seed)}
    hidden = [cnnx.Dense(13 * 13 * filters, nodes, **options), cnnx.ReLU()] if nodes else []
    last = cnnx.Softmax(nodes or 13 * 13 * filters, 10, **options)
    return cnnx.Sequential([cnnx.Conv3x3(filters, 1, **options), cnnx.ReLU(), cnnx.MaxPool2(), *hidden, last])


def trial(settings, images, labels):
    """Train one network. Return its settings, its accuracy on the digits held out, and the network."""
    network = make_network(settings["filters"], settings["nodes"], settings["seed"])
    options = {"optimizer": cnnx.Adam(settings["learn_rate"]), "rng": settings["seed"], "threads": 1}
    network.fit(images[:-HELD_OUT], labels[:-HELD_OUT], epochs=3, batch_size=16, **options)
    _, accuracy = network.evaluate(images[-HELD_OUT:], labels[-HELD_OUT:], threads=1)
    return settings, accuracy, network


def connect(backend, address):
    """Make a cluster known to joblib. Each of the two packages is needed for its own backend only."""
    if backend == "dask":
        from dask.distributed import Client

        Client(address)
    elif backend == "ray":
        import ray
        from ray.util.joblib import register_ray

        ray.init(address)
        register_ray()


def sweep(backend="loky", jobs=-1):
    """Run all trials, and return their results."""
    digits = cnnx.data.load()
    all_settings = [dict(zip(SETTINGS, values, strict=True)) for values in itertools.product(*SETTINGS.values())]
    with joblib.parallel_config(backend, n_jobs=jobs):
        return joblib.Parallel()(
            joblib.delayed(trial)(settings, digits.train_images, digits.train_labels) for settings in all_settings
        )


def main(arguments=None):
    """Print the mean accuracy of each kind of network over its seeds, and test the best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="loky", choices=["loky", "threading", "dask", "ray"])
    parser.add_argument("--address", help="of the scheduler of dask or ray; without it, one is started here")
    parser.add_argument("--jobs", type=int, default=-1, help="how many trials run at once; -1 for one a CPU")
    options = parser.parse_args(arguments)
    if options.address is not None and options.backend not in ("dask", "ray"):
        parser.error(f"--address: expected none for {options.backend}, which has no scheduler, got {options.address!r}")
    connect(options.backend, options.address)
    results = sweep(options.backend, options.jobs)

    of_kind = defaultdict(list)
    for settings, accuracy, network in results:
        kind = ", ".join(f"{name}={value}" for name, value in settings.items() if name != "seed")
        of_kind[kind].append((accuracy, network))
    means = {kind: np.mean([accuracy for accuracy, _ in trials]) for kind, trials in of_kind.items()}
    for kind, mean in sorted(means.items(), key=lambda item: item[1], reverse=True):
        print(f"{mean:.1%}  {kind}")
    digits, best = cnnx.data.load(), max(means, key=means.__getitem__)
    tests = [network.evaluate(digits.test_images, digits.test_labels)[1] for _, network in of_kind[best]]
    print(f"{len(results)} trainings; the best kind reads {np.mean(tests):.1%} of the test digits")


if __name__ == "__main__":
    main()
