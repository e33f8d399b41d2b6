// Conv3x3, MaxPool2 and a dense layer in one pass over an image's foreground; conv_pool.hpp has the first two. The
// pooled values of patch r are row r of the dense layer's input, x_r. Weights are packed as in dense_packed.hpp.
//
// Every background row of the input equals the background a. So let x_r = a + z_r, where z_r is 0 for background rows,
// and W_r = V_r + D, where all rows share D. Let S be the sum of W_r over all rows. Then
//
//   totals = biases + a S + sum over r of  z_r V_r + (sum over r of z_r) D
//
// and the update W_r -= learn_rate * x_r d_totals becomes
//
//   D -= learn_rate * a d_totals,   V_r -= learn_rate * z_r d_totals for foreground rows r
//   S -= learn_rate * (rows * a + sum over r of z_r) d_totals
//
// so a step reads and writes only the foreground's rows, D and S. The gradient of row r is d_totals (V_r + D). The
// gradients of all background rows sum to d_totals S minus the gradients of the foreground's rows.
//
// If there are many weights, a step on an image without a background defers its update of V. It keeps z' = z and
// c = -learn_rate * d_totals, and the next step adds both updates while it has V_r in registers. Its forward pass reads
// the old V_r, so
//
//   totals += (sum over r of  z_r . z'_r) c
#include "conv_plane.hpp"
#include "dense_packed.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

// Whether filters and nodes fit into the registers together. If not, each has a pass of its own.
inline constexpr bool has_many_registers = native_bytes == 64;

template <class T>
using PartialRowTile = Tile<T, Row<T>::part_bytes, 1, true>;

// Where the kept values of a tile begin.
inline Index kept_of(int first_filter, const ConvPoolShape& s) {
  return Index{4} * first_filter * s.patches();
}

// A block of eight filters, which are eight channels of each row, or after the last block a plane: where its values
// begin, the rows that are not background, and its first row in the packed weights of a group of nodes.
template <class T>
struct Block {
  T *values, *background, *kept, *d_pooled;
  int first_filter, filters, rows, count;
  const int* listed;
  Index stride, first_row;

  // Not inlined: its callers are many.
  [[gnu::noinline]] Block(int block, const PooledImage<T>& pooled, T* d_pooled_values, const ConvPoolShape& conv,
                          const DenseShape& s)
      : values(pooled.values + block * row_lanes),
        background(pooled.background + block * row_lanes),
        kept(pooled.kept != nullptr ? pooled.kept + kept_of(block * row_lanes, conv) : nullptr),
        d_pooled(d_pooled_values + block * row_lanes),
        first_filter(block * row_lanes),
        filters(smaller(s.channels - block * row_lanes, row_lanes)),
        rows(s.rows),
        count(pooled.count),
        listed(pooled.foreground),
        stride(conv.stride),
        first_row(Index{block} * s.packed_rows()) {
    const int number = block - s.blocks();
    if (number < 0) return;
    const Plane<T> plane(number, pooled, s);
    values = plane.values, background = pooled.planes + s.planes_size() - row_lanes, d_pooled = plane.d_pooled;
    first_row -= number * (s.packed_rows() - s.plane_rows - 2);
    rows = count = s.plane_rows, listed = pooled.in_order, stride = row_lanes;
  }
};

// Adds a block's pooled values times their weights to a group's sums. Not inlined, so that pointers are in registers.
template <int count, class T>
[[gnu::noinline]] void forward_rows(Wide<T>* sums, const Block<T>& block, const T* __restrict weights, bool folded) {
  constexpr Index row_size = Index{count} * lanes_of<T>;
  const int* __restrict foreground = block.listed, places = block.count;
  const Index stride = block.stride, shared = block.rows * row_size;
  const T* __restrict values = block.values;
  const auto background = Row<T>::read(block.background);
  NodeSums<T, count> nodes(sums);
  Row<T> excess{};
  nodes.add(background, weights + shared + row_size);
  for (int k = 0; k < places; ++k) {
    const Index place = foreground[k];
    const auto z = Row<T>::read(values + place * stride) - background;
    excess += z;
    const T* at = weights + place * row_size;
    hide_pointer(at);
    nodes.add(z, at);
  }
  if (!folded) nodes.add(excess, weights + shared);
  nodes.write(sums);
}

