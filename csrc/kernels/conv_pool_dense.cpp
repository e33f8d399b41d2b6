// conv_pool.hpp with the dense layer right behind it, in one pass over an image's foreground: a patch's pooled values
// are a row of the dense layer's input, and meet their weights while the next patch is convolved.
//
// Weights are packed as in dense_packed.hpp. Most rows of the input equal its background a. With x_r = a + z_r, where
// only the foreground's rows have a z_r, and weights held as W_r = V_r + D, which share D and whose sum over all rows
// is S,
//
//   totals = biases + a S + sum over r of  z_r V_r + (sum of z_r) D
//
// and the update W_r -= learn_rate * x_r d_totals is
//
//   D -= learn_rate * a d_totals,   V_r -= learn_rate * z_r d_totals for r of the foreground
//   S -= learn_rate * (rows * a + sum of z_r) d_totals
//
// so that a step touches the foreground's rows alone. The gradient for a row is d_totals (V_r + D), and the sum over
// the background's rows is d_totals S less those of the foreground's.
#include "conv_pool.hpp"
#include "dense_packed.hpp"
#include "target.hpp"

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

// A register's worth of a row of lanes: the tile of filters that the convolution works on here.
template <class T>
using RowTile = Tile<T, Row<T>::part_bytes, 1>;
template <class T>
using PartialRowTile = Tile<T, Row<T>::part_bytes, 1, true>;

// Where what is kept of its filters begins.
inline Index kept_of(int first_filter, const ConvPoolShape& s) {
  return Index{4} * first_filter * s.patches();
}

// A block of filters, and of the rows: where what belongs to it begins, and how far from the weights' beginning.
template <class T>
struct Block {
  T *values, *background, *kept;
  Index weights;
  int filters;

  Block(int block, const Pooled<T>& pooled, const ConvPoolShape& conv, const DenseShape& s)
      : values(pooled.values + block * row_lanes),
        background(pooled.background + block * row_lanes),
        kept(pooled.kept != nullptr ? pooled.kept + kept_of(block * row_lanes, conv) : nullptr),
        weights(block * s.packed_rows() * Index{s.wides<T>()} * lanes_of<T>),
        filters(smaller(s.channels - block * row_lanes, row_lanes)) {}
};

// Where rows of pooled values come from: they are there, or they are computed, and what the backward pass needs is
// kept.
enum class Rows { there, computed, computed_ties_all, computed_ties_first };

// Not inlined, so that pointers are in registers.
template <int count, Rows from, class T>
[[gnu::noinline]] void conv_pool_dense_forward_block(Wide<T> (&totals)[count], const Block<T>& block,
                                                     const T* __restrict image, const T* __restrict filters,
                                                     const Foreground& foreground, const T* __restrict weights,
                                                     bool folded, const ConvPoolShape& conv, const DenseShape& s) {
  using V = typename RowTile<T>::V;
  constexpr bool keeps = from == Rows::computed_ties_all || from == Rows::computed_ties_first;
  constexpr Ties ties = from == Rows::computed_ties_all ? Ties::all : Ties::first;
  const Foreground places = foreground;
  const Patches patches(image, places, conv.width);
  const int padded = padded_channels<T>(conv.filters);
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>, stride = conv.stride;
  const Index part_size = kept_of(RowTile<T>::lanes, conv), shared = s.rows * row_size;
  T* __restrict values = block.values, * __restrict kept = block.kept;
  Wide<T> sum[count];
  for (int j = 0; j < count; ++j) sum[j] = totals[j];
  const auto add = [&](const Row<T>& row, const T* at) __attribute__((always_inline)) {
    const auto both = widened(row);
    for (int j = 0; j < count; ++j) sum[j].add_product(both, Wide<T>::read(at + j * lanes_of<T>));
  };

  V filter[Row<T>::count][9], bias[Row<T>::count], output[4];
  Row<T> background{}, excess{};
  if constexpr (from == Rows::there) {
    background = Row<T>::read(block.background);
  } else {
    for (int i = 0; i < Row<T>::count; ++i) {
      const T* const at = filters + i * RowTile<T>::lanes;
      for (int t = 0; t < 9; ++t) filter[i][t] = load<V>(at + t * padded);
      bias[i] = load<V>(at + 9 * padded);
      convolve(output, filter[i], bias[i], [&](int, int) { return image[0]; });
      if (places.count < s.rows) background.part[i] = output[0];
    }
    background.write(block.background);
  }
  // A row meets its weights while the next patch is convolved: a CPU looks ahead no further than about a patch.
  Row<T> z = background;
  const T* at = weights + shared + row_size;
  for (int k = 0; k < places.count; ++k) {
    add(z, at);
    const Index place = places.patch[k];
    Row<T> largest;
    if constexpr (from == Rows::there) {
      largest = Row<T>::read(values + place * stride);
    } else {
      const Index first = patches.first_pixel[place];
      for (int i = 0; i < Row<T>::count; ++i) {
        convolve(output, filter[i], bias[i], [&](int y, int x) { return patches.row[y][first + x]; });
        largest.part[i] = pool(output, false);
        if constexpr (keeps) keep(kept + i * part_size, output, ties);
      }
      if constexpr (keeps) kept += kept_count<V, T>(ties);
      largest.write(values + place * stride);
    }
    z = largest - background;
    excess += z;
    at = weights + place * row_size;
  }
  add(z, at);
  if (!folded) add(excess, weights + shared);
  for (int j = 0; j < count; ++j) totals[j] = sum[j];
}

