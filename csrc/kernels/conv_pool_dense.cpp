// conv_pool.hpp with the dense layer right after it, in one pass over an image's foreground: a patch's pooled values
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

// A block of eight filters and, of the rows, their channels: the beginnings of what belongs to it.
template <class T>
struct Block {
  T *values, *background, *kept;
  Index weights;  // from the beginning of all weights
  int filters;

  Block(int block, const PooledImage<T>& pooled, const ConvPoolShape& conv, const DenseShape& s)
      : values(pooled.values + block * row_lanes),
        background(pooled.background + block * row_lanes),
        kept(pooled.kept != nullptr ? pooled.kept + kept_of(block * row_lanes, conv) : nullptr),
        weights(block * s.packed_rows() * Index{s.wides<T>()} * lanes_of<T>),
        filters(smaller(s.channels - block * row_lanes, row_lanes)) {}
};

// Whether a forward pass over a group of nodes finds the pooled values there or computes them, and what it keeps of
// them for the backward pass.
enum class Values { there, computed, kept_all, kept_first };

// Not inlined, so that pointers are in registers.
template <int count, Values from, class T>
[[gnu::noinline]] void forward_block(Wide<T> (&totals)[count], const Block<T>& block, const PooledImage<T>& pooled,
                                     const T* __restrict filters, const T* __restrict weights, bool folded,
                                     const ConvPoolShape& conv, const DenseShape& s) {
  using V = typename RowTile<T>::V;
  constexpr bool keeps = from == Values::kept_all || from == Values::kept_first;
  constexpr Ties ties = from == Values::kept_all ? Ties::all : Ties::first;
  const Patches patches(pooled, conv.width);
  const int* __restrict foreground = pooled.foreground, places = pooled.count;
  const T background_pixel = pooled.background_pixel;
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
  if constexpr (from == Values::there) {
    background = Row<T>::read(block.background);
  } else {
    for (int i = 0; i < Row<T>::count; ++i) {
      const T* const at = filters + i * RowTile<T>::lanes;
      for (int t = 0; t < 9; ++t) filter[i][t] = load<V>(at + t * padded);
      bias[i] = load<V>(at + 9 * padded);
      convolve(output, filter[i], bias[i], [&](int, int) { return background_pixel; });
      if (places < s.rows) background.part[i] = output[0];
    }
    background.write(block.background);
  }
  // A row meets its weights while the next patch is convolved: a CPU looks ahead no further than about a patch.
  Row<T> z = background;
  const T* at = weights + shared + row_size;
  for (int k = 0; k < places; ++k) {
    add(z, at);
    const Index place = foreground[k];
    Row<T> largest;
    if constexpr (from == Values::there) {
      largest = Row<T>::read(values + place * stride);
    } else {
      const Index first = patches.first_pixel[place];
      for (int i = 0; i < Row<T>::count; ++i) {
        convolve(output, filter[i], bias[i], [&](int y, int x) { return patches.row[y][first + x]; });
        largest.part[i] = pool(output);
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

// The pooled values by themselves. Lanes after the last filter hold what its padding gives, which is 0.
template <class T>
void compute_values(const PooledImage<T>& pooled, const T* filters, const ConvPoolShape& s) {
  for (int first = 0; first < s.filters; first += RowTile<T>::lanes)
    conv_pool_forward_tile<RowTile<T>>(pooled, pooled.kept != nullptr ? pooled.kept + kept_of(first, s) : nullptr,
                                       filters, first, RowTile<T>::lanes, s);
}

template <class T>
void conv_pool_dense_forward(T* totals, const PooledImage<T>& pooled, const T* filters, const T* packed,
                             const T* biases, bool folded, const ConvPoolShape& conv, const DenseShape& s) noexcept {
  // Filters and totals at once take more registers than most targets have.
  const bool there = native_bytes < 64 || conv.relu;
  if (there) compute_values(pooled, filters, conv);
  for_few_wides<T>(s, [&](auto count, int nodes, int node) {
    auto forward = forward_block<count, Values::there, T>;
    if constexpr (native_bytes == 64)
      if (!there && node == 0)
        forward = pooled.kept == nullptr   ? forward_block<count, Values::computed, T>
                  : conv.ties == Ties::all ? forward_block<count, Values::kept_all, T>
                                           : forward_block<count, Values::kept_first, T>;
    Wide<T> sum[count] = {};
    for (int i = 0; i < s.blocks(); ++i) {
      const Block block(i, pooled, conv, s);
      forward(sum, block, pooled, filters + i * row_lanes, packed + block.weights + node * row_lanes, folded, conv, s);
    }
    finish_totals(totals + node, sum, biases + node, nodes);
  });
}

// Where the gradients of a block of filters and a group of nodes go.
template <class T>
struct Gradients {
  T *d_filters, *d_pooled;
  T* changed;        // the weights themselves, or their gradient
  const T* weights;  // the same, or the weights
  bool is_first;     // of the groups of nodes: d_pooled holds nothing yet
};

// The last group of nodes completes d_pooled and goes on to the filters, under the pooling's rule for ties.
enum class Filters { later, ties_all, ties_first };

template <int count, bool in_place, Filters filters, class T>
[[gnu::noinline]] void backward_block(const Gradients<T>& to, const DenseStep<T, count>& whole_step,
                                      const Block<T>& block, const PooledImage<T>& pooled, const ConvPoolShape& conv,
                                      const DenseShape& s) {
  using V = typename RowTile<T>::V;
  constexpr Ties ties = filters == Filters::ties_all ? Ties::all : Ties::first;
  const Patches patches(pooled, conv.width);
  const int* __restrict foreground = pooled.foreground, places = pooled.count;
  const Index row_size = Index{s.wides<T>()} * lanes_of<T>, stride = conv.stride;
  const Index part_size = kept_of(RowTile<T>::lanes, conv), shared = s.rows * row_size, sums = shared + row_size;
  const bool relu = conv.relu, is_first = to.is_first;
  T* __restrict d_pooled = to.d_pooled, * __restrict changed = to.changed;
  const T* __restrict weights = to.weights, * __restrict values = block.values, * __restrict kept = block.kept;
  const auto step = whole_step;
  const auto background = Row<T>::read(block.background);
  const auto through_shared = step.through((in_place ? changed : weights) + shared);
  FiltersGradient<ties, V> d_filter[Row<T>::count];
  Row<T> excess{}, d_listed{};
  kept += Index{places} * kept_count<V, T>(ties);
  for (int k = places; k-- > 0;) {  // backwards: what the forward pass used last is still in L1
    const Index place = foreground[k];
    const auto largest = Row<T>::read(values + place * stride), z = largest - background;
    excess += z;
    auto d = step.template pass<in_place>(through_shared, z, changed + place * row_size, weights + place * row_size);
    d_listed += d;
    if (!is_first) d += Row<T>::read(d_pooled + place * stride);
    if constexpr (filters == Filters::later) {
      d.write(d_pooled + place * stride);
    } else {
      kept -= kept_count<V, T>(ties);
      const Index first = patches.first_pixel[place];
      for (int i = 0; i < Row<T>::count; ++i)
        d_filter[i].add(patches, first, kept + i * part_size, largest.part[i],
                        relu ? through_relu(d.part[i], largest.part[i]) : d.part[i]);
    }
  }
  step.template pass<in_place>({}, background, changed + shared, weights + shared);
  excess.add_product(Row<T>::all(static_cast<T>(s.rows)), background);
  auto d_rest = step.template pass<in_place>({}, excess, changed + sums, weights + sums) - d_listed;
  T* const d_background = d_pooled + s.rows * stride;
  if (!is_first) d_rest += Row<T>::read(d_background);
  if constexpr (filters == Filters::later) {
    d_rest.write(d_background);
  } else {
    for (int i = 0; i < Row<T>::count; ++i) {
      const auto rest = relu ? through_relu(d_rest.part[i], background.part[i]) : d_rest.part[i];
      const int first = i * RowTile<T>::lanes, there = smaller(block.filters - first, RowTile<T>::lanes);
      T* const d_filters = to.d_filters + first;
      const T pixel = places < s.rows ? pooled.background_pixel : T{0};  // or d_rest's rounding would count
      if (there == RowTile<T>::lanes)
        d_filter[i].template write<RowTile<T>>(d_filters, rest, pixel, there, conv);
      else if (there > 0)
        d_filter[i].template write<PartialRowTile<T>>(d_filters, rest, pixel, there, conv);
    }
  }
}

// Adds factor * (input's values) * d_totals to what is changed.
template <bool in_place, class T>
void backward_rows(const Gradients<T>& to, T* changed_biases, const T* d_totals, T factor, const PooledImage<T>& pooled,
                   const ConvPoolShape& conv, const DenseShape& s) {
  for (int n = 0; n < s.nodes; ++n) changed_biases[n] = fused(factor, d_totals[n], changed_biases[n]);
  for_few_wides<T>(s, [&](auto count, int nodes, int node) {
    auto backward = backward_block<count, in_place, Filters::later, T>;
    if (node + nodes == s.nodes)
      backward = conv.ties == Ties::all ? backward_block<count, in_place, Filters::ties_all, T>
                                        : backward_block<count, in_place, Filters::ties_first, T>;
    const DenseStep<T, count> step(d_totals + node, factor, nodes);
    for (int i = 0; i < s.blocks(); ++i) {
      const Block block(i, pooled, conv, s);
      const Index channel = i * row_lanes, at = block.weights + node * row_lanes;
      backward({to.d_filters + channel, to.d_pooled + channel, to.changed + at, to.weights + at, node == 0}, step,
               block, pooled, conv, s);
    }
  });
}

template <class T>
void conv_pool_dense_backward_update(T* d_filters, T* d_pooled, T* packed, T* biases, const T* d_totals, T learn_rate,
                                     const PooledImage<T>& pooled, const ConvPoolShape& conv,
                                     const DenseShape& s) noexcept {
  backward_rows<true>({d_filters, d_pooled, packed, packed, true}, biases, d_totals, -learn_rate, pooled, conv, s);
}

template <class T>
void conv_pool_dense_backward(T* d_filters, T* d_pooled, T* d_packed, T* d_biases, const T* packed, const T* d_totals,
                              const PooledImage<T>& pooled, const ConvPoolShape& conv, const DenseShape& s) noexcept {
  backward_rows<false>({d_filters, d_pooled, d_packed, packed, true}, d_biases, d_totals, T{1}, pooled, conv, s);
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
