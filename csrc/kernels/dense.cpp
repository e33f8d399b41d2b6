// The dense layer, which is the article's Softmax before the exponential function (Part 1, section 5):
//
//   totals[n] = biases[n] + sum over i of  input[i] * weights[i, n]
//
// weights (inputs, nodes); input i is channel i mod channels of row i / channels. A total has eight partial sums:
// channel c adds to sum c mod 8. Blocks of eight channels come one after the other, and within a block, row after row.
// At the end the partial sums are added by halving (l and l + half), and then the bias. If there are planes
// (conv_plane.hpp), they have partial sums of their own, in which place p adds to sum p mod 8; their total comes last.
// All forward kernels use this order on every target, so they agree to the bit.
#include "../simd/tiles.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

// The eight partial sums of one or two tiles of nodes, in registers, with nodes in the lanes. Two tiles may overlap.
template <class Tile, int tiles, class T>
struct NodeSums {
  using V = typename Tile::V;

  const int (&first)[tiles];  // the tiles' first nodes
  int nodes;                  // number of nodes of a partial tile
  Index stride;               // distance between the weights of neighbouring channels
  V sum[tiles][row_lanes] = {};

  // Adds the weights of `lanes` neighbouring channels, each times its factor. The loops always count to eight, so that
  // they are unrolled and the sums stay in registers.
  template <class Lanes, class Factor>
  __attribute__((always_inline)) void add(const T* weights, Lanes lanes, const Factor& factor) {
    for (int lane = 0; lane < row_lanes; ++lane)
      for (int i = 0; i < tiles && lane < lanes; ++i)
        sum[i][lane] += factor(lane) * Tile::read(weights + lane * stride + first[i], nodes);
  }
  template <class Lanes, class Factor>
  __attribute__((always_inline)) void add(const NodeSums& other, Lanes lanes, const Factor& factor) {
    for (int lane = 0; lane < row_lanes; ++lane)
      for (int i = 0; i < tiles && lane < lanes; ++i) sum[i][lane] += factor(lane) * other.sum[i][lane];
  }
  void write(T* totals, const T* biases) {
    for (int i = 0; i < tiles; ++i) {
      for (int half = row_lanes / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) sum[i][lane] += sum[i][lane + half];
      Tile::write(totals + first[i], Tile::read(biases + first[i], nodes) + sum[i][0], nodes);
    }
  }
};

// Calls body(first channel, number of channels) for every block of eight channels. The number is a constant, except in
// an incomplete last block.
template <class Body>
__attribute__((always_inline)) inline void for_blocks(int channels, Body&& body) {
  int block = 0;
  for (; block + row_lanes <= channels; block += row_lanes) body(block, std::integral_constant<int, row_lanes>{});
  if (block < channels) body(block, channels - block);
}

// With a background a, rows are x_r = a + z_r, where z_r is 0 unless row r is listed, so
//   sum over r of x_r W_r = a * (sum over r of W_r) + sum over listed r of z_r W_r
template <class Tile, int tiles, class T>
[[gnu::noinline]] void dense_forward_tiles(T* totals, const DenseInput<T>& input, const T* weights, const T* biases,
                                           const int (&first)[tiles], int nodes, const DenseShape& s) {
  NodeSums<Tile, tiles, T> sums{first, nodes, s.nodes};
  const Index row_size = Index{s.channels} * s.nodes;
  for_blocks(s.channels - s.planes, [&](int block, auto lanes) __attribute__((always_inline)) {
    const T* const rows = weights + Index{block} * s.nodes;
    if (input.background == nullptr) {
      sums.add(rows, lanes, [&](int lane) { return input.values[block + lane]; });
      return;
    }
    const T* const background = input.background + block;
    NodeSums<Tile, tiles, T> all{first, nodes, s.nodes};
    for (Index row = 0; row < s.rows; ++row) all.add(rows + row * row_size, lanes, [](int) { return T{1}; });
    sums.add(all, lanes, [&](int lane) { return background[lane]; });
    for (int k = 0; k < input.count; ++k) {
      const Index row = input.listed[k];
      const T* const x = input.values + row * s.stride() + block;
      sums.add(rows + row * row_size, lanes, [&](int lane) { return x[lane] - background[lane]; });
    }
  });
  sums.write(totals, biases);
}

