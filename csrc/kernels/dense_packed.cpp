// The kernels on packed weights: packing, one sample, and several samples. dense_packed.hpp has the layout, dense.cpp
// the formulas.
#include "dense_packed.hpp"

#include <cstdint>

#include "target.hpp"

namespace cnnx {
namespace {

// Where the weight of a row and a channel is in the packed layout: its row in a group, that of D, and its lane.
struct PackedWeight {
  Index row, shared;
  int lane;
};
[[gnu::noinline]] PackedWeight packed_weight(const DenseShape& s, int row, int channel) {
  const int plane = channel - (s.channels - s.planes);
  if (plane < 0) {
    const Index first = Index{channel / row_lanes} * s.packed_rows();
    return {first + row, first + s.rows, channel % row_lanes};
  }
  const int place = s.place(row);
  const Index first = Index{s.blocks()} * s.packed_rows() + Index{plane} * (s.plane_rows + 2);
  return {first + place / row_lanes, first + s.plane_rows, place % row_lanes};
}

// For layers with a background and without one.
template <class T, class Body>
void for_groups(const DenseShape& s, const Body& body) {
  s.has_background() ? for_groups<T, true>(s, body) : for_groups<T, false>(s, body);
}

// For layers without a background, with the number of Wides as a constant.
template <class T, class Body>
void for_wides(const DenseShape& s, const Body& body) {
  for_groups<T, false>(s, [&](int wides, int nodes, int node) {
    Groups<T, false>::with_constant(wides, [&](auto count) { body(count, nodes, node); });
  });
}

// The indices of a weight: in numpy's layout, in the packed layout, of its lane of D, and of its input and its node in
// Deferred. Without a background there is no D, and its index is meaningless.
struct WeightIndices {
  Index unpacked, packed, shared, input;
  int node;
};

// Calls body(its indices) for every weight.
template <class T, class Body>
void for_packed_weights(const DenseShape& s, Body&& body) {
  for_groups<T>(s, [&](int count, int nodes, int node) __attribute__((noinline)) {
    const auto layout = group_layout<T>(s, node, count);
    const auto for_channels = [&](int row, int channel, int lanes) __attribute__((noinline)) {
      const auto at = packed_weight(s, row, channel);
      const Index weight = (Index{row} * s.channels + channel) * s.nodes + node, first = layout.begin + at.lane;
      for (int n = 0; n < nodes; ++n)
        for (int lane = 0; lane < lanes; ++lane)
          body(WeightIndices{weight + Index{lane} * s.nodes + n, first + at.row * layout.row + n * row_lanes + lane,
                             first + at.shared * layout.row + n * row_lanes + lane, at.row * row_lanes + at.lane + lane,
                             node + n});
    };
    for (int row = 0; row < s.rows; ++row) {
      int channel = 0;
      for (; channel + row_lanes <= s.channels - s.planes; channel += row_lanes) for_channels(row, channel, row_lanes);
      for (; channel < s.channels; ++channel) for_channels(row, channel, 1);
    }
  });
}

// Applies a deferred update to all rows. Those of D and S have inputs of 0.
template <class T>
void apply(const Deferred<T>& deferred, T* packed, const DenseShape& s) {
  *deferred.pending = 0;
  for_groups<T, true>(s, [&](int wides, int nodes, int node) {
    Wide<T> step[most_wides<T>];
    spread(step, deferred.step + node, T{1}, nodes, wides * lanes_of<T> / row_lanes);
    T* const weights = packed + group_layout<T>(s, node, wides).begin;
    catch_up(weights, deferred.inputs, step, wides, s.all_packed_rows(), nullptr, 0);
  });
}

// Applies a deferred update, adds D to every row, sets D to 0, and sets S to the sum of all rows.
template <class T>
void dense_fold(T* packed, const DenseShape& s) noexcept {
  if (!s.has_background()) return;
  if constexpr (can_defer<T>) {
    const Deferred<T> deferred(packed, s);
    if (deferred.is_pending()) apply(deferred, packed, s);
  }
  for_groups<T>(s, [&](int count, int, int node) __attribute__((noinline)) {
    const auto layout = group_layout<T>(s, node, count);
    T* first = packed + layout.begin;
    for (int block = 0; block < s.blocks() + s.planes; ++block) {
      T* const shared = first + (block < s.blocks() ? s.rows : s.plane_rows) * layout.row;
      for (Index i = 0; i < layout.row; i += lanes_of<T>) {
        const auto addend = Wide<T>::read(shared + i);
        Wide<T> sum{};
        for (T* at = first + i; at < shared; at += layout.row) {
          auto weights = Wide<T>::read(at);
          weights += addend;
          weights.write(at);
          sum += weights;
        }
        Wide<T>{}.write(shared + i);
        sum.write(shared + layout.row + i);
      }
      first = shared + 2 * layout.row;
    }
  });
}

template <class T>
void dense_pack(T* __restrict packed, const T* __restrict weights, const DenseShape& s) noexcept {
  __builtin_memset(packed, 0, sizeof(T) * static_cast<std::size_t>(s.packed_size<T>()));
  for_packed_weights<T>(s, [&](const WeightIndices& at) { packed[at.packed] = weights[at.unpacked]; });
}

// A checkpoint may hold an update that another target has deferred. Its weights must get the same bits here.
template <class T>
inline constexpr bool may_be_deferred = sizeof(T) == sizeof(float) && CNNX_TARGET::reads_checkpoints;

// Unpacks weights or their gradient: row r is V_r + D, with V_r as it is after a deferred update.
template <class T>
void dense_unpack(T* __restrict weights, const T* __restrict packed, const DenseShape& s) noexcept {
  const bool has_shared = s.has_background();
  const Deferred<const T> deferred(packed, s);
  const bool is_pending = deferred.is_pending();
  for_packed_weights<T>(s, [&](const WeightIndices& at) {
    T weight = packed[at.packed];
    if (may_be_deferred<T> && is_pending)
      weight = __builtin_fmaf(deferred.step[at.node], deferred.inputs[at.input], weight);
    weights[at.unpacked] = has_shared ? weight + packed[at.shared] : weight;
  });
}

template <class T>
void dense_forward_packed(T* totals, const T* input, const T* packed, const T* biases, const DenseShape& s) noexcept {
  const int blocks = s.blocks();
  for_wides<T>(s, [&](auto count, int nodes, int node) {
    const auto at = group_layout<T>(s, node, count);
    Wide<T> sum[count] = {};
    const T* weights = packed + at.begin;
    for (int block = 0; block < blocks; ++block, weights += at.block) {
      const auto both = widened(Row<T>::read(input + block * row_lanes));
      for (int j = 0; j < count; ++j) sum[j].add_product(both, Wide<T>::read(weights + j * lanes_of<T>));
    }
    finish_totals(totals + node, sum, biases + node, nodes);
  });
}

// Adds factor * input * d_totals to `changed`, which is the packed weights themselves or their gradient. Sets d_input.
// The input is multiplied by the factor, so that the input's gradient is not.
template <bool in_place, class T>
void dense_backward_rows(T* d_input, T* changed, T* changed_biases, const T* packed, const T* d_totals, const T* input,
                         T factor, const DenseShape& s) {
  for (int n = 0; n < s.nodes; ++n) changed_biases[n] = fused(factor, d_totals[n], changed_biases[n]);
  const int blocks = s.blocks();
  for_wides<T>(s, [&](auto count, int nodes, int node) {
    const DenseStep<T, count> step(d_totals + node, T{1}, nodes);
    const bool is_first = node == 0;
    const auto layout = group_layout<T>(s, node, count);
    Index at = layout.begin;
    for (int block = 0; block < blocks; ++block, at += layout.block) {
      T* const d_row = d_input + block * row_lanes;
      auto row = Row<T>::read(input + block * row_lanes);
      if constexpr (in_place)
        for (auto& part : row.part) part *= factor;
      auto d = step.template pass<in_place>({}, row, changed + at, packed + at);
      if (!is_first) d += Row<T>::read(d_row);
      d.write(d_row);
    }
  });
}

template <class T>
void dense_backward_update_packed(T* d_input, T* packed, T* biases, const T* d_totals, const T* input, T learn_rate,
                                  const DenseShape& s) noexcept {
  dense_backward_rows<true>(d_input, packed, biases, packed, d_totals, input, -learn_rate, s);
}

template <class T>
void dense_backward_packed(T* d_input, T* d_packed, T* d_biases, const T* packed, const T* d_totals, const T* input,
                           const DenseShape& s) noexcept {
  dense_backward_rows<false>(d_input, d_packed, d_biases, packed, d_totals, input, T{1}, s);
}

// Adds the products of `blocks` blocks of channels to the sums of `samples` samples for `wides` Wides of nodes, all in
// registers, from channel `at` on. A sample's sums are `stride` Wides apart. Not inlined, so that pointers are in
// registers, too.
template <int samples, int wides, class T>
[[gnu::noinline]] void forward_tile(Wide<T>* sums, Index stride, bool is_first, const T* const* inputs, Index at,
                                    const T* weights, Index row_size, int blocks) {
  const T* in[samples];
  for (int k = 0; k < samples; ++k) in[k] = inputs[k];
  Wide<T> sum[samples][wides];
#pragma GCC unroll 6
  for (int k = 0; k < samples; ++k)
#pragma GCC unroll 5
    for (int j = 0; j < wides; ++j) sum[k][j] = is_first ? Wide<T>{} : sums[k * stride + j];
  // Far, because weights that another core has just changed take long to arrive, but not past the tile's own rows.
  const Index ahead = (blocks > 48 ? 48 : 8) * row_size;
  do {
    __builtin_prefetch(weights + ahead);  // the hardware does not foresee such long strides
    Wide<T> weight[wides];
    for (int j = 0; j < wides; ++j) weight[j] = Wide<T>::read(weights + j * lanes_of<T>);
    for (int k = 0; k < samples; ++k) {
      auto row = Row<T>::read(in[k] + at);
      row.stay_in_registers();
      const auto both = widened(row);
      for (int j = 0; j < wides; ++j) sum[k][j].add_product(both, weight[j]);
    }
    weights += row_size;
    at += row_lanes;
  } while (--blocks > 0);
#pragma GCC unroll 6
  for (int k = 0; k < samples; ++k)
#pragma GCC unroll 5
    for (int j = 0; j < wides; ++j) sums[k * stride + j] = sum[k][j];
}

// Fetches memory into the cache while something else is computed. Addresses are numbers, because they are a guess.
struct Fetch {
  std::uintptr_t at, end;
  void lines(int count) {
    for (; count > 0 && at < end; --count, at += 64) __builtin_prefetch(reinterpret_cast<const char*>(at));
  }
};

// A few kilobytes of each sample at a time, so that they and their weights stay in the cache until all have met.
inline constexpr int blocks_at_once = 128;

// Before each tile it fetches `fetched` cache lines for each of its Wides.
template <class T>
void forward_samples(T* const* totals, const T* const* inputs, int samples, const T* packed, const T* biases,
                     const DenseShape& s, Fetch fetch, int fetched) {
  for_wides<T>(s, [&](auto count, int nodes, int node) {
    const auto at = group_layout<T>(s, node, count);
    Wide<T> sums[dense_block * count];
    for (int block = 0; block < s.blocks(); block += blocks_at_once) {
      const auto add = [&](int k, auto some) {
        // One sample alone needs the sums of many nodes, because each waits for the addition before it.
        constexpr int most = native_bytes == 64 || (native_bytes == 32 && some == 1) ? 5 : 1;
        constexpr int wides = count % most == 0 ? most : 1;
        for (int j = 0; j < count; j += wides) {
          fetch.lines(fetched * wides);
          forward_tile<some, wides>(sums + k * count + j, count, block == 0, inputs + k, Index{block} * row_lanes,
                                    packed + at.begin + block * at.block + j * lanes_of<T>, at.row,
                                    smaller(blocks_at_once, s.blocks() - block));
        }
      };
      if (samples % 6 != 0) {
        for_samples(samples, add);
      } else {
        for (int k = 0; k < samples; k += 6) add(k, std::integral_constant<int, 6>{});
      }
    }
    for (int k = 0; k < samples; ++k) finish_totals(totals[k] + node, sums + k * count, biases + node, nodes);
  });
}

template <class T>
void dense_forward_block(T* const* totals, const T* const* inputs, int samples, const T* packed, const T* biases,
                         const DenseShape& s) noexcept {
  constexpr int together = 6, few_nodes = 10;
  if (native_bytes == 64 || s.nodes <= few_nodes || s.blocks() > blocks_at_once || samples % together != 0)
    return forward_samples(totals, inputs, samples, packed, biases, s, {}, 0);
  // Here a tile has one Wide, so samples are read once for each Wide. Six of them go through all nodes while they are
  // in the first cache, as a copy if their registers would lie across cache lines.
  alignas(64) T copies[native_bytes == 64 ? 1 : together * blocks_at_once * row_lanes];
  const auto bytes = sizeof(T) * together * static_cast<std::size_t>(s.channels);
  const int fetched = static_cast<int>(bytes / 64) / s.wides<T>() + 1;
  for (int k = 0; k < samples; k += together) {
    const T* from[together];
    T* copy = copies;
    for (int i = 0; i < together; ++i) {
      from[i] = inputs[k + i];
      if (reinterpret_cast<std::uintptr_t>(from[i]) % native_bytes == 0) continue;
      for (int at = 0; at < s.channels; at += row_lanes) Row<T>::read(from[i] + at).write(copy + at);
      from[i] = copy;
      copy += s.blocks() * row_lanes;
    }
    // Images follow one another in memory, so the next samples are probably those after these.
    const auto next = reinterpret_cast<std::uintptr_t>(inputs[k]) + bytes;
    forward_samples(totals + k, from, together, packed, biases, s, {next, next + bytes}, fetched);
  }
}

// The backward pass of several samples through a group of nodes. The gradients of the totals are (nodes, samples) for
// each of the groups into which for_samples cuts the samples. The weights of a block of channels stay in the first
// cache for all of them. On every target, an input's gradient is summed over nodes in their order, and a weight's over
// samples in theirs.
template <class T>
[[gnu::noinline]] void backward_group(T* const* d_inputs, T* __restrict d_packed, const T* __restrict packed,
                                      Index row_size, const T* d_totals, const T* const* inputs, int samples, int nodes,
                                      bool is_first, int blocks) {
  using V = Vec<T, Row<T>::part_bytes>;
  for (int block = 0; block < blocks; ++block)
    for (int lane = 0; lane < row_lanes; lane += Row<T>::lanes) {
      const Index channel = block * row_lanes + lane, at = block * row_size + lane;
      const T* gradient = d_totals;
      for_samples(samples, [&](int first, auto constant) {
        constexpr int count = constant;
        const T* weights = packed + at;
        T* d_weights = d_packed + at;
        V in[count], d[count];
#pragma GCC unroll 4  // GCC would otherwise make loops, and so keep the vectors in memory
        for (int k = 0; k < count; ++k) {
          in[k] = load<V>(inputs[first + k] + channel);
          hide(in[k]);
          d[k] = V{};
          if (!is_first) d[k] = load<V>(d_inputs[first + k] + channel);
        }
        for (int n = 0; n < nodes; ++n, weights += row_lanes, d_weights += row_lanes, gradient += count) {
          const auto weight = load<V>(weights);
          auto d_weight = load<V>(d_weights);
          for (int k = 0; k < count; ++k) {
            const auto g = all<V>(gradient[k]);
            d[k] += g * weight;
            d_weight += g * in[k];
          }
          store(d_weights, d_weight);
        }
#pragma GCC unroll 4
        for (int k = 0; k < count; ++k) store(d_inputs[first + k] + channel, d[k]);
      });
    }
}

// The same without the inputs' gradients. The gradients of the totals are (samples, nodes).
template <int nodes, class T>
[[gnu::noinline]] void backward_weights(T* __restrict d_packed, Index row_size, const T* d_totals,
                                        const T* const* inputs, int samples, int blocks) {
  using V = Vec<T, Row<T>::part_bytes>;
  for (int block = 0; block < blocks; ++block)
    for (int lane = 0; lane < row_lanes; lane += Row<T>::lanes) {
      const Index channel = block * row_lanes + lane;
      T* const at = d_packed + block * row_size + lane;
      V sum[nodes];
#pragma GCC unroll 10
      for (int n = 0; n < nodes; ++n) sum[n] = load<V>(at + n * row_lanes);
      const T* gradient = d_totals;
      for (int k = 0; k < samples; ++k, gradient += nodes) {
        auto in = load<V>(inputs[k] + channel);
        hide(in);
        for (int n = 0; n < nodes; ++n) sum[n] += all<V>(gradient[n]) * in;
      }
#pragma GCC unroll 10
      for (int n = 0; n < nodes; ++n) store(at + n * row_lanes, sum[n]);
    }
}

template <class T>
void dense_backward_block(T* const* d_inputs, T* d_packed, T* d_biases, const T* packed, const T* const* d_totals,
                          const T* const* inputs, int samples, const DenseShape& s) noexcept {
  for (int k = 0; k < samples; ++k)
    for (int n = 0; n < s.nodes; ++n) d_biases[n] += d_totals[k][n];
  for_wides<T>(s, [&](auto wides, int nodes, int node) {
    constexpr int all_nodes = wides * lanes_of<T> / row_lanes;
    const auto at = group_layout<T>(s, node, wides);
    T gradients[all_nodes * dense_block] = {};
    if (d_inputs == nullptr) {
      for (int k = 0; k < samples; ++k)
        for (int n = 0; n < nodes; ++n) gradients[k * all_nodes + n] = d_totals[k][node + n];
      return backward_weights<all_nodes>(d_packed + at.begin, at.row, gradients, inputs, samples, s.blocks());
    }
    T* to = gradients;
    for_samples(samples, [&](int first, int count) {
      for (int n = 0; n < nodes; ++n)
        for (int k = 0; k < count; ++k) *to++ = d_totals[first + k][node + n];
    });
    backward_group(d_inputs, d_packed + at.begin, packed + at.begin, at.row, gradients, inputs, samples, nodes,
                   node == 0, s.blocks());
  });
}

template <class T>
void enter(Kernels<T>& k) {
  k.defers = can_defer<T>;
  k.dense_pack = dense_pack<T>;
  k.dense_unpack = dense_unpack<T>;
  k.dense_fold = dense_fold<T>;
  k.dense_forward_packed = dense_forward_packed<T>;
  k.dense_backward_update_packed = dense_backward_update_packed<T>;
  k.dense_backward_packed = dense_backward_packed<T>;
  k.dense_forward_block = dense_forward_block<T>;
  k.dense_backward_block = dense_backward_block<T>;
}

}  // namespace

void CNNX_TARGET::fill_dense_packed(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
