// The dense layer of dense.cpp on packed weights, for loops over many samples.
//
// packed[group][block][row][node][lane] = weights[row * channels + 8 * block + lane, node], where Groups cuts the nodes
// into groups. A kernel takes one group at a time, so the rows of a group lie together: in a layer with many nodes,
// they would otherwise be half a page apart. One block of one group:
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
//
// After the last group comes the update that a step has left to the next one, if there are many weights (Deferred).
#pragma once

#include "../simd/tiles.hpp"
#include "kernels.hpp"

namespace cnnx {
namespace {

// The kernels below copy what they read into locals: for the compiler, storing a vector may change anything in memory.

// How the nodes are cut into groups: each takes as many Wides as it can. Every target has the same groups, because a
// backward pass adds up the nodes of a group before it adds up groups. With a background each group is one more pass
// over the listed rows, so they are large: AVX2's 16 registers can add up seven Wides of float32. Without one, kernels
// take several samples through ten nodes at once. In float64 ten nodes are ten Wides, which are one group in any case,
// because the article's network has ten.
template <class T, bool has_background>
struct Groups {
  static constexpr bool has_all_sizes = has_background && sizeof(T) == sizeof(float);  // else `most`, 3, 2 and 1
  static constexpr int most = has_background ? most_wides<T> : 10 * row_lanes / lanes_of<T>;

