// Softmax of the article: a dense layer and the softmax function over its totals.
//
//   totals[n] = biases[n] + sum over i of  input[i] * weights[i, n]
//   probabilities[n] = exp(totals[n] - max) / sum over m of exp(totals[m] - max)
//
// Subtracting the maximum changes nothing in exact arithmetic and keeps exp from overflowing.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"

namespace cnnx {
namespace {

inline float exponential(float x) {
  return __builtin_expf(x);
}
inline double exponential(double x) {
  return __builtin_exp(x);
}

// Four partial sums a node, over every fourth input, hide the latency of the multiply-add; the split is the
// same on every target, so is the sum.
template <class T>
void dense_forward(T* totals, const T* input, const T* weights, const T* biases, const DenseShape& s) noexcept {
  constexpr int ways = 4;
  for_channel_tiles<T>(s.nodes, [&](auto tile, int first, int nodes) {
    using Tile = decltype(tile);
    typename Tile::V sum[ways][Tile::vectors] = {};
    const auto accumulate = [&](Index i, int way) {
      for (int v = 0; v < Tile::vectors; ++v)
        sum[way][v] += input[i] * Tile::read(weights + i * s.nodes + first + v * Tile::lanes, nodes);
    };
    Index i = 0;
    for (; i + ways <= s.inputs; i += ways)
      for (int way = 0; way < ways; ++way) accumulate(i + way, way);
    for (int way = 0; i + way < s.inputs; ++way) accumulate(i + way, way);
    for (int v = 0; v < Tile::vectors; ++v) {
      const int n = first + v * Tile::lanes;
      Tile::write(totals + n, Tile::read(biases + n, nodes) + ((sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v])),
                  nodes);
    }
  });
}

//   d_input[i] = sum over n of  weights[i, n] * d_totals[n]          through the old weights
//   weights[i, n] -= learn_rate * input[i] * d_totals[n],   biases[n] -= learn_rate * d_totals[n]
template <class T>
void dense_backward_update(T* __restrict d_input, T* __restrict weights, T* __restrict biases,
                           const T* __restrict d_totals, const T* __restrict input, T learn_rate,
                           const DenseShape& s) noexcept {
  for (Index i = 0; i < s.inputs; ++i, weights += s.nodes) {
    T sum = 0;
    for (int n = 0; n < s.nodes; ++n) sum += weights[n] * d_totals[n];
    d_input[i] = sum;
    const T step = learn_rate * input[i];
    for (int n = 0; n < s.nodes; ++n) weights[n] -= step * d_totals[n];
  }
  for (int n = 0; n < s.nodes; ++n) biases[n] -= learn_rate * d_totals[n];
}

template <class T>
void softmax_forward(T* probabilities, const T* totals, int nodes) noexcept {
  T largest = totals[0];
  for (int n = 1; n < nodes; ++n) largest = totals[n] > largest ? totals[n] : largest;
  T sum = 0;
  for (int n = 0; n < nodes; ++n) sum += probabilities[n] = exponential(totals[n] - largest);
  for (int n = 0; n < nodes; ++n) probabilities[n] /= sum;
}

// The full Jacobian:  d_totals[n] = p[n] * (d_p[n] - sum over m of d_p[m] * p[m]),  p the softmax of totals.
template <class T>
void softmax_backward(T* d_totals, const T* d_probabilities, const T* totals, int nodes) noexcept {
  softmax_forward(d_totals, totals, nodes);
  T mean = 0;
  for (int n = 0; n < nodes; ++n) mean += d_probabilities[n] * d_totals[n];
  for (int n = 0; n < nodes; ++n) d_totals[n] *= d_probabilities[n] - mean;
}

}  // namespace
}  // namespace cnnx
