"""The same trainings in every kind of pool: `python examples/pools.py`. It needs joblib, of the extra sklearn.

Each pool trains four networks. They are the networks of a plain loop, bit for bit, because each gets a seed of its own.
"""

import concurrent.futures
import multiprocessing
import sys

import joblib
import numpy as np

import cnnx

SEEDS, WORKERS = range(4), 2


def train(seed, images, labels):
    """Train a small network. The result depends on the arguments alone, so any process can do it."""
    network = cnnx.models.article_cnn(dtype=np.float32, rng=seed)
    # One thread, since the workers have the CPUs already.
    network.fit(images, labels, epochs=1, batch_size=10, learn_rate=0.1, rng=seed, threads=1)
    return network


def in_a_loop(images, labels):
    """Return the networks that the pools must give."""
    return [train(seed, images, labels) for seed in SEEDS]


def in_multiprocessing(method, images, labels):
    """Use processes that are forked, or spawned, or forked from a server. Each job gets the images by pickle."""
    with multiprocessing.get_context(method).Pool(WORKERS) as pool:
        return pool.starmap(train, [(seed, images, labels) for seed in SEEDS])


def in_process_executor(images, labels):
    """Use the processes of concurrent.futures."""
    spawn = multiprocessing.get_context("spawn")  # works on every system, and beside other threads
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=spawn) as pool:
        return [job.result() for job in [pool.submit(train, seed, images, labels) for seed in SEEDS]]


def in_thread_executor(images, labels):
    """Use threads, which share the images. They run at once, because a training releases the interpreter's lock."""
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(lambda seed: train(seed, images, labels), SEEDS))


def in_joblib(images, labels):
    """Use joblib's own processes. Arrays above `max_nbytes` are memory-mapped, so all workers share one copy."""
    jobs = (joblib.delayed(train)(seed, images, labels) for seed in SEEDS)
    return joblib.Parallel(WORKERS, max_nbytes=100_000)(jobs)


def main():
    """Compare all pools that this system has with the loop. Return the exit code: 0 if all give the same bits."""
    digits = cnnx.data.load()
    data = digits.train_images, digits.train_labels
    expected = [network.parameters.tobytes() for network in in_a_loop(*data)]
    pools = {
        f"multiprocessing, {method}": (in_multiprocessing, method)
        for method in sorted(multiprocessing.get_all_start_methods())  # fork is the first: there are no threads yet
    }
    pools |= {
        "concurrent.futures, processes": (in_process_executor,),
        "concurrent.futures, threads": (in_thread_executor,),
        "joblib": (in_joblib,),
    }
    code = 0
    for name, (pool, *method) in pools.items():
        networks = pool(*method, *data)
        are_same = [network.parameters.tobytes() for network in networks] == expected
        print(f"{name}: {len(networks)} networks, {'the same bits' if are_same else 'OTHER BITS'}")
        code = code if are_same else 1
    return code


if __name__ == "__main__":
    sys.exit(main())
