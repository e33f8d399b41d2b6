"""One call of every kernel, and the results of plain numpy: `kernel_cases.py FOLDER DTYPE`.

`kernels.py` starts this file; FOLDER has the kernels' table for Python, which it compiled from kernels.cpp. Shapes are
those of the article's network and of Keras's convnet. The functions below run anew for each kernel.
"""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from networks import Array
from turns import serve

sys.path.insert(0, sys.argv[1])
import cnnx_kernels as table

from cnnx import reference

T = np.dtype(sys.argv[2]).type
INTEGER = np.dtype(f"i{np.dtype(T).itemsize}")  # as wide as T
RATE, LANES = 0.01, 64 // np.dtype(T).itemsize
PLACES, DENSE = table.DenseShape(169, 8, 10), table.DenseShape(1, 1600, 10)  # after the pooling; Keras's


class Kit:
    """Draws data, and runs kernels that prepare it."""

    def __init__(self, target: int) -> None:
        self.target, self.rng = target, np.random.default_rng(0)

    def draw(self, *shape: int) -> Array:
        """Return numbers from −1 to 1."""
        numbers = zeros(*shape)
        numbers[...] = self.rng.uniform(-1, 1, shape)
        return numbers

    def run(self, name: str, *arguments: Any, count: int = 1) -> tuple[float, Any]:
        """Call a kernel and return the seconds that it took, and its result."""
        return getattr(table, name)(self.target, count, *arguments)

    def unpacked(self, packed: Array, shape: Any) -> Array:
        """Return weights (inputs, 10) in numpy's layout."""
        weights = zeros(1600 if shape is DENSE else 1352, 10)
        self.run("dense_unpack", weights, packed, shape)
        return weights


class Case(NamedTuple):
    """A kernel's arguments; after the call `got` returns arrays, from its result, that should be `expected`."""

    arguments: list[Any]
    expected: list[Any]
    got: Callable[[Any], list[Any]]


def sets(arguments: list[Any], *expected: Any) -> Case:
    """Return a case whose first arguments become what is expected."""
    return Case(arguments, list(expected), lambda _: arguments[: len(expected)])


def zeros(*shape: int, dtype: Any = T) -> Array:
    """Return an array that begins with a cache line, as the core's own memory does; numpy's begins anywhere."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + size].view(dtype).reshape(shape)


def tiles_of(values: Array, side: int) -> Array:
    """Return the squares of `side` pixels at every second row and column of values with zeros after their end."""
    padded = np.pad(values, ((0, 1), (0, 1), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))[::2, ::2]


def by_tap(filters: Array, biases: Any) -> Array:
    """Return filters packed, (taps + 1, padded filters), with the biases in the last row."""
    packed = zeros(filters[0].size + 1, -(-len(filters) // LANES) * LANES)
    packed[:-1, : len(filters)] = filters.reshape(len(filters), -1).T
    packed[-1, : len(filters)] = biases
    return packed


def listed_entries(gradient: Array, width: int) -> tuple[Any, tuple[list[Any], Callable[[Any], list[Any]]]]:
    """Return memory for an output gradient's entries; what they are for a `width` x 32 input; what finds them there."""
    outputs, filters = gradient[..., 0].size, gradient.shape[-1]
    values = gradient.reshape(outputs, filters)
    is_entry = values != 0
    entry = np.dtype([("at", np.int32), ("value", T)], align=True)
    end, start = zeros(filters, dtype=np.int32), zeros(outputs + 1, dtype=np.int32)
    by_filter, by_output = (zeros(outputs * filters + 1, dtype=entry) for _ in range(2))
    filter_of, output_of = is_entry.T.nonzero()
    y, x = np.divmod(output_of, gradient.shape[1])
    expected = [
        np.append(0, np.cumsum(is_entry.sum(axis=1))),
        is_entry.nonzero()[1],
        values[is_entry],
        filter_of,
        (y * width + x) * 32,
        values.T[is_entry.T],
    ]

    def found(_: Any) -> list[Any]:
        of_filters = [by_filter[f * outputs : end[f]] for f in range(filters)]
        of_outputs, lists = by_output[: start[-1]], np.concatenate(of_filters)
        counts = [len(entries) for entries in of_filters]
        return [
            start,
            of_outputs["at"],
            of_outputs["value"],
            np.repeat(range(filters), counts),
            lists["at"],
            lists["value"],
        ]

    return table.SparseGradient(end, by_filter, start, by_output), (expected, found)