// The pooled values by themselves.
template <class T>
void compute_rows(const Pooled<T>& pooled, const T* image, const T* filters, const Foreground& foreground,
                  const ConvPoolShape& s, bool careful) {
  constexpr int lanes = RowTile<T>::lanes;
  for (int first = 0; first < s.filters; first += lanes) {
    const int count = smaller(s.filters - first, lanes);
    // An inf times a filter that does not exist would be a NaN.
    const auto forward =
        careful && count < lanes ? conv_pool_forward_tile<PartialRowTile<T>, T> : conv_pool_forward_tile<RowTile<T>, T>;
    forward(pooled.values + first, pooled.background + first,
            pooled.kept != nullptr ? pooled.kept + kept_of(first, s) : nullptr, image, filters + first, foreground,
            count, s, careful);
  }
}

template <class T>
void conv_pool_dense_forward(T* totals, const Pooled<T>& pooled, const T* image, const T* filters,
                             const Foreground& foreground, const T* packed, const T* biases, bool folded,
                             const ConvPoolShape& conv, const DenseShape& s, bool careful) noexcept {
  // Filters and totals at once take more registers than most targets have.
  const bool there = native_bytes < 64 || careful || conv.relu;
  if (there) compute_rows(pooled, image, filters, foreground, conv, careful);
  for_few_wides<T>(s, [&](auto count, int nodes, int node) {
    auto forward = conv_pool_dense_forward_block<count, Rows::there, T>;
    if constexpr (native_bytes == 64)
      if (!there && node == 0)
        forward = pooled.kept == nullptr   ? conv_pool_dense_forward_block<count, Rows::computed, T>
                  : conv.ties == Ties::all ? conv_pool_dense_forward_block<count, Rows::computed_ties_all, T>
                                           : conv_pool_dense_forward_block<count, Rows::computed_ties_first, T>;
    Wide<T> sum[count] = {};
    for (int i = 0; i < s.blocks(); ++i) {
      const Block block(i, pooled, conv, s);
      forward(sum, block, image, filters + i * row_lanes, foreground, packed + block.weights + node * row_lanes, folded,
              conv, s);
    }
    finish_totals(totals + node, sum, biases + node, nodes);
  });
}