// Computes the pooled values of a block's filters. The padding of packed filters is 0, so lanes after the last filter
// become 0, too.
template <class T>
[[gnu::noinline]] void compute_values(const Block<T>& block, const PooledImage<T>& pooled, const T* filters,
                                      const ConvPoolShape& s) {
  for (int i = 0; i < Row<T>::count; ++i) {
    const int first = block.first_filter + i * RowTile<T>::lanes;
    T* const kept = pooled.kept != nullptr ? pooled.kept + kept_of(first, s) : nullptr;
    conv_pool_forward_tile<RowTile<T>>(pooled, kept, filters, first, RowTile<T>::lanes, s);
  }
}

// compute_values and forward_rows in one pass. A row is multiplied with its weights while the next patch is convolved,
// because a CPU looks ahead no further than about one patch. If `keeps`, it keeps what the rule `ties` needs.
template <int count, bool keeps, Ties ties, class T>
[[gnu::noinline]] void forward_at_once(Wide<T>* sums, const Block<T>& block, const PooledImage<T>& pooled,
                                       const T* __restrict filters, const T* __restrict weights, bool folded,
                                       const ConvPoolShape& conv, const DenseShape& s) {
  using V = typename RowTile<T>::V;
  const Patches patches(pooled, conv.width);
  const int* __restrict foreground = pooled.foreground, places = pooled.count;
  const T background_pixel = pooled.background_pixel;
  const int padded = padded_channels<T>(conv.filters);
  constexpr Index row_size = Index{count} * lanes_of<T>;
  const Index stride = conv.stride, part_size = kept_of(RowTile<T>::lanes, conv), shared = s.rows * row_size;
  T* __restrict values = block.values, * __restrict kept = block.kept;
  NodeSums<T, count> nodes(sums);
  V filter[Row<T>::count][9], bias[Row<T>::count], output[4];
  Row<T> background{}, excess{};
  for (int i = 0; i < Row<T>::count; ++i) {
    const T* const at = filters + i * RowTile<T>::lanes;
    for (int t = 0; t < 9; ++t) filter[i][t] = load<V>(at + t * padded);
    bias[i] = load<V>(at + 9 * padded);
    convolve(output, filter[i], bias[i], [&](int, int) { return background_pixel; });
    if (places < s.rows) background.part[i] = output[0];
  }
  background.write(block.background);
  Row<T> z = background;
  const T* at = weights + shared + row_size;
  for (int k = 0; k < places; ++k) {
    nodes.add(z, at);
    const Index place = foreground[k], first = patches.first_pixel[place];
    Row<T> largest;
    for (int i = 0; i < Row<T>::count; ++i) {
      convolve(output, filter[i], bias[i], [&](int y, int x) { return patches.row[y][first + x]; });
      largest.part[i] = pool(output);
      if constexpr (keeps) keep(kept + i * part_size, output, ties);
    }
    if constexpr (keeps) kept += kept_count<V, T>(ties);
    largest.write(values + place * stride);
    z = largest - background;
    excess += z;
    at = weights + place * row_size;
  }
  nodes.add(z, at);
  if (!folded) nodes.add(excess, weights + shared);
  nodes.write(sums);
}

