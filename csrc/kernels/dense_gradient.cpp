// The backward pass of a dense layer in a batch whose gradient is computed part by part (stages/stage.hpp): each block
// of samples computes its inputs' gradients, and then each part of the parameters' gradient is summed over all samples,
// in registers.
#include "dense_packed.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

// Adds a group of nodes to the inputs' gradients of some samples, for a few vectors of channels. The gradients of the
// totals are (nodes, samples). A sum is over nodes in their order.
template <int samples, int vectors, class T>
[[gnu::noinline]] void inputs_tile(T* const* d_inputs, Index channel, const T* const (&weights)[vectors],
                                   const T* d_totals, int nodes, bool is_first) {
  using V = Vec<T, Row<T>::part_bytes>;
  const auto at = [&](int k, int v) { return d_inputs[k] + channel + v * Row<T>::lanes; };
  V d[samples][vectors];
#pragma GCC unroll 4  // GCC would otherwise make loops, and so keep the vectors in memory
  for (int k = 0; k < samples; ++k)
    for (int v = 0; v < vectors; ++v) d[k][v] = is_first ? V{} : load<V>(at(k, v));
  for (int n = 0; n < nodes; ++n, d_totals += samples) {
    V weight[vectors];
    for (int v = 0; v < vectors; ++v) {
      weight[v] = load<V>(weights[v] + n * row_lanes);
      hide(weight[v]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < samples; ++k) {
      const auto g = all<V>(d_totals[k]);
      for (int v = 0; v < vectors; ++v) d[k][v] += g * weight[v];
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < samples; ++k)
    for (int v = 0; v < vectors; ++v) store(at(k, v), d[k][v]);
}

template <class T>
void dense_backward_inputs(T* const* d_inputs, const T* packed, const T* const* d_totals, int samples,
                           const DenseShape& s) noexcept {
  constexpr int lanes = Row<T>::lanes;
  for_groups<T, false>(s, [&](int wides, int nodes, int node) {
    const auto at = group_layout<T>(s, node, wides);
    const auto weights = [&](int channel) {
      return packed + at.begin + channel / row_lanes * at.row + channel % row_lanes;
    };
    for_samples(samples, [&](int first, auto count) {
      T gradients[Groups<T, false>::most * lanes_of<T> / row_lanes * count];
      T* to = gradients;
      for (int n = 0; n < nodes; ++n)
        for (int k = 0; k < count; ++k) *to++ = d_totals[first + k][node + n];
      int channel = 0;
      for (const int end = s.stride(); channel + 2 * lanes <= end; channel += 2 * lanes)
        inputs_tile<count>(d_inputs + first, channel, {weights(channel), weights(channel + lanes)}, gradients, nodes,
                           node == 0);
      if (channel < s.stride())
        inputs_tile<count>(d_inputs + first, channel, {weights(channel)}, gradients, nodes, node == 0);
    });
  });
}

// The numbers of a Wide's nodes, each in all of the node's lanes.
[[maybe_unused]] inline Wide<double> in_all_lanes(const double* numbers) {
  return Wide<double>::all(*numbers);
}
inline Wide<float> in_all_lanes(const float* numbers) {
  Wide<float> wide;
#if defined(__AVX512F__)
  const __m512 first = (__m512)all<Vec<float>>(numbers[0]);
  wide.part[0] = (Vec<float>)_mm512_mask_broadcastss_ps(first, 0xff00, _mm_load_ss(numbers + 1));
#else
  constexpr int half = Wide<float>::count / 2;
  for (int i = 0; i < Wide<float>::count; ++i)
    wide.part[i] = all<Vec<float, Wide<float>::part_bytes>>(numbers[i / half]);
#endif
  return wide;
}

// The gradient of a tile of weights, some Wides of nodes and some blocks of channels, for a shard's samples, which are
// added in their order. The gradients of the totals are (samples, stride).
template <class T>
using TileOfShard = void(Wide<T>* sums, const T* const* inputs, const T* const* end, Index channel, const T* d_totals,
                         Index stride);
template <int wides, int blocks, class T>
void tile_of_shard(Wide<T>* sums, const T* const* inputs, const T* const* end, Index channel, const T* d_totals,
                   Index stride) {
  constexpr int lanes = lanes_of<T>, channels = blocks * row_lanes;
  Wide<T> sum[blocks][wides] = {};
  for (; inputs < end; ++inputs, d_totals += stride) {
    const T* const input = *inputs + channel;
    // For the next tile: the hardware does not foresee such long strides.
    for (int ahead = channels; ahead < 2 * channels; ahead += lanes) __builtin_prefetch(input + ahead);
    Wide<T> in[blocks];
    for (int b = 0; b < blocks; ++b) {
      auto row = Row<T>::read(input + b * row_lanes);
      row.stay_in_registers();
      in[b] = widened(row);
    }
#pragma GCC unroll 5
    for (int j = 0; j < wides; ++j) {
      const auto d = in_all_lanes(d_totals + j * lanes / row_lanes);
      for (int b = 0; b < blocks; ++b) sum[b][j].add_product(d, in[b]);
    }
  }
#pragma GCC unroll 5
  for (int b = 0; b < blocks; ++b) copy_registers<wides>(sums + b * wides, sum[b]);
}

// Shards are added as a balanced tree, as by add_as_tree. Calls set(place) for each shard and add(place) where the
// place after it is added to a place. The sum is at place 0.
constexpr int most_places = 4;
static_assert(1 << (most_places - 1) == most_shards);
template <class Set, class Add>
void sum_shards(Index shards, const Set& set, const Add& add) {
  int places = 0;
  for (Index shard = 0; shard < shards; ++shard) {
    set(places++, shard);
    for (Index pairs = shard; (pairs & 1) != 0; pairs >>= 1) add(--places - 1);
  }
}

// Of a tile, so that its sums fit into registers. There are also tiles of a single block.
constexpr int most_blocks = native_bytes == 64 ? 4 : native_bytes == 32 ? 2 : 1;
constexpr int most_wides_of_tile = native_bytes == 64 ? 5 : 3;

template <class T>
TileOfShard<T>* tile_of(int wides, int blocks) {
  return [&]<int... less>(std::integer_sequence<int, less...>) {
    constexpr TileOfShard<T>* tiles[2][most_wides_of_tile] = {{tile_of_shard<less + 1, 1, T>...},
                                                              {tile_of_shard<less + 1, most_blocks, T>...}};
    return tiles[blocks > 1 ? 1 : 0][wides - 1];
  }(std::make_integer_sequence<int, most_wides_of_tile>());
}

// Sets a tile of the gradient to the factor times the sum over all shards.
template <class T>
void set_tile(T* d_packed, Index row_size, int wides, int blocks, const T* const* inputs, Index channel,
              const T* d_totals, Index stride, const ShardedBatch& batch, T factor) {
  Wide<T> sums[most_places][most_blocks * most_wides_of_tile];
  TileOfShard<T>* const tile = tile_of<T>(wides, blocks);
  sum_shards(
      batch.shards,
      [&](int place, Index shard) {
        const Index start = batch.start(shard), end = batch.start(shard + 1);
        tile(sums[place], inputs + start, inputs + end, channel, d_totals + start * stride, stride);
      },
      [&](int place) {
        for (int i = 0; i < blocks * wides; ++i) sums[place][i] += sums[place + 1][i];
      });
  for (int b = 0; b < blocks; ++b)
    for (int j = 0; j < wides; ++j) (sums[0][b * wides + j] * factor).write(d_packed + b * row_size + j * lanes_of<T>);
}

template <class T>
void set_bias_gradient(T* d_biases, const T* const* d_totals, const ShardedBatch& batch, T factor, int nodes) {
  for (int n = 0; n < nodes; ++n) {
    T sums[most_places];
    sum_shards(
        batch.shards,
        [&](int place, Index shard) {
          sums[place] = 0;
          for (Index k = batch.start(shard), end = batch.start(shard + 1); k < end; ++k) sums[place] += d_totals[k][n];
        },
        [&](int place) { sums[place] += sums[place + 1]; });
    d_biases[n] = sums[0] * factor;
  }
}

// A part is some blocks of a group of nodes, or the biases.
struct Parts {
  int blocks;  // of a part; the last one of a group may have fewer
  int count;   // of a group's parts
};
template <class T>
Parts parts_of_group(const DenseShape& s, int wides) {
  constexpr int weights = 1 << 12;  // few, so that threads end at about the same time, but worth their calls
  const int blocks = rounded_up(weights / (wides * lanes_of<T>), 4);  // whole tiles on every target
  return {blocks, (s.blocks() + blocks - 1) / blocks};
}

template <class T>
int dense_gradient_parts(const DenseShape& s) noexcept {
  int parts = 1;
  for_groups<T, false>(s, [&](int wides, int, int) { parts += parts_of_group<T>(s, wides).count; });
  return parts;
}

template <class T>
Range dense_set_gradient(T* d_packed, int part, const T* const* inputs, const T* const* d_totals,
                         const ShardedBatch& batch, T factor, const DenseShape& s) noexcept {
  Range range{0, 0};
  for_groups<T, false>(s, [&](int wides, int, int node) {
    const Parts parts = parts_of_group<T>(s, wides);
    const int number = part;
    part -= parts.count;
    if (number < 0 || part >= 0) return;
    constexpr int nodes_of_wide = lanes_of<T> / row_lanes;
    const Index stride = wides * nodes_of_wide;
    T gradients[dense_batch * Groups<T, false>::most * nodes_of_wide];
    for (Index n = 0; n < stride; n += nodes_of_wide)
      for (Index k = 0; k < batch.samples; ++k)
        __builtin_memcpy(gradients + k * stride + n, d_totals[k] + node + n, sizeof(T) * nodes_of_wide);
    const auto at = group_layout<T>(s, node, wides);
    const int first = number * parts.blocks, end = smaller(first + parts.blocks, s.blocks());
    range = {at.begin + first * at.row, at.begin + end * at.row};
    for (int block = first, blocks; block < end; block += blocks) {
      blocks = block + most_blocks <= end ? most_blocks : 1;
      for (int wide = 0, some; wide < wides; wide += some) {
        const int tiles = (wides - wide + most_wides_of_tile - 1) / most_wides_of_tile;
        some = (wides - wide + tiles - 1) / tiles;
        set_tile(d_packed + at.begin + block * at.row + wide * lanes_of<T>, at.row, some, blocks, inputs,
                 Index{block} * row_lanes, gradients + wide * nodes_of_wide, stride, batch, factor);
      }
    }
  });
  if (range.end > 0) return range;
  const Index biases = s.packed_size<T>();
  set_bias_gradient(d_packed + biases, d_totals, batch, factor, s.nodes);
  return {biases, biases + s.nodes};
}

template <class T>
void enter(Kernels<T>& k) {
  k.dense_backward_inputs = dense_backward_inputs<T>;
  k.dense_gradient_parts = dense_gradient_parts<T>;
  k.dense_set_gradient = dense_set_gradient<T>;
}

}  // namespace

void CNNX_TARGET::fill_dense_gradient(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
