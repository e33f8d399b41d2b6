// The dense layer of dense.hpp on packed weights, for loops over many samples.
//
// packed[block][row][node][lane] = weights[row * channels + 8 * block + lane, node], zeros behind the last channel;
// nodes fill up whole Wides, of float two a Wide. Lanes are channels: they are the partial sums of dense.hpp.
//
// Most rows of an image's pooled values equal its background a. With x_r = a + z_r, where only the rows listed have a
// z_r, and weights held as W_r = V_r + D, which share D and whose sum over all rows is S,
//
//   totals = biases + sum over r listed of  z_r V_r + (sum of z_r) D + a S
//
// and the update W_r -= learn_rate * x_r d_totals is
//
//   D -= learn_rate * a d_totals,   V_r -= learn_rate * z_r d_totals for r listed
//   S -= learn_rate * (rows * a + sum of z_r) d_totals
//
// so that a step touches the rows listed alone. The gradient for a row is d_totals (V_r + D), and the sum over the rows
// not listed is d_totals S less those of the rows listed. D and S stand behind the rows; packing sets D = 0, and
// folding does that again, since S gathers the rounding of every step.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"

namespace cnnx {
namespace {

// How many Wides of nodes a forward pass sums at a time, in registers; and a backward pass, which adds the nodes of
// such a group before it adds groups, so that every target must have the same.
inline constexpr int forward_wides = native_bytes == 64 ? 12 : (register_count - 4) * native_bytes / 64;
template <class T>
inline constexpr int backward_wides = sizeof(T) == 8 ? 12 : 6;

// Calls body(weight in numpy's layout, weight in the packed one, its lane of D or 0) for every weight.
template <class T, class Body>
void for_packed_weights(const DenseShape& s, Body&& body) {
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>, block_size = s.packed_rows() * row_size;
  for (int row = 0; row < s.rows; ++row)
    for (int channel = 0; channel < s.channels; ++channel) {
      const Index block = channel / row_lanes * block_size + channel % row_lanes;
      const Index weight = (Index{row} * s.channels + channel) * s.nodes;
      for (int n = 0; n < s.nodes; ++n)
        body(weight + n, block + row * row_size + n * row_lanes, block + s.rows * row_size + n * row_lanes);
    }
}

// Sets S to the sum of all rows and D to 0, after adding D to every row.
template <class T>
void dense_fold(T* packed, const DenseShape& s) noexcept {
  if (!s.has_background()) return;
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>;
  for (int block = 0; block < s.blocks(); ++block, packed += s.packed_rows() * row_size) {
    T* const shared = packed + s.rows * row_size;
    for (Index i = 0; i < row_size; i += lanes_of<T>) {
      const auto addend = Wide<T>::read(shared + i);
      Wide<T> sum{};
      for (T* at = packed + i; at < shared; at += row_size) {
        auto weights = Wide<T>::read(at);
        weights += addend;
        weights.write(at);
        sum += weights;
      }
      Wide<T>{}.write(shared + i);
      sum.write(shared + row_size + i);
    }
  }
}

template <class T>
void dense_pack(T* __restrict packed, const T* __restrict weights, const DenseShape& s) noexcept {
  __builtin_memset(packed, 0, sizeof(T) * static_cast<std::size_t>(s.packed_size<T>()));
  for_packed_weights<T>(s, [&](Index from, Index to, Index) { packed[to] = weights[from]; });
  dense_fold(packed, s);
}

// Of packed weights or of their packed gradient.
template <class T>
void dense_unpack(T* __restrict weights, const T* __restrict packed, const DenseShape& s) noexcept {
  if (s.has_background())
    for_packed_weights<T>(s, [&](Index to, Index from, Index shared) { weights[to] = packed[from] + packed[shared]; });
  else
    for_packed_weights<T>(s, [&](Index to, Index from, Index) { weights[to] = packed[from]; });
}

// The kernels below keep all that they read in locals: to the compiler, a vector that is stored may change anything
// else.

// The totals of `count` Wides of nodes, which begin `first` numbers into a row of weights and at `totals` and `biases`.
template <int count, class T>
void dense_forward_wides(T* totals, const DenseInput<T>& input, const T* packed, const T* biases, int nodes, int first,
                         const DenseShape& s) {
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>, stride = s.stride();
  const int rows = s.rows, blocks = s.blocks(), listed_count = input.count;
  const int* const listed = input.listed;
  const bool has_background = input.background != nullptr;
  Wide<T> sum[count] = {};
  const auto add = [&](const Row<T>& row, const T* weights) {
    const auto both = widened(row);
    for (int j = 0; j < count; ++j) sum[j].add_product(both, Wide<T>::read(weights + j * lanes_of<T>));
  };
  const T *values = input.values, *weights = packed + first, *background_at = input.background;
  for (int block = 0; block < blocks; ++block, values += row_lanes, weights += s.packed_rows() * row_size) {
    if (!has_background) {
      add(Row<T>::read(values), weights);
      continue;
    }
    const auto background = Row<T>::read(background_at + block * row_lanes);
    Row<T> excess{};
    for (int k = 0; k < listed_count; ++k) {
      const Index row = listed[k];
      const auto z = Row<T>::read(values + row * stride) - background;
      excess += z;
      add(z, weights + row * row_size);
    }
    add(excess, weights + rows * row_size);
    add(background, weights + (rows + 1) * row_size);
  }
  T partial[count * lanes_of<T>];
  for (int j = 0; j < count; ++j) sum[j].write(partial + j * lanes_of<T>);
  for (int n = 0; n < nodes; ++n) {
    const T* const p = partial + n * row_lanes;
    totals[n] = biases[n] + (((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7])));
  }
}

// Calls body(number of Wides as a constant, number of nodes, first node) for groups of nodes.
template <class T, int most, class Body>
void for_wides(const DenseShape& s, Body&& body) {
  constexpr int nodes_a_wide = lanes_of<T> / row_lanes;
  const int wides = s.wides<T>();
  for (int first = 0; first < wides; first += most)
    with_constant<most>(smaller(wides - first, most), [&](auto count) {
      const int node = first * nodes_a_wide;
      body(count, smaller(s.nodes - node, count * nodes_a_wide), node);
    });
}

template <class T>
void dense_forward_packed(T* totals, const DenseInput<T>& input, const T* packed, const T* biases,
                          const DenseShape& s) noexcept {
  for_wides<T, forward_wides>(s, [&](auto count, int nodes, int node) {
    dense_forward_wides<count>(totals + node, input, packed, biases + node, nodes, node * row_lanes, s);
  });
}

// Adds factor * (input's values) * d_totals to what is `changed`, the packed weights themselves or their gradient, for
// `count` Wides of nodes; sets the input's gradient, or adds to it what later nodes give.
template <bool in_place, int count, class T>
void dense_backward_wides(const DenseInputGradient<T>& d_input, T* __restrict changed, const T* __restrict packed,
                          const T* d_totals, const DenseInput<T>& input, T factor, int nodes, int first,
                          const DenseShape& s) {
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>, block_size = s.packed_rows() * row_size;
  const Index stride = s.stride(), shared = s.rows * row_size, sums = shared + row_size;
  const int rows = s.rows, blocks = s.blocks(), listed_count = input.count;
  const int* const __restrict listed = input.listed;
  const T* __restrict values = input.values, * const __restrict background_at = input.background;
  T* __restrict d_values = d_input.values, * const __restrict d_background = d_input.background;
  const bool has_background = background_at != nullptr, is_first = first == 0;
  changed += first;
  packed += first;

  T spread[count * lanes_of<T>] = {};
  for (int n = 0; n < nodes; ++n)
    for (int lane = 0; lane < row_lanes; ++lane) spread[n * row_lanes + lane] = d_totals[n];
  Wide<T> gradient[count], step[count] = {};
  for (int j = 0; j < count; ++j) {
    gradient[j] = Wide<T>::read(spread + j * lanes_of<T>);
    step[j].add_product(Wide<T>::all(factor), gradient[j]);
  }
  // Adds what d_totals gives through a row's old weights to `through`, and the row's share to what is changed.
  const auto pass = [&](Wide<T> through, const Row<T>& row, Index at) __attribute__((always_inline)) {
    const auto both = widened(row);
#pragma GCC unroll 12
    for (int j = 0; j < count; ++j, at += lanes_of<T>) {
      auto weights = Wide<T>::read((in_place ? changed : packed) + at);
      weights.stay_in_registers();
      through.add_product(gradient[j], weights);
      auto next = in_place ? weights : Wide<T>::read(changed + at);
      next.add_product(step[j], both);
      next.write(changed + at);
    }
    return folded(through);
  };
  const auto set = [&](T* at, Row<T> d) {
    if (!is_first) d += Row<T>::read(at);
    d.write(at);
  };
  for (int block = 0; block < blocks;
       ++block, values += row_lanes, d_values += row_lanes, changed += block_size, packed += block_size) {
    if (!has_background) {
      set(d_values, pass({}, Row<T>::read(values), 0));
      continue;
    }
    const auto background = Row<T>::read(background_at + block * row_lanes);
    Wide<T> through_shared{};
    for (int j = 0; j < count; ++j)
      through_shared.add_product(gradient[j], Wide<T>::read((in_place ? changed : packed) + shared + j * lanes_of<T>));
    Row<T> excess{}, d_listed{};
    for (int k = 0; k < listed_count; ++k) {
      const Index row = listed[k];
      const auto z = Row<T>::read(values + row * stride) - background;
      excess += z;
      const auto d = pass(through_shared, z, row * row_size);
      d_listed += d;
      set(d_values + row * stride, d);
    }
    pass({}, background, shared);
    excess.add_product(Row<T>::all(static_cast<T>(rows)), background);
    auto d_rest = pass({}, excess, sums) - d_listed;
    if (listed_count == rows) d_rest = {};
    set(d_background + block * row_lanes, d_rest);
  }
}

template <bool in_place, class T>
void dense_backward_rows(const DenseInputGradient<T>& d_input, T* changed, T* changed_biases, const T* packed,
                         const T* d_totals, const DenseInput<T>& input, T factor, const DenseShape& s) {
  for (int n = 0; n < s.nodes; ++n) changed_biases[n] += factor * d_totals[n];
  for_wides<T, backward_wides<T>>(s, [&](auto count, int nodes, int node) {
    dense_backward_wides<in_place, count>(d_input, changed, packed, d_totals + node, input, factor, nodes,
                                          node * row_lanes, s);
  });
}

template <class T>
void dense_backward_update_packed(const DenseInputGradient<T>& d_input, T* packed, T* biases, const T* d_totals,
                                  const DenseInput<T>& input, T learn_rate, const DenseShape& s) noexcept {
  dense_backward_rows<true>(d_input, packed, biases, packed, d_totals, input, -learn_rate, s);
}

template <class T>
void dense_backward_packed(const DenseInputGradient<T>& d_input, T* d_packed, T* d_biases, const T* packed,
                           const T* d_totals, const DenseInput<T>& input, const DenseShape& s) noexcept {
  dense_backward_rows<false>(d_input, d_packed, d_biases, packed, d_totals, input, T{1}, s);
}

}  // namespace
}  // namespace cnnx