// Adds what the totals lack because of a deferred update. Four sums, because each addition waits for the one before.
template <class T>
[[gnu::noinline]] void add_deferred(T* totals, const Deferred<const T>& deferred, const PooledImage<T>& pooled,
                                    const ConvPoolShape& conv, const DenseShape& s) {
  Row<T> sum[4] = {};
  for (int i = 0; i < s.blocks() + s.planes; ++i) {
    const Block<T> block(i, pooled, nullptr, conv, s);
    const auto background = Row<T>::read(block.background);
    const T* const inputs = deferred.inputs + block.first_row * row_lanes;
    const auto add = [&](Row<T>& to, int k) __attribute__((always_inline)) {
      const Index place = block.listed[k];
      to.add_product(Row<T>::read(block.values + place * block.stride) - background,
                     Row<T>::read(inputs + place * row_lanes));
    };
    int k = 0;
    for (; k + 4 <= block.count; k += 4)
      for (int of_four = 0; of_four < 4; ++of_four) add(sum[of_four], k + of_four);
    for (; k < block.count; ++k) add(sum[0], k);
  }
  sum[0] += sum[2], sum[1] += sum[3], sum[0] += sum[1];
  T lane[row_lanes];
  sum[0].write(lane);
  for (int half = row_lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  // Where c is 0, V has not changed, even if the sum is infinite.
  for (int n = 0; n < s.nodes; ++n)
    if (deferred.step[n] != 0) totals[n] = fused(lane[0], deferred.step[n], totals[n]);
}

template <class T>
void conv_pool_dense_forward(T* totals, const PooledImage<T>& pooled, const T* filters, const T* packed,
                             const T* biases, bool folded, const ConvPoolShape& conv, const DenseShape& s) noexcept {
  planes_forward(pooled, filters, conv, s);
  using Sizes = Groups<T, true>;
  for_groups<T, true>(s, [&](int wides, int nodes, int node) {
    Wide<T> sums[Sizes::most] = {};
    const auto layout = group_layout<T>(s, node, wides);
    for (int i = 0; i < s.blocks() + s.planes; ++i) {
      // Planes have sums of their own, so that dense_forward can add them after the blocks.
      if (i == s.blocks()) {
        finish_totals(totals + node, sums, biases + node, nodes);
        for (auto& sum : sums) sum = {};
      }
      const Block<T> block(i, pooled, nullptr, conv, s);
      const T* const weights = packed + layout.begin + block.first_row * layout.row;
      const bool has_values = node > 0 || i >= s.blocks();
      if constexpr (has_many_registers) {
        if (!has_values && !conv.relu) {
          Sizes::with_constant(wides, [&](auto count) {
            const auto forward = pooled.kept == nullptr   ? forward_at_once<count, false, Ties::all, T>
                                 : conv.ties == Ties::all ? forward_at_once<count, true, Ties::all, T>
                                                          : forward_at_once<count, true, Ties::first, T>;
            forward(sums, block, pooled, filters + block.first_filter, weights, folded, conv, s);
          });
          continue;
        }
      }
      if (!has_values) compute_values(block, pooled, filters, conv);
      Sizes::with_constant(wides, [&](auto count) { forward_rows<count>(sums, block, weights, folded); });
    }
    finish_totals(totals + node, sums, (s.planes > 0 ? totals : biases) + node, nodes);
  });
  if constexpr (can_defer<T>) {
    const Deferred<const T> deferred(packed, s);
    if (deferred.is_pending()) add_deferred(totals, deferred, pooled, conv, s);
  }
}

// What a backward pass does with the weights: it adds to their gradient, or updates them alone, or is the first of two
// steps and defers its update, or is the second and adds both.
enum class Change { gradient, alone, first, second };

// Where the gradients of a block of filters and of a group of nodes are written.
template <class T>
struct Gradients {
  T *filters, *changed;  // filters and weights, for an update in place, or else their gradients
  T* d_pooled;
  const T* weights;
  bool is_first;  // whether no group of nodes came before, so that d_pooled holds nothing yet
  // In the second step: z' of the block's rows, and c of the group's nodes.
  const T* earlier_inputs = nullptr;
  const Wide<T>* earlier_step = nullptr;
};

// The gradient of a block's filters, in as many parts as a Row has.
template <class T>
struct BlockGradient {
  FiltersGradient<typename RowTile<T>::V> part[Row<T>::count];

  // d_background is that of all filters. Not inlined: its callers are many, and it is called once a block.
  [[gnu::noinline]] void add_to(T* to, const Block<T>& block, const T* d_background, const PooledImage<T>& pooled,
                                const ConvPoolShape& conv) const {
    for (int i = 0; i < Row<T>::count; ++i) {
      const int first = i * RowTile<T>::lanes, filters = smaller(block.filters - first, RowTile<T>::lanes);
      const int first_filter = block.first_filter + first;
      if (filters == RowTile<T>::lanes)
        part[i].template write<RowTile<T>, true>(to, d_background, pooled, first_filter, filters, conv);
      else if (filters > 0)
        part[i].template write<PartialRowTile<T>, true>(to, d_background, pooled, first_filter, filters, conv);
    }
  }
};

// The backward pass through a group of nodes, to the gradient of the pooled values. With `at_once`, which takes many
// registers, it continues to the filters' gradient.
template <int count, Change change, bool at_once, Ties ties, class T>
[[gnu::noinline]] void backward_rows(BlockGradient<T>& d_filters, const Gradients<T>& to, const Wide<T>* d_totals,
                                     const Block<T>& block, const PooledImage<T>& pooled, const ConvPoolShape& conv) {
  using V = typename RowTile<T>::V;
  constexpr bool in_place = change != Change::gradient;
  const DenseStep<T, count> step(d_totals);
  const Patches patches(pooled, conv.width);
  const int* __restrict foreground = block.listed, places = block.count, rows = block.rows;
  constexpr Index row_size = Index{count} * lanes_of<T>;
  const Index stride = block.stride, part_size = kept_of(RowTile<T>::lanes, conv);
  const Index shared = rows * row_size, sums = shared + row_size;
  const bool relu = conv.relu, is_first = to.is_first;
  const bool few_ties = has_few_ties(pooled, block.first_filter + row_lanes, conv);
  T* __restrict d_pooled = to.d_pooled, * __restrict changed = to.changed;
  const T* __restrict weights = to.weights, * __restrict values = block.values, * __restrict kept = block.kept;
  const T* __restrict earlier_inputs = to.earlier_inputs;
  const Wide<T>* __restrict earlier_step = to.earlier_step;
  const auto background = Row<T>::read(block.background);
  const auto through_shared = step.through((in_place ? changed : weights) + shared);
  BlockGradient<T> d_filter;
  Row<T> excess{}, d_listed{};
  // With ties="all" a patch adds its share of the filters' gradient while the next one goes through the weights,
  // because a CPU looks ahead no further than about one patch. With "first" it always has a quarter of the products.
  constexpr bool later = ties == Ties::all;
  Row<T> d_patch{}, largest_patch{};  // the first patch adds zeros for the one before it
  Index patch = places > 0 ? patches.first_pixel[foreground[places - 1]] : 0;
  kept += (places - 1) * kept_count<V, T>(ties);
  const auto add_patch = [&]() __attribute__((always_inline)) {
    for (int i = 0; i < Row<T>::count; ++i)
      d_filter.part[i].bias += d_filter.part[i].template add<ties>(patches, patch, kept + i * part_size,
                                                                   largest_patch.part[i], d_patch.part[i], few_ties);
  };
  for (int k = places; k-- > 0;) {  // last to first: what the forward pass used last is still in L1
    const Index place = foreground[k];
    const auto largest = Row<T>::read(values + place * stride), z = largest - background;
    excess += z;
    Row<T> d;
    if constexpr (change == Change::first)
      d = folded(step.through(changed + place * row_size, through_shared));
    else if constexpr (change == Change::second)
      d = step.pass_after(Row<T>::read(earlier_inputs + place * row_lanes), earlier_step, through_shared, z,
                          changed + place * row_size);
    else
      d = step.template pass<in_place>(through_shared, z, changed + place * row_size, weights + place * row_size);
    d_listed += d;
    if (!is_first) d += Row<T>::read(d_pooled + place * stride);
    if constexpr (!at_once) {
      d.write(d_pooled + place * stride);
    } else {
      if constexpr (later) add_patch();
      if (k + 1 < places) kept -= kept_count<V, T>(ties);
      patch = patches.first_pixel[place];
      largest_patch = largest;
      for (int i = 0; i < Row<T>::count; ++i)
        d_patch.part[i] = relu ? through_relu(d.part[i], largest.part[i]) : d.part[i];
      if constexpr (!later) add_patch();
    }
  }
  if constexpr (at_once) {
    if (later && places > 0) add_patch();
    d_filters = d_filter;
  }
  step.template pass<in_place>({}, background, changed + shared, weights + shared);
  excess.add_product(Row<T>::all(static_cast<T>(rows)), background);
  auto d_rest = step.template pass<in_place>({}, excess, changed + sums, weights + sums) - d_listed;
  T* const d_background = d_pooled + rows * stride;
  if (!is_first) d_rest += Row<T>::read(d_background);
  d_rest.write(d_background);
}

// The same for the group of nodes that comes last. It completes d_pooled, so it always continues to the filters'
// gradient.
template <Change change, Ties ties, class T>
void backward_to_filters(const Gradients<T>& to, const Wide<T>* d_totals, int wides, const Block<T>& block,
                         const PooledImage<T>& pooled, const ConvPoolShape& conv, const DenseShape& s) {
  BlockGradient<T> d_filters;
  // With a Lookup, pixels need few registers.
  constexpr bool at_once = has_many_registers || (ties == Ties::first && Lookup<typename RowTile<T>::V>::exists);
  const auto go_back = [&](auto count) {
    backward_rows<count, change, at_once, at_once ? ties : Ties::all>(d_filters, to, d_totals, block, pooled, conv);
  };
  // Layers that defer updates have several groups of nodes, of which this one is whole.
  if constexpr (change == Change::first || change == Change::second)
    go_back(std::integral_constant<int, Groups<T, true>::most>{});
  else
    Groups<T, true>::with_constant(wides, go_back);
  if constexpr (!at_once)
    for (int i = 0; i < Row<T>::count; ++i) {
      const int first = i * RowTile<T>::lanes;
      conv_pool_backward_tile<RowTile<T>, ties>(d_filters.part[i], to.d_pooled + first, pooled,
                                                block.kept + kept_of(first, conv), block.first_filter + first,
                                                RowTile<T>::lanes, conv);
    }
  d_filters.add_to(to.filters, block, block.d_pooled + s.rows * conv.stride - block.first_filter, pooled, conv);
}

// Adds factor * the gradients to filters, weights and biases, or to their gradients.
template <Change change, class T>
void backward(const Gradients<T>& to, T* changed_biases, const T* d_totals, T factor, const PooledImage<T>& pooled,
              const ConvPoolShape& conv, const DenseShape& s) {
  for (int n = 0; n < s.nodes; ++n) changed_biases[n] = fused(factor, d_totals[n], changed_biases[n]);
  for_groups_from_last<T, true>(s, [&](int wides, int nodes, int node) {
    Wide<T> step[Groups<T, true>::most];
    spread(step, d_totals + node, factor, nodes, wides * lanes_of<T> / row_lanes);
    Wide<T> earlier_step[Groups<T, true>::most];
    if constexpr (change == Change::second)
      spread(earlier_step, Deferred<T>(to.changed, s).step + node, T{1}, nodes, wides * lanes_of<T> / row_lanes);
    const auto layout = group_layout<T>(s, node, wides);
    for (int i = 0; i < s.blocks() + s.planes; ++i) {
      const Block<T> block(i, pooled, to.d_pooled, conv, s);
      const Index at = layout.begin + block.first_row * layout.row;
      Gradients<T> block_to{to.filters, to.changed + at, block.d_pooled, to.weights + at, node + nodes == s.nodes};
      if constexpr (change == Change::second) {
        block_to.earlier_inputs = Deferred<T>(to.changed, s).inputs + block.first_row * row_lanes;
        block_to.earlier_step = earlier_step;
        if (block.count < block.rows)
          catch_up(block_to.changed, block_to.earlier_inputs, earlier_step, wides, block.rows, block.listed,
                   block.count);
      }
      if (node > 0 || i >= s.blocks()) {
        BlockGradient<T> none;
        Groups<T, true>::with_constant(wides, [&](auto count) {
          backward_rows<count, change, false, Ties::all>(none, block_to, step, block, pooled, conv);
        });
      } else if (conv.ties == Ties::all) {
        backward_to_filters<change, Ties::all>(block_to, step, wides, block, pooled, conv, s);
      } else {
        backward_to_filters<change, Ties::first>(block_to, step, wides, block, pooled, conv, s);
      }
    }
  });
  planes_backward(to.filters, pooled, conv, s);
}

// Keeps an update of the weights for the next step.
template <class T>
[[gnu::noinline]] void defer(const Deferred<T>& to, const T* d_totals, T factor, const PooledImage<T>& pooled,
                             const ConvPoolShape& conv, const DenseShape& s) {
  *to.pending = 1;
  for (int n = 0; n < s.nodes; ++n) to.step[n] = factor * d_totals[n];
  for (int i = 0; i < s.blocks() + s.planes; ++i) {
    const Block<T> block(i, pooled, nullptr, conv, s);
    const auto background = Row<T>::read(block.background);
    T* const inputs = to.inputs + block.first_row * row_lanes;
    for (int row = 0; row < block.rows; ++row)
      (Row<T>::read(block.values + row * block.stride) - background).write(inputs + row * row_lanes);
  }
}

template <class T>
void conv_pool_dense_backward_update(T* filters, T* d_pooled, T* packed, T* biases, const T* d_totals, T learn_rate,
                                     const PooledImage<T>& pooled, const ConvPoolShape& conv,
                                     const DenseShape& s) noexcept {
  const Gradients<T> to{filters, packed, d_pooled, packed, true};
  if constexpr (can_defer<T>) {
    const Deferred<T> deferred(packed, s);
    if (deferred.is_pending()) {
      *deferred.pending = 0;
      return backward<Change::second>(to, biases, d_totals, -learn_rate, pooled, conv, s);
    }
    // Images with a background list other rows each, so the next step would update more rows than it lists.
    if (s.has_deferred<T>() && pooled.count == s.rows) {
      backward<Change::first>(to, biases, d_totals, -learn_rate, pooled, conv, s);
      return defer(deferred, d_totals, -learn_rate, pooled, conv, s);
    }
  }
  backward<Change::alone>(to, biases, d_totals, -learn_rate, pooled, conv, s);
}

template <class T>
void conv_pool_dense_backward(T* d_filters, T* d_pooled, T* d_packed, T* d_biases, const T* packed, const T* d_totals,
                              const PooledImage<T>& pooled, const ConvPoolShape& conv, const DenseShape& s) noexcept {
  backward<Change::gradient>({d_filters, d_packed, d_pooled, packed, true}, d_biases, d_totals, T{1}, pooled, conv, s);
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
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
