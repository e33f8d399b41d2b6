// The dense layer:  totals[n] = biases[n] + sum over i of  input[i] * weights[i, n]
//
// weights (inputs, nodes), input i being channel i mod channels of row i / channels. The sum runs over eight partial
// sums, to which a row's channels go by turns, block of eight after block and in a block row after row; these are added
// by halving (l and l + half), then the bias. All forward kernels keep to it, on every target, so they agree to the
// bit.
#include "../simd/tiles.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

// Nodes in the lanes, the eight partial sums of one or two tiles of them in registers: `first` are the tiles' first
// nodes, and they may share some. conv_pool_dense.cpp says what a background does, with D = 0.
template <class Tile, int tiles, class T>
void dense_forward_tiles(T* totals, const DenseInput<T>& input, const T* weights, const T* biases,
                         const int (&first)[tiles], int nodes, const DenseShape& s) {
  using V = typename Tile::V;
  const Index stride = s.nodes;
  V sum[tiles][row_lanes] = {};
  const auto add_block = [&](int block, auto lanes) {
    const auto add = [&](V(&to)[tiles][row_lanes], const T* at, const auto& factor) {
      for (int lane = 0; lane < lanes; ++lane)
        for (int i = 0; i < tiles; ++i) to[i][lane] += factor(lane) * Tile::read(at + lane * stride + first[i], nodes);
    };
    const T* const rows = weights + block * stride;
    if (input.background == nullptr) {
      add(sum, rows, [&](int lane) { return input.values[block + lane]; });
      return;
    }
    const T* const background = input.background + block;
    V all[tiles][row_lanes] = {};
    for (Index row = 0; row < s.rows; ++row)
      for (int lane = 0; lane < lanes; ++lane)
        for (int i = 0; i < tiles; ++i)
          all[i][lane] += Tile::read(rows + (row * s.channels + lane) * stride + first[i], nodes);
    for (int lane = 0; lane < lanes; ++lane)
      for (int i = 0; i < tiles; ++i) sum[i][lane] += background[lane] * all[i][lane];
    for (int k = 0; k < input.count; ++k) {
      const Index row = input.listed[k];
      const T* const x = input.values + row * s.stride() + block;
      add(sum, rows + row * s.channels * stride, [&](int lane) { return x[lane] - background[lane]; });
    }
  };
  int block = 0;
  for (; block + row_lanes <= s.channels; block += row_lanes)
    add_block(block, std::integral_constant<int, row_lanes>{});
  if (block < s.channels)
    with_constant<row_lanes - 1>(s.channels - block, [&](auto lanes) { add_block(block, lanes); });
  for (int i = 0; i < tiles; ++i) {
    for (int half = row_lanes / 2; half > 0; half /= 2)
      for (int lane = 0; lane < half; ++lane) sum[i][lane] += sum[i][lane + half];
    Tile::write(totals + first[i], Tile::read(biases + first[i], nodes) + sum[i][0], nodes);
  }
}

template <class T>
void dense_forward(T* totals, const DenseInput<T>& input, const T* weights, const T* biases,
                   const DenseShape& s) noexcept {
  // Ten classes and the like in one pass, which waits less for its own sums than two do.
  if constexpr (native_bytes == 64) {
    if (s.nodes > row_lanes && s.nodes < 2 * row_lanes) {
      const int first[] = {0, s.nodes - row_lanes};
      return dense_forward_tiles<Tile<T, row_lanes * sizeof(T), 1>>(totals, input, weights, biases, first, row_lanes,
                                                                    s);
    }
  }
  for_channel_tiles<T, 1>(s.nodes, [&](auto tile, int first_node, int nodes) {
    const int first[] = {first_node};
    dense_forward_tiles<decltype(tile)>(totals, input, weights, biases, first, nodes, s);
  });
}

//   d_input[i] = sum over n of  weights[i, n] * d_totals[n]          through the old weights
//   weights[i, n] -= learn_rate * input[i] * d_totals[n],   biases[n] -= learn_rate * d_totals[n]
template <int nodes, class T>
void dense_backward_update_nodes(T* __restrict d_input, T* __restrict weights, const T* __restrict d_totals,
                                 const T* __restrict input, T learn_rate, bool is_first, Index inputs, Index stride) {
  T gradient[nodes];
  for (int n = 0; n < nodes; ++n) gradient[n] = d_totals[n];
  for (Index i = 0; i < inputs; ++i, weights += stride) {
    T sum = is_first ? T{0} : d_input[i];
    for (int n = 0; n < nodes; ++n) sum = fused(weights[n], gradient[n], sum);
    d_input[i] = sum;
    const T step = -learn_rate * input[i];
    for (int n = 0; n < nodes; ++n) weights[n] = fused(step, gradient[n], weights[n]);
  }
}

template <class T>
void dense_backward_update(T* __restrict d_input, T* __restrict weights, T* __restrict biases,
                           const T* __restrict d_totals, const T* __restrict input, T learn_rate,
                           const DenseShape& s) noexcept {
  constexpr int most = 16;
  for (int first = 0; first < s.nodes; first += most)
    with_constant<most>(smaller(s.nodes - first, most), [&](auto nodes) {
      dense_backward_update_nodes<nodes>(d_input, weights + first, d_totals + first, input, learn_rate, first == 0,
                                         s.inputs(), s.nodes);
    });
  for (int n = 0; n < s.nodes; ++n) biases[n] = fused(-learn_rate, d_totals[n], biases[n]);
}

template <class T>
void enter(Kernels<T>& k) {
  k.dense_forward = dense_forward<T>;
  k.dense_backward_update = dense_backward_update<T>;
}

}  // namespace

void CNNX_TARGET::fill_dense(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  enter(float64);
}

}  // namespace cnnx