def conv3x3(kit: Kit) -> dict[str, Case]:
    """Keras's second convolution; `few` is a gradient that is mostly zero, as after a pooling."""
    shape = table.Conv3x3Shape(13, 13, 32, 64)
    image, filters, biases, d_output = kit.draw(13, 13, 32), kit.draw(64, 3, 3, 32), kit.draw(64), kit.draw(11, 11, 64)
    packed, flat = by_tap(filters, biases), np.concatenate([filters.ravel(), biases])
    turned = by_tap(filters[:, ::-1, ::-1].transpose(3, 1, 2, 0), 0)
    d_input, d_filters, _ = reference.conv3x3_backward(d_output, image, filters)
    gradient = kit.draw(flat.size)

    output = reference.conv3x3_forward(image, filters, biases)
    transformed, desk = zeros(64 // LANES, 16, 33, LANES), zeros(table.winograd_desk_size(shape))
    kit.run("winograd_transform_filters", transformed, packed, shape)
    turn = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    elements = np.pad(np.einsum("iy,fyxc,jx->ijcf", turn, filters, turn), ((0, 0), (0, 0), (0, 1), (0, 0)))
    elements = elements.reshape(16, 33, -1, LANES).transpose(2, 0, 1, 3)

    flipped = zeros(32 // LANES, 16, 65, LANES)
    kit.run("winograd_transform_filters", flipped, turned, table.Conv3x3Shape(13, 13, 64, 32))
    of_pixels = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    of_gradient = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])
    products = np.einsum(
        "abijc,abijf->ijcf",
        np.einsum("iy,abcyx,jx->abijc", of_pixels, tiles_of(image, 4), of_pixels),
        np.einsum("iy,abfyx,jx->abijf", of_gradient, tiles_of(d_output, 2), of_gradient),
    )
    sums, finished = zeros(16 * 32 + 1, 64), zeros(16 * 32 + 1, 64)
    sums[:-1], sums[-1] = products.reshape(-1, 64), d_output.sum(axis=(0, 1))
    finished[:289] = by_tap(d_filters, sums[-1])
    scratch = zeros(table.winograd_scratch(shape))

    few = d_output * (kit.draw(*d_output.shape) < -0.6)
    few_input, few_filters, _ = reference.conv3x3_backward(few, image, filters)
    few_gradient = np.concatenate([few_filters.ravel(), few.sum(axis=(0, 1))])
    entries, listed = listed_entries(few, 13)
    kit.run("conv3x3_gather", entries, few, shape)
    d_pooled, winner, handed_out = kit.draw(5, 5, 64), kit.rng.integers(4, size=(5, 5, 64)), zeros(10, 10, 64)
    for q in range(4):
        handed_out[q // 2 :: 2, q % 2 :: 2] = d_pooled * (winner == q)
    pooled_entries, pooled_listed = listed_entries(handed_out, 12)
    winners, smaller = (1 << winner).astype(INTEGER).view(T), table.Conv3x3Shape(12, 12, 32, 64)
    pooled, chosen, small = zeros(5, 5, 64), zeros(5, 5, 64), np.ascontiguousarray(image[:12, :12])
    windows = output[:10, :10].reshape(5, 2, 5, 2, 64).transpose(1, 3, 0, 2, 4).reshape(4, 5, 5, 64)
    return {
        "pack_filters": sets([np.ones_like(packed), filters, biases, shape], packed),
        "unpack_filters": sets([np.ones_like(filters), np.ones_like(biases), packed, shape], filters, biases),
        "pack_flipped_filters": sets([np.ones_like(turned), filters, shape], turned),
        "add_unpacked_filters": sets([gradient, packed, shape], gradient + flat),
        "conv3x3_forward": sets([zeros(11, 11, 64), image, packed, shape], output),
        "winograd_transform_filters": sets([np.zeros_like(transformed), packed, shape], elements),
        "winograd_forward": sets([zeros(11, 11, 64), image, transformed, biases, desk, shape], output),
        "winograd_forward_pooled": Case(
            [pooled, chosen, small, transformed, biases, desk, smaller, table.Ties.all, True],
            [np.maximum(windows.max(axis=0), 0), np.where(windows.max(axis=0) > 0, 1 << windows.argmax(axis=0), 0)],
            lambda _: [pooled, chosen.view(INTEGER)],
        ),
        "conv3x3_backward_filters": sets(
            [packed.copy(), d_output, image, shape], packed + by_tap(d_filters, d_output.sum(axis=(0, 1)))
        ),
        "conv3x3_backward_input": sets([zeros(13, 13, 32), d_output, filters, zeros(6 * 288), shape], d_input),
        "winograd_backward": sets(
            [zeros(13, 13, 32), np.zeros_like(sums), d_output, image, flipped, scratch, shape], d_input, sums
        ),
        "winograd_finish_filters": sets([sums.copy(), shape], finished),
        "conv3x3_gather": Case([entries, few, shape], *listed),
        "conv3x3_gather_pooled": Case([pooled_entries, d_pooled, winners, smaller], *pooled_listed),
        "conv3x3_backward_filters_sparse": sets([gradient, entries, image, shape], gradient + few_gradient),
        "conv3x3_backward_input_sparse": sets([zeros(13, 13, 32), entries, filters, shape], few_input),
    }


def max_pool2(kit: Kit) -> dict[str, Case]:
    """Keras's first pooling; many pixels are equal."""
    shape, input, d_output = table.MaxPool2Shape(26, 26, 32), np.round(kit.draw(26, 26, 32)), kit.draw(13, 13, 32)
    d_input, pooled = reference.max_pool2_backward(d_output, input, "all"), reference.max_pool2_forward(input)
    windows = input.reshape(13, 2, 13, 2, 32).transpose(1, 3, 0, 2, 4).reshape(4, 13, 13, 32)
    wins = (windows == pooled) & (pooled > 0)
    winners = np.einsum("qyxc,q->yxc", wins, 1 << np.arange(4)).astype(INTEGER)
    output, chosen = zeros(13, 13, 32), zeros(13, 13, 32)
    return {
        "max_pool2_forward": sets([zeros(13, 13, 32), input, shape], pooled),
        "max_pool2_choose": Case(
            [output, chosen, input, shape, table.Ties.all, True],
            [np.maximum(pooled, 0), winners],
            lambda _: [output, chosen.view(INTEGER)],
        ),
        "max_pool2_hand_out": sets(
            [zeros(26, 26, 32), d_output, winners.view(T), shape],
            d_input * (pooled > 0).repeat(2, axis=0).repeat(2, axis=1),
        ),
    }


def article(kit: Kit) -> dict[str, Case]:
    """The article's network on a digit, whose edges are background; pooled values are (places, filters)."""
    digit = zeros(28, 28, dtype=np.uint8)
    digit[5:23, 7:20] = np.abs(255 * kit.draw(18, 13))
    pixels = (digit / 255 - 0.5).astype(T)
    patches = np.lib.stride_tricks.sliding_window_view(digit, (4, 4))[::2, ::2]
    is_listed = (patches != 0).any(axis=(2, 3)).ravel()
    listed = is_listed.nonzero()[0].astype(np.int32)
    count, found = len(listed), zeros(169 + 16, dtype=np.int32)
    shape = table.ConvPoolShape(28, 28, 8, 8)

    def finds(background: float, image: Array) -> Case:
        arguments = [found, zeros(28, dtype=np.uint64), image, background, shape]
        return Case(arguments, [count, listed], lambda result: [result, found[:count]])

    filters, biases, d_pooled = kit.draw(8, 3, 3), kit.draw(8), kit.draw(169, 8)
    packed = by_tap(filters, biases)
    convolved = reference.conv3x3_forward(pixels, filters, biases)
    pooled = reference.max_pool2_forward(convolved).reshape(169, 8)

    def d_filters(d_values: Array) -> Array:
        d_convolved = reference.max_pool2_backward(d_values.reshape(13, 13, 8), convolved, "all")
        d_filters = reference.conv3x3_backward(d_convolved, pixels, filters)[1]
        return by_tap(d_filters, d_convolved.sum(axis=(0, 1)))

    first = (2 * (np.arange(169) // 13 * 28 + np.arange(169) % 13)).astype(np.int32)

    def looked_at(values: Array, background: Array) -> Any:
        kept = zeros(table.conv_pool_kept_size(shape))
        return table.PooledImage(pixels, -0.5, listed, count, first, values, background, kept)

    values, background = zeros(169, 8), zeros(LANES)
    image, fused = looked_at(values, background), looked_at(zeros(169, 8), zeros(LANES))
    kit.run("conv_pool_forward", image, packed, shape)
    rest = zeros(LANES)
    rest[:8] = d_pooled[~is_listed].sum(axis=0)

    dense_biases, d_totals = kit.draw(10), kit.draw(10)
    weights, held = kit.draw(1352, 10), zeros(table.packed_dense_size(PLACES))
    kit.run("dense_pack", held, weights, PLACES)
    kit.run("dense_fold", held, PLACES)
    kit.run("conv_pool_dense_forward", zeros(10), fused, packed, held, dense_biases, True, shape, PLACES)
    d_held, d_biases, changed, d_changed = np.zeros_like(held), zeros(10), packed.copy(), packed.copy()
    small_gradient, outer = d_filters(weights @ d_totals), np.outer(pooled.ravel(), d_totals)

    both = [shape, PLACES]
    return {
        "scale_pixels": sets([zeros(28, 28), digit, 784], digit / 255 - 0.5),
        "find_foreground_in_bytes": finds(0, digit),
        "find_foreground": finds(-0.5, pixels),
        "are_small": Case([pixels, 784], [True], lambda result: [result]),
        "range_of": Case([pixels, 784], [(pixels.min(), pixels.max(), True)], lambda result: [result]),
        "conv_pool_forward": Case(
            [image, packed, shape], [pooled[listed], pooled[0]], lambda _: [values[listed], background[:8]]
        ),
        "conv_pool_backward": sets([np.zeros_like(packed), d_pooled, rest, image, shape], d_filters(d_pooled)),
        "spread_background": Case([image, shape], [pooled], lambda _: [values]),
        "sum_background": sets([zeros(8), d_pooled, image, shape], rest[:8]),
        # Only that unpacking gives the weights back. The kernels below that read the layout verify it.
        "dense_pack": Case([d_held, weights, PLACES], [weights], lambda _: [kit.unpacked(d_held, PLACES)]),
        "dense_unpack": sets([zeros(1352, 10), held, PLACES], weights),
        "dense_fold": Case([held, PLACES], [weights], lambda _: [kit.unpacked(held, PLACES)]),
        "conv_pool_dense_forward": sets(
            [zeros(10), fused, packed, held, dense_biases, True, *both], pooled.ravel() @ weights + dense_biases
        ),
        "conv_pool_dense_backward_update": Case(
            [changed, zeros(170, 8), held, dense_biases, d_totals, RATE, fused, *both],
            [packed - T(RATE) * small_gradient, weights - T(RATE) * outer, dense_biases - T(RATE) * d_totals],
            lambda _: [changed, kit.unpacked(held, PLACES), dense_biases],
        ),
        "conv_pool_dense_backward": Case(
            [d_changed, zeros(170, 8), d_held, d_biases, held, d_totals, fused, *both],
            [packed + small_gradient, outer, d_totals],
            lambda _: [d_changed, kit.unpacked(d_held, PLACES), d_biases],
        ),
    }


def dense(kit: Kit) -> dict[str, Case]:
    """The dense layer of Keras's convnet, on one sample and on twelve."""
    weights, biases, d_totals, inputs = kit.draw(1600, 10), kit.draw(10), kit.draw(12, 10), kit.draw(12, 1600)
    packed = zeros(table.packed_dense_size(DENSE))
    d_packed, totals, d_inputs, d_biases = np.zeros_like(packed), zeros(12, 10), zeros(12, 1600), zeros(10)
    d_batch, d_separate = zeros(len(packed) + 10), zeros(12, 1600)
    kit.run("dense_pack", packed, weights, DENSE)
    one, d_one, d_input = inputs[0], d_totals[0], weights @ d_totals[0]
    stepped = [weights - T(RATE) * np.outer(one, d_one), biases - T(RATE) * d_one]

    return {
        "dense_forward": sets(
            [zeros(10), table.DenseInput(one, None, None, 1), weights, biases, DENSE], one @ weights + biases
        ),
        "dense_backward_update": sets([zeros(1600), weights, biases, d_one, one, RATE, DENSE], d_input, *stepped),
        "dense_forward_packed": sets([zeros(10), one, packed, biases, DENSE], one @ weights + biases),
        "dense_backward_update_packed": Case(
            [d_inputs[0], packed, biases, d_one, one, RATE, DENSE],
            [d_input, *stepped],
            lambda _: [d_inputs[0], kit.unpacked(packed, DENSE), biases],
        ),
        "dense_backward_packed": Case(
            [d_inputs[0], d_packed, d_biases, packed, d_one, one, DENSE],
            [d_input, np.outer(one, d_one), d_one],
            lambda _: [d_inputs[0], kit.unpacked(d_packed, DENSE), d_biases],
        ),
        "dense_forward_block": Case(
            [list(totals), list(inputs), 12, packed, biases, DENSE], [inputs @ weights + biases], lambda _: [totals]
        ),
        "dense_backward_block": Case(
            [list(d_inputs), d_packed, d_biases, packed, list(d_totals), list(inputs), 12, DENSE],
            [d_totals @ weights.T, inputs.T @ d_totals, d_totals.sum(axis=0)],
            lambda _: [d_inputs, kit.unpacked(d_packed, DENSE), d_biases],
        ),
        "dense_backward_inputs": Case(
            [list(d_separate), packed, list(d_totals), 12, DENSE], [d_totals @ weights.T], lambda _: [d_separate]
        ),
        "dense_gradient_parts": Case([DENSE], [5], lambda result: [result]),
        # The second part of four has 52 blocks of eight inputs.
        "dense_set_gradient": Case(
            [d_batch, 1, list(inputs), list(d_totals), table.ShardedBatch(12, 4), 1 / 12, DENSE],
            [inputs.T[416:832] @ d_totals / 12, [52 * 80, 104 * 80]],
            lambda result: [kit.unpacked(d_batch[: len(packed)], DENSE)[416:832], list(result)],
        ),
    }


def batch_norm(kit: Kit) -> dict[str, Case]:
    """The batch normalisation after Keras's first convolution, with its ReLU and pooling."""
    height, width, channels, samples, eps = 26, 26, 32, 16, 1e-3
    shape, limits = table.BatchNormShape(height, width, channels, True), table.BatchNormLimits(0.9, eps)
    of_pooled = table.BatchNormShape(height // 2, width // 2, channels, False)
    batch = table.ShardedBatch(samples, 4)
    images, scale, offset = kit.draw(samples, height, width, channels), kit.draw(channels), kit.draw(channels)
    moments = zeros(samples, 2, channels)
    moments[:, 0] = images.mean(axis=(1, 2))
    moments[:, 1] = ((images - moments[:, 0, np.newaxis, np.newaxis]) ** 2).sum(axis=(1, 2))
    normalised, mean, variance = reference.batch_norm_batch_forward(images, scale, offset, eps)
    inverse = 1 / np.sqrt(variance + eps)
    right = [mean, inverse, scale * inverse, offset - mean * scale * inverse]
    running = [kit.draw(channels), kit.draw(channels) + T(2)]
    x, y, pool = images[0], normalised[0], reference.MaxPool2(ties="first")
    windows = x.reshape(13, 2, 13, 2, channels).swapaxes(1, 2).reshape(13, 13, 4, channels)
    winner = (windows * np.sign(scale)).argmax(axis=2)
    largest = np.take_along_axis(windows, winner[:, :, np.newaxis], axis=2)[:, :, 0]
    bits = (1 << winner).astype(np.int32 if T is np.float32 else np.int64)
    winners, found = bits.view(T), [zeros(*largest.shape), zeros(*largest.shape)]
    pooled = pool.forward(reference.relu_forward(y))
    d_output = kit.draw(*pooled.shape)
    d_y = reference.relu_backward(pool.backprop(d_output), y)
    d_scale, d_offset = (d_y * (x - mean) * inverse).sum(axis=(0, 1)), d_y.sum(axis=(0, 1))
    rest = kit.draw(2, channels)
    d_x = scale * inverse * d_y - (rest[0] + rest[1] * (x - mean))
    shards, n = kit.draw(4, 2, channels), samples * height * width
    shares = [right[2] * shards[:, 1].sum(axis=0) / n, right[2] * inverse * shards[:, 0].sum(axis=0) / n]

    def values(statistics: list[Array], numbers: list[Array]) -> Any:
        return table.BatchNormValues(scale, offset, *statistics, *numbers)

    blank = [zeros(channels) for _ in range(6)]
    of_running = [running[0], 1 / np.sqrt(running[1] + eps)]
    of_running += [scale * of_running[1], offset - running[0] * scale * of_running[1]]
    given = [*map(np.ascontiguousarray, right), *rest]
    taken, kept = [zeros(channels) for _ in range(6)], [array.copy() for array in running]
    asked = [*map(np.ascontiguousarray, right), zeros(channels), zeros(channels)]
    m, q, out, sums, d_input = (
        zeros(channels),
        zeros(channels),
        zeros(*pooled.shape),
        zeros(2, channels),
        zeros(*x.shape),
    )
    return {
        "batch_norm_moments": sets([m, q, x, shape], moments[0, 0], moments[0, 1]),
        "batch_norm_take_running": Case([values(running, blank), limits, channels], of_running, lambda _: blank[:4]),
        "batch_norm_take_batch": Case(
            [values(kept, taken), moments, 2 * channels, batch, table.BatchNormLimits(0.0, eps), shape],
            [*right, mean, variance * (n / (n - 1))],
            lambda _: [*taken[:4], *kept],
        ),
        "batch_norm_take_gradient": Case(
            [values(running, asked), list(shards), 0, batch, shape], shares, lambda _: asked[4:]
        ),
        "batch_norm_pool": Case(
            [table.PooledNorm(*found), x, scale, shape],
            [largest, bits],
            lambda _: [found[0], found[1].view(bits.dtype)],
        ),
        "batch_norm_forward": sets([out, largest, values(running, given), of_pooled], pooled),
        "batch_norm_sums": sets(
            [sums, d_output, largest, winners, values(running, given), of_pooled], np.array([d_scale, d_offset])
        ),
        "batch_norm_backward": sets(
            [d_input, d_output, x, table.PooledNorm(largest, winners), values(running, given), shape], d_x
        ),
    }


def conv_pool_norm(kit: Kit) -> dict[str, Case]:
    """The normalisation of Keras's first convolution, by the statistics of an image."""
    image, filters, biases = kit.draw(28, 28), kit.draw(32, 3, 3), kit.draw(32)
    shape, packed = table.Conv3x3Shape(28, 28, 1, 32), by_tap(filters, biases)
    scale, mean, inverse, shift, d_mean, d_slope = kit.draw(6, 32)
    factor = scale * inverse
    unused = [zeros(32) for _ in range(3)]
    values = table.BatchNormValues(scale, *unused, mean, inverse, factor, shift, d_mean, d_slope)
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(float), (3, 3)).reshape(-1, 9)
    outputs = windows @ filters.reshape(32, 9).T + biases
    distances, from_mean = windows - windows.mean(axis=0), outputs - outputs.mean(axis=0)
    numbers = np.concatenate([[len(windows)], windows.mean(axis=0), (distances.T @ distances).ravel()])
    moments, found = table.WindowMoments(), table.WindowMoments()
    scratch = zeros(28 * 28 + 8, dtype=float)
    kit.run("window_moments", moments, scratch, image, shape)
    d_folded, d_packed, d_norm = kit.draw(*packed.shape), kit.draw(*packed.shape), kit.draw(2, 32)
    d_bias = d_folded[-1]
    d_scale = inverse * ((packed[:-1] * d_folded[:-1]).sum(axis=0) + (biases - mean) * d_bias)
    through = d_mean + d_slope * (outputs - mean)
    return {
        "window_moments": Case([found, scratch, image, shape], [numbers], lambda _: [found.numbers()]),
        "output_moments": sets(
            [zeros(32), zeros(32), moments, packed, 32], outputs.mean(axis=0), (from_mean**2).sum(axis=0)
        ),
        "fold_norm": sets(
            [np.zeros_like(packed), packed, values, 32],
            by_tap(filters * factor[:, np.newaxis, np.newaxis], biases * factor + shift),
        ),
        "unfold_gradient": sets(
            [d_packed.copy(), d_norm.copy(), d_folded, packed, values, shape],
            d_packed + factor * d_folded,
            d_norm + np.array([d_scale, d_bias]),
        ),
        "subtract_through_statistics": sets(
            [d_packed.copy(), outputs.mean(axis=0).astype(T), moments, packed, values, shape],
            d_packed - np.vstack([windows.T @ through, through.sum(axis=0)]),
        ),
    }


def elementwise(kit: Kit) -> dict[str, Case]:
    """What is done to each number by itself, on as many as the article's network has parameters."""
    n = 13_602
    a, b, c, *more = kit.draw(8, n)
    squares, out, used_up = c * c, zeros(n), zeros(n)
    sgd, adam = [a.copy(), b.copy()], [a.copy(), b.copy(), squares.copy()]
    reference.sgd_update(*sgd, c, RATE, 0.9, True, 0.001)
    reference.adam_update(*adam, c, RATE, 5, 0.9, 0.999, 1e-7, 0.001)
    average, step = a.copy(), 11
    reference.average_update(average, b, step, 0.999)
    tree, few = [a, b, c, *more], np.round(a)
    return {
        "relu_forward": sets([out, a, n], reference.relu_forward(a)),
        "relu_backward": sets([out, b, a, n], reference.relu_backward(b, a)),
        "dropout": sets([out, a, 0.5, 3, n], reference.dropout(a, 0.5, 3)),
        "add": sets([a, b, n], a + b),
        "add_as_tree": Case([tree, 8, 1 / 8, n], [np.sum(tree, axis=0) / 8, *zeros(7, n)], lambda _: tree),
        "count_nonzero": Case([few, n], [np.count_nonzero(few)], lambda result: [result]),
        "scale": sets([a, -1.0, n], -a),
        "sgd_update": sets([a, c, RATE, n, None], a - T(RATE) * c, used_up),
        "sgd_momentum_update": sets([a, b, c, RATE, table.SgdSettings(0.9, 0.001, True), n, None], *sgd, used_up),
        "adam_update": sets(
            [a, b, squares, c, RATE, 5, table.AdamSettings(0.9, 0.999, 1e-7, 0.001), n, None], *adam, used_up
        ),
        "average_update": sets([a, b, 9 / (step + 9), n], average),
    }


def losses(kit: Kit) -> dict[str, Case]:
    """The softmax function and the losses of ten classes or outputs; the row of probabilities has two classes."""
    totals, d_p, p, d_totals = kit.draw(10), kit.draw(10), zeros(10), zeros(10)
    right, row, targets = np.exp(totals) / np.exp(totals).sum(), zeros(10), kit.draw(10)
    row[3], row[7] = 0.5, 0.25
    soft, d_right = reference.soft_cross_entropy(right, row)
    squared, d_outputs = reference.mean_squared_error(totals, targets)
    return {
        "softmax_forward": sets([p, totals, 10], right),
        "softmax_backward": sets([p, d_p, totals, 10], right * (d_p - d_p @ right)),
        "softmax_loss": Case(
            [p, d_totals, totals, 3, 10],
            [right, right - np.eye(10)[3], -np.log(right[3]), right.argmax() == 3],
            lambda outcome: [p, d_totals, *outcome],
        ),
        "softmax_loss_of_row": Case(
            [p, d_totals, totals, row, 10],
            [right, right * (d_right - d_right @ right), soft, right.argmax() == 3],
            lambda outcome: [p, d_totals, *outcome],
        ),
        "mean_squared_error": Case([d_p, totals, targets, 10], [d_outputs, squared], lambda loss: [d_p, loss]),
    }


class Served:
    """What `kernels.py` asks: each kernel's distance from numpy, and how long it takes."""

    def __init__(self) -> None:
        self.cases: dict[tuple[int, str], Case] = {}

    def about(self) -> tuple[list[str], list[str]]:
        """Return the targets and the kernels."""
        return table.targets(), table.names

    def apart(self, target: int, name: str) -> list[float]:
        """Return how far each of the kernel's results is from numpy's, as a share of the largest if that is above 1."""
        made: dict[str, Case] = {}
        kit = Kit(target)
        for group in (conv3x3, max_pool2, batch_norm, conv_pool_norm, article, dense, elementwise, losses):
            made |= group(kit)
        case = self.cases[target, name] = made[name]
        result = kit.run(name, *case.arguments)[1]
        pairs = [(np.asarray(got, float), right) for got, right in zip(case.got(result), case.expected, strict=True)]
        return [float(np.max(np.abs(got - right)) / max(1, np.max(np.abs(right)))) for got, right in pairs]

    def clock(self, target: int, name: str, count: int) -> float:
        return Kit(target).run(name, *self.cases[target, name].arguments, count=count)[0]


serve(Served)