// Adds what d_totals make of a block's rows to what is changed, and gathers the gradient of the pooled values. The last
// nodes have all of it, and set the filters'.
template <int count, bool in_place, bool is_last, Ties ties, class T>
[[gnu::noinline]] void conv_pool_dense_backward_block(T* __restrict d_filters, T* __restrict d_pooled,
                                                      T* __restrict changed, const T* __restrict weights,
                                                      const DenseStep<T, count>& whole_step, bool is_first,
                                                      const Block<T>& block, const T* __restrict image,
                                                      const Foreground& foreground, const ConvPoolShape& conv,
                                                      const DenseShape& s) {
  using V = typename RowTile<T>::V;
  const Foreground places = foreground;
  const Patches patches(image, places, conv.width);
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>, stride = conv.stride;
  const Index part_size = kept_of(RowTile<T>::lanes, conv), shared = s.rows * row_size, sums = shared + row_size;
  const bool relu = !in_place && conv.relu;  // no update in place has any
  const T* __restrict values = block.values, * __restrict kept = block.kept;
  const auto step = whole_step;
  const auto background = Row<T>::read(block.background);
  const auto through_shared = step.through((in_place ? changed : weights) + shared);
  FiltersGradient<ties, V> d_filter[Row<T>::count];
  Row<T> excess{}, d_listed{};
  kept += Index{places.count} * kept_count<V, T>(ties);
  for (int k = places.count; k-- > 0;) {
    const Index place = places.patch[k];
    const auto largest = Row<T>::read(values + place * stride), z = largest - background;
    excess += z;
    auto d = step.template pass<in_place>(through_shared, z, changed + place * row_size, weights + place * row_size);
    d_listed += d;
    if (!is_first) d += Row<T>::read(d_pooled + place * stride);
    if constexpr (is_last) {
      kept -= kept_count<V, T>(ties);
      const Index first = patches.first_pixel[place];
      for (int i = 0; i < Row<T>::count; ++i)
        d_filter[i].add(patches, first, kept + i * part_size, largest.part[i],
                        relu ? through_relu(d.part[i], largest.part[i]) : d.part[i]);
    } else {
      d.write(d_pooled + place * stride);
    }
  }
  step.template pass<in_place>({}, background, changed + shared, weights + shared);
  excess.add_product(Row<T>::all(static_cast<T>(s.rows)), background);
  auto d_rest = step.template pass<in_place>({}, excess, changed + sums, weights + sums) - d_listed;
  T* const d_background = d_pooled + s.rows * stride;
  if (!is_first) d_rest += Row<T>::read(d_background);
  if constexpr (is_last) {
    for (int i = 0; i < Row<T>::count; ++i) {
      const auto rest = relu ? through_relu(d_rest.part[i], background.part[i]) : d_rest.part[i];
      const int first = i * RowTile<T>::lanes, filters = smaller(block.filters - first, RowTile<T>::lanes);
      const T pixel = places.count < s.rows ? image[0] : T{0};
      // What pads the filters stays 0, and so does what pads the rows: an inf times no gradient would be a NaN.
      if (filters == RowTile<T>::lanes)
        d_filter[i].template write<RowTile<T>>(d_filters + first, rest, pixel, filters, conv);
      else if (filters > 0)
        d_filter[i].template write<PartialRowTile<T>>(d_filters + first, rest, pixel, filters, conv);
    }
  } else {
    d_rest.write(d_background);
  }
}

// Adds factor * (input's values) * d_totals to what is `changed`, the packed weights themselves or their gradient.
template <bool in_place, class T>
void conv_pool_dense_backward_rows(T* d_filters, T* d_pooled, T* changed, T* changed_biases, const T* packed,
                                   const T* d_totals, T factor, const Pooled<T>& pooled, const T* image,
                                   const Foreground& foreground, const ConvPoolShape& conv, const DenseShape& s) {
  for (int n = 0; n < s.nodes; ++n) changed_biases[n] = fused(factor, d_totals[n], changed_biases[n]);
  for_few_wides<T>(s, [&](auto count, int nodes, int node) {
    auto backward = conv_pool_dense_backward_block<count, in_place, false, Ties::all, T>;
    if (node + nodes == s.nodes)
      backward = conv.ties == Ties::all ? conv_pool_dense_backward_block<count, in_place, true, Ties::all, T>
                                        : conv_pool_dense_backward_block<count, in_place, true, Ties::first, T>;
    const DenseStep<T, count> step(d_totals + node, factor, nodes);
    for (int i = 0; i < s.blocks(); ++i) {
      const Block block(i, pooled, conv, s);
      const Index at = block.weights + node * row_lanes;
      backward(d_filters + i * row_lanes, d_pooled + i * row_lanes, changed + at, packed + at, step, node == 0, block,
               image, foreground, conv, s);
    }
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

template <class T>
void enter(Kernels<T>& k) {
  k.conv_pool_dense_forward = conv_pool_dense_forward<T>;
  k.conv_pool_dense_backward_update = conv_pool_dense_backward_update<T>;
  k.conv_pool_dense_backward = conv_pool_dense_backward<T>;
}

}  // namespace

void CNNX_TARGET::fill_conv_pool_dense(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  enter(float64);
}

}  // namespace cnnx
