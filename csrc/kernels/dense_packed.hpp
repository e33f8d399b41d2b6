// The dense layer of dense.cpp on packed weights, for loops over many samples.
//
// packed[block][row][node][lane] = weights[row * channels + 8 * block + lane, node], zeros after the last channel;
// nodes fill up whole Wides, of float two a Wide. Lanes are channels: they are the partial sums of dense.cpp.
//
// After an image's pooling there are many rows, and two more after them, D and S, which conv_pool_dense.cpp explains.
// Packing sets both to 0. Folding adds D to every row and sums S anew, now and then, since S gathers the rounding of
// every step. Elsewhere there is one row, and each group of nodes that for_wides makes has its weights together,
// packed[group][block][node][lane]: many nodes' rows would be pages apart.
#pragma once

#include "../simd/tiles.hpp"
#include "kernels.hpp"

namespace cnnx {
namespace {

// The kernels below keep all that they read in locals: to the compiler, a vector that is stored may change anything
// else.

// Calls body(number of Wides as a constant, number of nodes, first node) for groups of nodes: by tens, which is what
// the article has, and what is left by a few. Every target has the same groups, since a backward pass adds their nodes
// before it adds groups.
template <class T, class Body>
void for_wides(const DenseShape& s, Body&& body) {
  constexpr int nodes_a_wide = lanes_of<T> / row_lanes;
  int first = 0;
  const auto sweep = [&](auto count) {
    for (; s.wides<T>() - first >= count; first += count) {
      const int node = first * nodes_a_wide;
      body(count, smaller(s.nodes - node, count * nodes_a_wide), node);
    }
  };
  sweep(std::integral_constant<int, 10 / nodes_a_wide>{});
  sweep(std::integral_constant<int, 2>{});
  sweep(std::integral_constant<int, 1>{});
}

// Where a group's packed weights begin, and how far its rows and blocks are apart.
struct GroupLayout {
  Index begin, row, block;
};
template <class T>
GroupLayout group_layout(const DenseShape& s, int node, int count) {
  const Index before = node * row_lanes, width = Index{count} * lanes_of<T>, all = Index{s.wides<T>()} * lanes_of<T>;
  if (s.has_background()) return {before, all, all * s.packed_rows()};
  return {before * s.blocks(), width, width};
}

// Adds up the partial sums of all nodes, and the biases.
template <int count, class T>
void finish_totals(T* totals, const Wide<T> (&sum)[count], const T* biases, int nodes) {
  constexpr int all_nodes = count * lanes_of<T> / row_lanes;
  T partial[all_nodes * row_lanes];
  __builtin_memcpy(partial, sum, sizeof partial);
  using Two = Vec<T, 2 * sizeof(T)>;
  Two halves[all_nodes];  // of a node: ((0 + 4) + (2 + 6), (1 + 5) + (3 + 7))
  for (int n = 0; n < all_nodes; ++n) {
    const auto at = [&](int lane) { return load<Two>(partial + n * row_lanes + lane); };
    halves[n] = (at(0) + at(4)) + (at(2) + at(6));
  }
  for (int n = 0; n < nodes; ++n) totals[n] = biases[n] + (halves[n][0] + halves[n][1]);
}

// What a sample's d_totals do to a row of weights, `count` Wides of nodes.
template <class T, int count>
struct DenseStep {
  Wide<T> gradient[count], change[count] = {};

  // The change is factor * d_totals for each unit of a row's input.
  DenseStep(const T* d_totals, T factor, int nodes) {
    T spread[count * lanes_of<T>] = {};
    for (int n = 0; n < nodes; ++n) Row<T>::all(d_totals[n]).write(spread + n * row_lanes);
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

// A group of nodes' partial sums.
template <class T, int count>
struct NodeSums {
  Wide<T> sum[count] = {};

  __attribute__((always_inline)) void add(const Row<T>& row, const T* weights) {
    const auto both = widened(row);
    for (int j = 0; j < count; ++j) sum[j].add_product(both, Wide<T>::read(weights + j * lanes_of<T>));
  }
};

}  // namespace
}  // namespace cnnx
