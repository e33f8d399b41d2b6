// The dense layer of dense.hpp on packed weights, for loops over many samples.
//
// packed[block][row][node][lane] = weights[row * channels + 8 * block + lane, node], zeros behind the last channel; nodes
// fill up whole Wides, of float two a Wide. Lanes are channels: they are the partial sums of dense.hpp.
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
// not listed is d_totals S less those of the rows listed. D and S stand behind the rows; packing sets D = 0, and folding
// does that again, since S gathers the rounding of every step.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"

namespace cnnx {
namespace {

// How many Wides' sums fit the registers. Of float it must be the same wherever there are fused multiply-adds, since
// the two nodes of a Wide are added for each such group.
template <class T>
inline constexpr int most_wides = native_bytes == 64 && sizeof(T) == 8 ? 12 : (register_count * native_bytes >= 512 ? 6 : 3);

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

template <class T>
void dense_forward_packed(T* totals, const DenseInput<T>& input, const T* packed, const T* biases,
                          const DenseShape& s) noexcept {
  const int wides = s.wides<T>();
  const Index row_size = Index{wides} * lanes_of<T>;
  for (int first = 0; first < wides; first += most_wides<T>)
    with_constant<most_wides<T>>(smaller(wides - first, most_wides<T>), [&](auto count) {
      Wide<T> sum[count] = {};
      const auto add = [&](const Row<T>& row, const T* weights) {
        const auto both = widened(row);
        for (int j = 0; j < count; ++j) sum[j].add_product(both, Wide<T>::read(weights + j * lanes_of<T>));
      };
      const T* weights = packed + Index{first} * lanes_of<T>;
      for (int block = 0; block < s.blocks(); ++block, weights += s.packed_rows() * row_size) {
        const T* const values = input.values + block * row_lanes;
        if (input.background == nullptr) {
          add(Row<T>::read(values), weights);
          continue;
        }
        const auto background = Row<T>::read(input.background + block * row_lanes);
        Row<T> excess{};
        for (int k = 0; k < input.count; ++k) {
          const Index row = input.listed[k];
          const auto z = Row<T>::read(values + row * s.stride()) - background;
          excess += z;
          add(z, weights + row * row_size);
        }
        add(excess, weights + s.rows * row_size);
        add(background, weights + (s.rows + 1) * row_size);
      }
      T partial[count * lanes_of<T>];
      for (int j = 0; j < count; ++j) sum[j].write(partial + j * lanes_of<T>);
      const int node = first * lanes_of<T> / row_lanes;
      for (int n = 0; n < smaller(s.nodes - node, count * lanes_of<T> / row_lanes); ++n) {
        const T* const p = partial + n * row_lanes;
        totals[node + n] =
            biases[node + n] + (((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7])));
      }
    });
}

// Adds factor * (input's values) * d_totals to what is `changed`: the packed weights themselves, or their gradient.
template <bool in_place, class T>
void dense_backward_rows(const DenseInputGradient<T>& d_input, T* changed, T* changed_biases, const T* packed,
                         const T* d_totals, const DenseInput<T>& input, T factor, const DenseShape& s) {
  const int wides = s.wides<T>();
  const Index row_size = Index{wides} * lanes_of<T>;
  for (int n = 0; n < s.nodes; ++n) changed_biases[n] += factor * d_totals[n];
  for (int first = 0; first < wides; first += most_wides<T>)
    with_constant<most_wides<T>>(smaller(wides - first, most_wides<T>), [&](auto count) {
      Wide<T> gradient[count], step[count];
      constexpr int nodes = count * lanes_of<T> / row_lanes;
      T spread[nodes * row_lanes];
      for (int n = 0; n < nodes; ++n) {
        const int node = first * lanes_of<T> / row_lanes + n;
        for (int lane = 0; lane < row_lanes; ++lane) spread[n * row_lanes + lane] = node < s.nodes ? d_totals[node] : T{0};
      }
      for (int j = 0; j < count; ++j) {
        gradient[j] = Wide<T>::read(spread + j * lanes_of<T>);
        step[j] = Wide<T>{};
        step[j].add_product(Wide<T>::all(factor), gradient[j]);
      }
      // Adds d_totals' share through the old weights to `through`, and what `row` makes of them to what is changed.
      const auto pass = [&](Wide<T> through, const Row<T>& row, Index offset) {
        const auto both = widened(row);
        for (int j = 0; j < count; ++j) {
          const Index at = offset + (first + j) * lanes_of<T>;
          const auto weights = Wide<T>::read(packed + at);
          through.add_product(gradient[j], weights);
          auto next = in_place ? weights : Wide<T>::read(changed + at);
          next.add_product(step[j], both);
          next.write(changed + at);
        }
        return folded(through);
      };
      for (int block = 0; block < s.blocks(); ++block) {
        const T* const values = input.values + block * row_lanes;
        T* const d_values = d_input.values + block * row_lanes;
        const Index weights = block * s.packed_rows() * row_size;
        const auto with_earlier = [&](Row<T> d, const T* earlier) {
          if (first > 0) d += Row<T>::read(earlier);
          return d;
        };
        if (input.background == nullptr) {
          with_earlier(pass({}, Row<T>::read(values), weights), d_values).write(d_values);
          continue;
        }
        const Index shared = weights + s.rows * row_size, sums = shared + row_size;
        const auto background = Row<T>::read(input.background + block * row_lanes);
        Wide<T> through_shared{};
        for (int j = 0; j < count; ++j)
          through_shared.add_product(gradient[j], Wide<T>::read(packed + shared + (first + j) * lanes_of<T>));
        Row<T> excess{}, d_listed{};
        for (int k = 0; k < input.count; ++k) {
          const Index row = input.listed[k];
          const auto z = Row<T>::read(values + row * s.stride()) - background;
          excess += z;
          const auto d = pass(through_shared, z, weights + row * row_size);
          d_listed += d;
          with_earlier(d, d_values + row * s.stride()).write(d_values + row * s.stride());
        }
        excess.add_product(Row<T>::all(static_cast<T>(s.rows)), background);
        pass({}, background, shared);
        auto d_rest = pass({}, excess, sums) - d_listed;
        T* const d_background = d_input.background + block * row_lanes;
        if (input.count == s.rows) d_rest = {};
        with_earlier(d_rest, d_background).write(d_background);
      }
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