  // The sizes of the first and of the last of the groups that `wides` Wides are cut into.
  static int first_size(int wides) { return wides >= most ? most : has_all_sizes ? wides : smaller(wides, 3); }
  static int last_size(int wides) {
    const int rest = wides % most, last_rest = has_all_sizes ? rest : rest % 3;
    return rest == 0 ? most : last_rest == 0 ? 3 : last_rest;
  }
  // Calls body(wides as a constant). Only loops over rows need a constant, and code around them is compiled once.
  template <int size = most, class Body>
  __attribute__((always_inline)) static void with_constant(int wides, const Body& body) {
    if (wides == size) return body(std::integral_constant<int, size>{});
    if constexpr (size > 1) with_constant<has_all_sizes || size <= 3 ? size - 1 : 3>(wides, body);
  }
};

// Calls body(number of Wides, number of nodes, first node) for all groups.
template <class T, bool has_background, class Body>
void for_groups(const DenseShape& s, const Body& body) {
  const int all = s.wides<T>();
  for (int first = 0, wides; first < all; first += wides) {
    wides = Groups<T, has_background>::first_size(all - first);
    const int node = first * lanes_of<T> / row_lanes;
    body(wides, smaller(s.nodes - node, wides * lanes_of<T> / row_lanes), node);
  }
}

// The same, the last one first: a backward pass begins with what the forward pass used last and is still in L1.
template <class T, bool has_background, class Body>
void for_groups_from_last(const DenseShape& s, const Body& body) {
  for (int end = s.wides<T>(), wides; end > 0; end -= wides) {
    wides = Groups<T, has_background>::last_size(end);
    const int node = (end - wides) * lanes_of<T> / row_lanes;
    body(wides, smaller(s.nodes - node, wides * lanes_of<T> / row_lanes), node);
  }
}

// Calls body(first sample, number of samples as a constant) for groups of 4 and 1.
template <class Body>
void for_samples(int samples, Body&& body) {
  int first = 0;
  for (; samples - first >= 4; first += 4) body(first, std::integral_constant<int, 4>{});
  for (; first < samples; ++first) body(first, std::integral_constant<int, 1>{});
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
  using Two = Vec<T, 2 * sizeof(T)>;
  int n = 0;
  if constexpr (sizeof(T) == sizeof(float)) {  // four nodes at a time, then two
    using V = Vec<T, 16>;
    const auto two = [](const T* rows) {
      const V a = load<V>(rows) + load<V>(rows + 4), b = load<V>(rows + row_lanes) + load<V>(rows + row_lanes + 4);
      return V{a[0], b[0], a[1], b[1]} + V{a[2], b[2], a[3], b[3]};
    };
    for (; n + 4 <= nodes; n += 4, partial += 4 * row_lanes) {
      const V a = two(partial), b = two(partial + 2 * row_lanes);
      store(totals + n, load<V>(biases + n) + (V{a[0], a[1], b[0], b[1]} + V{a[2], a[3], b[2], b[3]}));
    }
    for (; n + 2 <= nodes; n += 2, partial += 2 * row_lanes) {
      const V a = two(partial);
      store(totals + n, load<Two>(biases + n) + (Two{a[0], a[1]} + Two{a[2], a[3]}));
    }
  }
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

// Copies register by register. GCC copies a struct in smaller pieces, and reading such pieces as a whole takes long.
template <int count, class V>
void copy_registers(V* to, const V* from) {
  for (int j = 0; j < count; ++j)
    for (int i = 0; i < V::count; ++i) to[j].part[i] = from[j].part[i];
}

// The backward pass of one sample through a row of weights, for `count` Wides of nodes. Everything is multiplied by the
// factor, so that one vector for each Wide, in a register, computes both the gradient and the change of the weights.
template <class T, int count>
struct DenseStep {
  Wide<T> d_totals[count];  // times the factor, with a node's number in all of its lanes

  DenseStep(const T* gradient, T factor, int nodes) {
    spread(d_totals, gradient, factor, nodes, count * lanes_of<T> / row_lanes);
  }
  // From what spread() has written.
  explicit DenseStep(const Wide<T>* totals) { copy_registers<count>(d_totals, totals); }

  // The gradient through a row's weights plus `sum`, before folded().
  __attribute__((always_inline)) Wide<T> through(const T* weights, Wide<T> sum = {}) const {
#pragma GCC unroll 12
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

  // pass<true> after the update of an earlier step, in which each node's number was one of `earlier_step`.
  __attribute__((always_inline)) Row<T> pass_after(const Row<T>& earlier_row, const Wide<T>* earlier_step,
                                                   Wide<T> through, const Row<T>& row, T* weights) const {
    const auto earlier = widened(earlier_row), both = widened(row);
#pragma GCC unroll 12
    for (int j = 0; j < count; ++j, weights += lanes_of<T>) {
      auto next = Wide<T>::read(weights);
      next.add_product(earlier_step[j], earlier);
      next.stay_in_registers();
      through.add_product(d_totals[j], next);
      next.add_product(d_totals[j], both);
      next.write(weights);
    }
    return folded(through);
  }
};

// An update that a step of plain gradient descent has left to the next one: V_r += z'_r c, as conv_pool_dense.cpp
// explains. So large weights are written in every second step only.
template <class T>
struct Deferred {
  T* pending = nullptr;  // 1 if there is such an update. If it is 0, the other numbers mean nothing.
  T* step = nullptr;     // c, (nodes,)
  T* inputs = nullptr;   // z', in the layout of the weights of a single node; D and S have zeros

  Deferred(T* packed, const DenseShape& s) {
    using Number = std::remove_const_t<T>;
    if (!s.has_deferred<Number>()) return;
    pending = packed + s.packed_weights_size<Number>();
    step = pending + 1;
    inputs = pending + rounded_up(1 + s.nodes, lanes_of<Number>);
  }
  bool is_pending() const { return pending != nullptr && *pending != 0; }
};

// Whether this target defers updates. Those without a fused multiply-add do not: the code is large, and a web page
// should be small.
template <class T>
inline constexpr bool can_defer = has_fused && sizeof(T) == sizeof(float);

// Applies a deferred update to rows of a group of nodes, except for the `count` rows that are listed.
template <class T>
[[gnu::noinline]] void catch_up(T* weights, const T* inputs, const Wide<T>* step, int wides, int rows,
                                const int* listed, int count) {
  for (int row = 0; row < rows; ++row, weights += wides * lanes_of<T>) {
    if (count > 0 && *listed == row) {
      ++listed, --count;
      continue;
    }
    const auto z = widened(Row<T>::read(inputs + row * row_lanes));
    for (int j = 0; j < wides; ++j) {
      auto next = Wide<T>::read(weights + j * lanes_of<T>);
      next.add_product(step[j], z);
      next.write(weights + j * lanes_of<T>);
    }
  }
}

// The partial sums of a group of nodes.
template <class T, int count>
struct NodeSums {
  Wide<T> sum[count];

  explicit NodeSums(const Wide<T>* sums) { copy_registers<count>(sum, sums); }
  void write(Wide<T>* sums) const { copy_registers<count>(sums, sum); }

  __attribute__((always_inline)) void add(const Row<T>& row, const T* weights) {
    const auto both = widened(row);
    for (int j = 0; j < count; ++j) sum[j].add_product(both, Wide<T>::read(weights + j * lanes_of<T>));
  }
};

}  // namespace
}  // namespace cnnx
