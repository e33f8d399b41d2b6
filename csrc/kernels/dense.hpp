// The dense layer:  totals[n] = biases[n] + sum over i of  input[i] * weights[i, n]
//
// weights (inputs, nodes), input i being channel i mod channels of row i / channels. The sum runs over eight partial
// sums, to which a row's channels go by turns, block of eight after block and in a block row after row; these are added
// by halving (l and l + half), then the bias. Both forward kernels keep to it, on every target, so they agree to the
// bit.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"

namespace cnnx {
namespace {

// Nodes in the lanes, the eight partial sums in registers. dense_packed.hpp says what a background does, with D = 0.
template <class T>
void dense_forward(T* totals, const DenseInput<T>& input, const T* weights, const T* biases,
                   const DenseShape& s) noexcept {
  for_channel_tiles<T, 1>(s.nodes, [&](auto tile, int first, int nodes) {
    using V = typename decltype(tile)::V;
    V sum[row_lanes] = {};
    const auto add_block = [&](int block, auto lanes) {
      const auto weights_at = [&](Index row, int lane) {
        return tile.read(weights + (row * s.channels + block + lane) * s.nodes + first, nodes);
      };
      if (input.background == nullptr) {
        for (int lane = 0; lane < lanes; ++lane) sum[lane] += input.values[block + lane] * weights_at(0, lane);
        return;
      }
      const T* const background = input.background + block;
      for (int k = 0; k < input.count; ++k) {
        const Index row = input.listed[k];
        const T* const x = input.values + row * s.stride() + block;
        for (int lane = 0; lane < lanes; ++lane) sum[lane] += (x[lane] - background[lane]) * weights_at(row, lane);
      }
      V all[lanes] = {};
      for (Index row = 0; row < s.rows; ++row)
        for (int lane = 0; lane < lanes; ++lane) all[lane] += weights_at(row, lane);
      for (int lane = 0; lane < lanes; ++lane) sum[lane] += background[lane] * all[lane];
    };
    int block = 0;
    for (; block + row_lanes <= s.channels; block += row_lanes)
      add_block(block, std::integral_constant<int, row_lanes>{});
    if (block < s.channels)
      with_constant<row_lanes - 1>(s.channels - block, [&](auto lanes) { add_block(block, lanes); });
    for (int half = row_lanes / 2; half > 0; half /= 2)
      for (int lane = 0; lane < half; ++lane) sum[lane] += sum[lane + half];
    tile.write(totals + first, tile.read(biases + first, nodes) + sum[0], nodes);
  });
}

//   d_input[i] = sum over n of  weights[i, n] * d_totals[n]          through the old weights
//   weights[i, n] -= learn_rate * input[i] * d_totals[n],   biases[n] -= learn_rate * d_totals[n]
template <class T>
void dense_backward_update(T* __restrict d_input, T* __restrict weights, T* __restrict biases,
                           const T* __restrict d_totals, const T* __restrict input, T learn_rate,
                           const DenseShape& s) noexcept {
  constexpr int most = 16;
  for (int first = 0; first < s.nodes; first += most) {
    with_constant<most>(smaller(s.nodes - first, most), [&](auto nodes) {
      T gradient[nodes];
      for (int n = 0; n < nodes; ++n) gradient[n] = d_totals[first + n];
      T* row = weights + first;
      for (Index i = 0; i < s.inputs(); ++i, row += s.nodes) {
        T sum = first == 0 ? T{0} : d_input[i];
        for (int n = 0; n < nodes; ++n) sum = fused(row[n], gradient[n], sum);
        d_input[i] = sum;
        const T step = -learn_rate * input[i];
        for (int n = 0; n < nodes; ++n) row[n] = fused(step, gradient[n], row[n]);
      }
    });
  }
  for (int n = 0; n < s.nodes; ++n) biases[n] = fused(-learn_rate, d_totals[n], biases[n]);
}

}  // namespace
}  // namespace cnnx