// Adds the planes' totals. The planes' values are those of all rows, background or not.
template <class T>
[[gnu::noinline]] void add_planes(T* totals, const DenseInput<T>& input, const T* weights, const DenseShape& s) {
  using V = Vec<T, Row<T>::part_bytes>;
  constexpr int lanes = Row<T>::lanes;
  for (int node = 0; node < s.nodes; node += lanes) {
    const int first = node > 0 ? smaller(node, s.nodes - lanes) : 0;  // the last register reaches back
    V sum[row_lanes] = {};
    for (int channel = s.channels - s.planes; channel < s.channels; ++channel)
      for (int row = 0, place = 0, x = 0; row < s.rows; ++row) {
        const T* const at = weights + (Index{row} * s.channels + channel) * s.nodes + first;
        sum[place % row_lanes] += input.values[Index{row} * s.stride() + channel] *
                                  (s.nodes < lanes ? load_first<V>(at, s.nodes) : load<V>(at));
        x = x + 1 < s.columns ? x + 1 : 0;
        place += x > 0 ? 1 : 2;  // see DenseShape::place
      }
    for (int half = row_lanes / 2; half > 0; half /= 2)
      for (int lane = 0; lane < half; ++lane) sum[lane] += sum[lane + half];
    for (int n = node; n < smaller(s.nodes, node + lanes); ++n) totals[n] += sum[0][n - first];
  }
}

template <class T>
void dense_forward_blocks(T* totals, const DenseInput<T>& input, const T* weights, const T* biases,
                          const DenseShape& s) noexcept {
  // For 9 to 15 nodes, such as ten classes, one pass over two overlapping tiles waits less for its own sums than two
  // passes do.
  if constexpr (native_bytes == 64) {
    if (s.nodes > row_lanes && s.nodes < 2 * row_lanes) {
      const int first[] = {0, s.nodes - row_lanes};
      return dense_forward_tiles<Tile<T, row_lanes * sizeof(T), 1>>(totals, input, weights, biases, first, row_lanes,
                                                                    s);
    }
  }
  for_channel_tiles<T, 1>(s.nodes, [&](auto tile, int first_node, int nodes) {
    const int first[] = {first_node};
    dense_forward_tiles<decltype(tile)>(totals, input, weights, biases, first, nodes, s);
  });
}

// For one group of nodes. The first group sets d_input, the others add to it:
//   d_input[i] = sum over n of  weights[i, n] * d_totals[n]          through the old weights
//   weights[i, n] -= learn_rate * input[i] * d_totals[n],   biases[n] -= learn_rate * d_totals[n]
template <int nodes, class T>
void dense_backward_update_nodes(T* __restrict d_input, T* __restrict weights, const T* __restrict d_totals,
                                 const T* __restrict input, T learn_rate, bool is_first, Index inputs, Index stride) {
  T gradient[nodes];
  for (int n = 0; n < nodes; ++n) gradient[n] = d_totals[n];
  for (Index i = 0; i < inputs; ++i, weights += stride) {
    T sum = is_first ? T{0} : d_input[i];
    for (int n = 0; n < nodes; ++n) sum = fused(weights[n], gradient[n], sum);
    d_input[i] = sum;
    const T step = -learn_rate * input[i];
    for (int n = 0; n < nodes; ++n) weights[n] = fused(step, gradient[n], weights[n]);
  }
}

template <class T>
void dense_backward_update(T* __restrict d_input, T* __restrict weights, T* __restrict biases,
                           const T* __restrict d_totals, const T* __restrict input, T learn_rate,
                           const DenseShape& s) noexcept {
  int first = 0;
  const auto sweep = [&](auto nodes) {
    for (; s.nodes - first >= nodes; first += nodes)
      dense_backward_update_nodes<nodes>(d_input, weights + first, d_totals + first, input, learn_rate, first == 0,
                                         s.inputs(), s.nodes);
  };
  sweep(std::integral_constant<int, 10>{});
  sweep(std::integral_constant<int, 4>{});
  sweep(std::integral_constant<int, 1>{});
  for (int n = 0; n < s.nodes; ++n) biases[n] = fused(-learn_rate, d_totals[n], biases[n]);
}

template <class T>
void dense_forward(T* totals, const DenseInput<T>& input, const T* weights, const T* biases,
                   const DenseShape& s) noexcept {
  dense_forward_blocks(totals, input, weights, biases, s);
  if (s.planes > 0) add_planes(totals, input, weights, s);
}

template <class T>
void enter(Kernels<T>& k) {
  k.dense_forward = dense_forward<T>;
  k.dense_backward_update = dense_backward_update<T>;
}

}  // namespace

void CNNX_TARGET::fill_dense(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
