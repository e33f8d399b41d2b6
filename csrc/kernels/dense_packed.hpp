// The dense layer of dense.cpp on packed weights, for loops over many samples.
//
// packed[block][row][node][lane] = weights[row * channels + 8 * block + lane, node], zeros after the last channel;
// nodes fill up whole Wides, of float two a Wide. Lanes are channels: they are the partial sums of dense.cpp.
//
// After an image's pooling there are many rows, and two more after them, D and S, which conv_pool_dense.cpp explains.
// Packing sets both to 0. Folding adds D to every row and sums S anew, now and then, since S gathers the rounding of
// every step. Elsewhere there is one row.
#pragma once

#include "../simd/tiles.hpp"
#include "kernels.hpp"

namespace cnnx {
namespace {

// The kernels below keep all that they read in locals: to the compiler, a vector that is stored may change anything
// else.

// Adds up the partial sums of all nodes, and the biases.
template <int count, class T>
void finish_totals(T* totals, const Wide<T> (&sum)[count], const T* biases, int nodes) {
  T partial[count * lanes_of<T>];
  __builtin_memcpy(partial, sum, sizeof partial);
  for (int n = 0; n < nodes; ++n) {
    const T* const p = partial + n * row_lanes;
    totals[n] = biases[n] + (((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7])));
  }
}

// What a sample's d_totals do to a row of weights, `count` Wides of nodes.
template <class T, int count>
struct DenseStep {
  Wide<T> gradient[count], change[count] = {};

  // The change is factor * d_totals for each unit of a row's input.
  DenseStep(const T* d_totals, T factor, int nodes) {
    T spread[count * lanes_of<T>] = {};
    for (int n = 0; n < nodes; ++n)
      for (int lane = 0; lane < row_lanes; ++lane) spread[n * row_lanes + lane] = d_totals[n];
    for (int j = 0; j < count; ++j) {
      gradient[j] = Wide<T>::read(spread + j * lanes_of<T>);
      change[j].add_product(Wide<T>::all(factor), gradient[j]);
    }
  }

  // What d_totals give through the weights, without the last addition.
  Wide<T> through(const T* weights) const {
    Wide<T> sum{};
    for (int j = 0; j < count; ++j) sum.add_product(gradient[j], Wide<T>::read(weights + j * lanes_of<T>));
    return sum;
  }

  // Adds what d_totals give through a row's weights to `through`, and the row's share to what is changed: these weights
  // themselves, afterwards, or their gradient.
  template <bool in_place>
  __attribute__((always_inline)) Row<T> pass(Wide<T> through, const Row<T>& row, T* changed, const T* weights) const {
    const auto both = widened(row);
#pragma GCC unroll 12
    for (int j = 0; j < count; ++j, changed += lanes_of<T>, weights += lanes_of<T>) {
      auto old = Wide<T>::read(in_place ? changed : weights);
      old.stay_in_registers();
      through.add_product(gradient[j], old);
      auto next = in_place ? old : Wide<T>::read(changed);
      next.add_product(change[j], both);
      next.write(changed);
    }
    return folded(through);
  }
};

}  // namespace
}  // namespace cnnx
