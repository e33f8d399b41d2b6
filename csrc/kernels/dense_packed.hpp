// The dense layer of dense.cpp on packed weights, for loops over many samples.
//
// packed[group][block][row][node][lane] = weights[row * channels + 8 * block + lane, node], where for_wides cuts the
// nodes into groups. A kernel takes one group at a time, so the rows of a group lie together: in a layer with many
// nodes, they would otherwise be half a page apart. One block of one group:
//
//             node 0           node 1
//   row 0     lanes 0 to 7     lanes 0 to 7     ...     A lane is a channel; after the last channel, lanes are 0.
//   row 1     lanes 0 to 7     lanes 0 to 7     ...     The eight lanes are the partial sums of dense.cpp.
//   ...                                                 Nodes are padded to whole Wides: two nodes a Wide for
//   D         lanes 0 to 7     lanes 0 to 7     ...     float, one for double.
//   S         lanes 0 to 7     lanes 0 to 7     ...
//
// conv_pool_dense.cpp explains rows D and S. dense_pack sets them to 0. dense_fold adds D to every row, sets D to 0 and
// computes S again; it is called now and then, because S accumulates the rounding errors of every step.
//
// Without a background there is one row, no D and no S.
//
// After the last block come the planes of conv_plane.hpp, if there are any. A plane is like a block of one channel: its
// lanes are eight places, its rows are the next eight places and so on, and its background is 0, so D stays 0.
#pragma once

#include "../simd/tiles.hpp"
#include "kernels.hpp"

namespace cnnx {
namespace {

// The kernels below copy what they read into locals: for the compiler, storing a vector may change anything in memory.

// Calls body(number of Wides as a constant, number of nodes, first node) for groups of nodes: of ten, which is what the
// article's network has, and smaller ones for the rest. Every target has the same groups, because a backward pass adds
// up the nodes of a group before it adds up groups.
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
  sweep(std::integral_constant<int, 3>{});
  sweep(std::integral_constant<int, 2>{});
  sweep(std::integral_constant<int, 1>{});
}

// The same groups, the last one first: a backward pass begins with what the forward pass used last and is still in L1.
template <class T, class Body>
void for_wides_from_last(const DenseShape& s, Body&& body) {
  constexpr int nodes_a_wide = lanes_of<T> / row_lanes, full = 10 / nodes_a_wide;
  int first = s.wides<T>(), rest = first % full;
  const auto sweep = [&](auto count, int groups) {
    for (; groups > 0; --groups) {
      first -= count;
      const int node = first * nodes_a_wide;
      body(count, smaller(s.nodes - node, count * nodes_a_wide), node);
    }
  };
  sweep(std::integral_constant<int, 1>{}, rest % 3 % 2);
  sweep(std::integral_constant<int, 2>{}, rest % 3 / 2);
  sweep(std::integral_constant<int, 3>{}, rest / 3);
  sweep(std::integral_constant<int, full>{}, first / full);
}

// Where a group's packed weights begin, and the distances between its rows and between its blocks.
struct GroupLayout {
  Index begin, row, block;
};
template <class T>
[[gnu::noinline]] GroupLayout group_layout(const DenseShape& s, int node, int count) {
  const Index row = Index{count} * lanes_of<T>;
  return {Index{node} * row_lanes * s.all_packed_rows(), row, row * s.packed_rows()};
}

// Adds up each node's partial sums, ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)), and its bias. Here and below, a function
// that is called once for a group of nodes is compiled once for all sizes of groups.
template <class T>
[[gnu::noinline]] void finish_totals(T* totals, const void* sums, const T* biases, int nodes) {
  const T* partial = static_cast<const T*>(sums);
  int n = 0;
  if constexpr (sizeof(T) == sizeof(float)) {  // four nodes at a time
    using V = Vec<T, 16>;
    const auto two = [](const T* rows) {
      const V a = load<V>(rows) + load<V>(rows + 4), b = load<V>(rows + row_lanes) + load<V>(rows + row_lanes + 4);
      return V{a[0], b[0], a[1], b[1]} + V{a[2], b[2], a[3], b[3]};
    };
    for (; n + 4 <= nodes; n += 4, partial += 4 * row_lanes) {
      const V a = two(partial), b = two(partial + 2 * row_lanes);
      store(totals + n, load<V>(biases + n) + (V{a[0], a[1], b[0], b[1]} + V{a[2], a[3], b[2], b[3]}));
    }
  }
  using Two = Vec<T, 2 * sizeof(T)>;
  for (; n < nodes; ++n, partial += row_lanes) {
    const auto at = [&](int lane) { return load<Two>(partial + lane); };
    const Two halves = (at(0) + at(4)) + (at(2) + at(6));
    totals[n] = biases[n] + (halves[0] + halves[1]);
  }
}

// Writes each node's number times the factor to all of its lanes. Lanes after the last node become 0.
template <class T>
[[gnu::noinline]] void spread(void* numbers, const T* d_totals, T factor, int nodes, int padded) {
  T* to = static_cast<T*>(numbers);
  for (int n = 0; n < padded; ++n, to += row_lanes) Row<T>::all(n < nodes ? factor * d_totals[n] : T{0}).write(to);
}

// The backward pass of one sample through a row of weights, for `count` Wides of nodes. Everything is multiplied by the
// factor, so that one vector for each Wide, in a register, computes both the gradient and the change of the weights.
template <class T, int count>
struct DenseStep {
  Wide<T> d_totals[count];  // times the factor, with a node's number in all of its lanes

  DenseStep(const T* gradient, T factor, int nodes) {
    spread(d_totals, gradient, factor, nodes, count * lanes_of<T> / row_lanes);
  }

  // The gradient through a row's weights, before folded().
  Wide<T> through(const T* weights) const {
    Wide<T> sum{};
    for (int j = 0; j < count; ++j) sum.add_product(d_totals[j], Wide<T>::read(weights + j * lanes_of<T>));
    return sum;
  }

  // Returns the gradient through a row's weights plus `through`, and adds the row's input times d_totals to `changed`:
  // to the weights themselves, after reading them, or to their gradient.
  template <bool in_place>
  __attribute__((always_inline)) Row<T> pass(Wide<T> through, const Row<T>& row, T* changed, const T* weights) const {
    const auto both = widened(row);
#pragma GCC unroll 12
    for (int j = 0; j < count; ++j, changed += lanes_of<T>, weights += lanes_of<T>) {
      auto old = Wide<T>::read(in_place ? changed : weights);
      old.stay_in_registers();
      through.add_product(d_totals[j], old);
      auto next = in_place ? old : Wide<T>::read(changed);
      next.add_product(d_totals[j], both);
      next.write(changed);
    }
    return folded(through);
  }
};

// The partial sums of a group of nodes.
template <class T, int count>
struct NodeSums {
  Wide<T> sum[count] = {};

  __attribute__((always_inline)) void add(const Row<T>& row, const T* weights) {
    const auto both = widened(row);
    for (int j = 0; j < count; ++j) sum[j].add_product(both, Wide<T>::read(weights + j * lanes_of<T>));
  }
  // Copies register by register. GCC copies a struct in smaller pieces, and reading such pieces as a whole takes long.
  void take(const NodeSums& from) {
    for (int j = 0; j < count; ++j)
      for (int i = 0; i < Wide<T>::count; ++i) sum[j].part[i] = from.sum[j].part[i];
  }
};

}  // namespace
}  // namespace cnnx
