// conv_pool.hpp with the dense layer right behind it, in one pass over an image's foreground: a patch's pooled values are
// a row of the dense layer's input, and meet their weights while the next patch is convolved.
//
// Weights are packed as in dense_packed.hpp. Most rows of the input equal its background a. With x_r = a + z_r, where
// only the foreground's rows have a z_r, and weights held as W_r = V_r + D, which share D and whose sum over all rows is
// S,
//
//   totals = biases + sum over r of  z_r V_r + (sum of z_r) D + a S
//
// and the update W_r -= learn_rate * x_r d_totals is
//
//   D -= learn_rate * a d_totals,   V_r -= learn_rate * z_r d_totals for r of the foreground
//   S -= learn_rate * (rows * a + sum of z_r) d_totals
//
// so that a step touches the foreground's rows alone. The gradient for a row is d_totals (V_r + D), and the sum over the
// background's rows is d_totals S less those of the foreground's.
#pragma once

#include "conv_pool.hpp"
#include "dense_packed.hpp"

namespace cnnx {
namespace {

// Calls body as for_wides does, with few constants: ten nodes, the article's, and what is left by twos and ones. Every
// target has the same groups, since a backward pass adds their nodes before it adds groups.
template <class T, class Body>
void for_few_wides(const DenseShape& s, Body&& body) {
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

// The filters of one row of lanes, in as many registers as it takes.
template <class T>
struct RowFilters {
  static constexpr int parts = Row<T>::count, lanes = Row<T>::lanes;
  using V = Vec<T, Row<T>::part_bytes>;
  V filter[parts][9], bias[parts];

  RowFilters(const T* packed, int padded) {
    for (int i = 0; i < parts; ++i) {
      for (int t = 0; t < 9; ++t) filter[i][t] = load<V>(packed + t * padded + i * lanes);
      bias[i] = load<V>(packed + 9 * padded + i * lanes);
    }
  }
};

// The totals of `count` Wides of nodes, which begin `first` numbers into a row of weights. The first of these sets the
// pooled values, and the others read them.
template <int count, bool keeps, Ties ties, class T>
void conv_pool_dense_forward_wides(T* totals, const Pooled<T>& pooled, const T* __restrict image,
                                   const T* __restrict filters, const Foreground& foreground, const T* __restrict packed,
                                   const T* biases, int nodes, int first, const ConvPoolShape& conv_shape,
                                   const DenseShape& dense_shape, bool careful) {
  const ConvPoolShape conv = conv_shape;
  const DenseShape s = dense_shape;
  const Foreground places = foreground;
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>;
  Wide<T> sum[count] = {};
  const auto add = [&](const Row<T>& row, const T* weights) __attribute__((always_inline)) {
    const auto both = widened(row);
    for (int j = 0; j < count; ++j) sum[j].add_product(both, Wide<T>::read(weights + j * lanes_of<T>));
  };
  constexpr Index kept_of_part = kept_count<typename RowFilters<T>::V, T>(ties);
  T* __restrict kept = keeps ? pooled.kept : nullptr;
  for (int block = 0; block < s.blocks(); ++block) {
    const RowFilters<T> f(filters + block * row_lanes, padded_channels<T>(conv.filters));
    const int channels = smaller(s.channels - block * row_lanes, row_lanes);
    const T* const weights = packed + first + block * s.packed_rows() * row_size;
    const auto pooled_row = [&](auto&& pixel, T* to_keep) __attribute__((always_inline)) {
      Row<T> largest;
      for (int i = 0; i < Row<T>::count; ++i) {
        typename RowFilters<T>::V output[4];
        convolve(output, f.filter[i], f.bias[i], pixel);
        largest.part[i] = pool(output, to_keep, ties, careful);
        if (to_keep != nullptr) to_keep += kept_of_part;
        if (conv.relu) largest.part[i] = relu(largest.part[i]);
      }
      if (careful) [[unlikely]] largest.keep_first(channels);  // an inf times a filter that does not exist
      return largest;
    };
    T* const background_at = pooled.background + block * row_lanes;
    T* const values = pooled.values + block * row_lanes;
    Row<T> background{}, excess{};
    if (first == 0) {
      if (places.count < s.rows)
        background = pooled_row([&](int, int) __attribute__((always_inline)) { return image[0]; }, nullptr);
      background.write(background_at);
    } else {
      background = Row<T>::read(background_at);
    }
    for (int k = 0; k < places.count; ++k) {
      const Index place = places.patch[k];
      Row<T> largest;
      if (first == 0) {
        const Patch patch(image, places, place, conv.width);
        largest = pooled_row([&](int y, int x) __attribute__((always_inline)) { return patch.row[y][x]; }, kept);
        if (keeps) kept += Row<T>::count * kept_of_part;
        largest.write(values + place * conv.stride);
      } else {
        largest = Row<T>::read(values + place * conv.stride);
      }
      const auto z = largest - background;
      excess += z;
      add(z, weights + place * row_size);
    }
    add(excess, weights + s.rows * row_size);
    add(background, weights + (s.rows + 1) * row_size);
  }
  finish_totals(totals, sum, biases, nodes);
}

template <class T>
void conv_pool_dense_forward(T* totals, const Pooled<T>& pooled, const T* image, const T* filters,
                             const Foreground& foreground, const T* packed, const T* biases, const ConvPoolShape& conv,
                             const DenseShape& s, bool careful) noexcept {
  for_few_wides<T>(s, [&](auto count, int nodes, int node) {
    const auto forward = pooled.kept == nullptr ? conv_pool_dense_forward_wides<count, false, Ties::all, T>
                         : conv.ties == Ties::all ? conv_pool_dense_forward_wides<count, true, Ties::all, T>
                                                  : conv_pool_dense_forward_wides<count, true, Ties::first, T>;
    forward(totals + node, pooled, image, filters, foreground, packed, biases + node, nodes, node * row_lanes, conv, s,
            careful);
  });
}

// Adds factor * (input's values) * d_totals to what is `changed`, the packed weights themselves or their gradient, for
// `count` Wides of nodes. The last of these has the whole gradient of the pooled values and sets the filters'; until
// then it is gathered in d_pooled.
template <int count, bool in_place, Ties ties, class T>
void conv_pool_dense_backward_wides(T* __restrict d_filters, T* __restrict d_pooled, T* __restrict changed,
                                    const T* __restrict packed, const T* d_totals, T factor, const Pooled<T>& pooled,
                                    const T* __restrict image, const Foreground& foreground, int nodes, int first,
                                    const ConvPoolShape& conv_shape, const DenseShape& dense_shape) {
  const ConvPoolShape conv = conv_shape;
  const DenseShape s = dense_shape;
  const Foreground places = foreground;
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>, block_size = s.packed_rows() * row_size;
  const Index shared = s.rows * row_size, sums = shared + row_size;
  const bool is_first = first == 0, is_last = first + count * lanes_of<T> == row_size;
  const T* __restrict kept = pooled.kept;
  changed += first;
  packed += first;
  const DenseStep<T, count> step(d_totals, factor, nodes);
  for (int block = 0; block < s.blocks(); ++block, changed += block_size, packed += block_size) {
    const T* const __restrict values = pooled.values + block * row_lanes;
    T* const __restrict d_values = d_pooled + block * row_lanes;
    T* const d_background = d_values + s.rows * conv.stride;
    const auto background = Row<T>::read(pooled.background + block * row_lanes);
    FiltersGradient<ties, typename RowFilters<T>::V> d_filter[Row<T>::count];
    const auto through_shared = step.through(in_place ? changed + shared : packed + shared);
    Row<T> excess{}, d_listed{};
    for (int k = 0; k < places.count; ++k) {
      const Index place = places.patch[k];
      const auto largest = Row<T>::read(values + place * conv.stride), z = largest - background;
      excess += z;
      auto d = step.template pass<in_place>(through_shared, z, changed + place * row_size, packed + place * row_size);
      d_listed += d;
      if (!is_first) d += Row<T>::read(d_values + place * conv.stride);
      if (!is_last) {
        d.write(d_values + place * conv.stride);
        continue;
      }
      const Patch patch(image, places, place, conv.width);
      for (int i = 0; i < Row<T>::count; ++i, kept += kept_count<typename RowFilters<T>::V, T>(ties))
        d_filter[i].add(patch, kept, largest.part[i],
                        conv.relu ? through_relu(d.part[i], largest.part[i]) : d.part[i], conv.bias);
    }
    step.template pass<in_place>({}, background, changed + shared, packed + shared);
    excess.add_product(Row<T>::all(static_cast<T>(s.rows)), background);
    auto d_rest = step.template pass<in_place>({}, excess, changed + sums, packed + sums) - d_listed;
    if (places.count == s.rows) d_rest = {};
    if (!is_first) d_rest += Row<T>::read(d_background);
    if (!is_last) {
      d_rest.write(d_background);
      continue;
    }
    for (int i = 0; i < Row<T>::count; ++i) {
      const auto rest = conv.relu ? through_relu(d_rest.part[i], background.part[i]) : d_rest.part[i];
      d_filter[i].template write<Tile<T, Row<T>::part_bytes, 1>>(d_filters + block * row_lanes + i * Row<T>::lanes, rest,
                                                                 places.count < s.rows ? image[0] : T{0}, 0, conv);
    }
  }
}

template <bool in_place, class T>
void conv_pool_dense_backward_rows(T* d_filters, T* d_pooled, T* changed, T* changed_biases, const T* packed,
                                   const T* d_totals, T factor, const Pooled<T>& pooled, const T* image,
                                   const Foreground& foreground, const ConvPoolShape& conv, const DenseShape& s) {
  for (int n = 0; n < s.nodes; ++n) changed_biases[n] += factor * d_totals[n];
  for_few_wides<T>(s, [&](auto count, int nodes, int node) {
    const auto backward = conv.ties == Ties::all ? conv_pool_dense_backward_wides<count, in_place, Ties::all, T>
                                                 : conv_pool_dense_backward_wides<count, in_place, Ties::first, T>;
    backward(d_filters, d_pooled, changed, packed, d_totals + node, factor, pooled, image, foreground, nodes,
             node * row_lanes, conv, s);
  });
}

template <class T>
void conv_pool_dense_backward_update(T* d_filters, T* d_pooled, T* packed, T* biases, const T* d_totals, T learn_rate,
                                     const Pooled<T>& pooled, const T* image, const Foreground& foreground,
                                     const ConvPoolShape& conv, const DenseShape& s) noexcept {
  conv_pool_dense_backward_rows<true>(d_filters, d_pooled, packed, biases, packed, d_totals, -learn_rate, pooled, image,
                                      foreground, conv, s);
}

template <class T>
void conv_pool_dense_backward(T* d_filters, T* d_pooled, T* d_packed, T* d_biases, const T* packed, const T* d_totals,
                              const Pooled<T>& pooled, const T* image, const Foreground& foreground,
                              const ConvPoolShape& conv, const DenseShape& s) noexcept {
  conv_pool_dense_backward_rows<false>(d_filters, d_pooled, d_packed, d_biases, packed, d_totals, T{1}, pooled, image,
                                       foreground, conv, s);
}

}  // namespace
}  // namespace cnnx
