// The dense layer:  totals[n] = biases[n] + sum over i of  input[i] * weights[i, n]
//
// weights (inputs, nodes). The sum runs over lanes_of<T> partial sums, the i-th input going to the partial sum
// i mod lanes_of<T>; these are added by halving (l and l + half), then the bias. Both forward kernels keep to it, on
// every target, so they agree to the bit.
//
// A loop over many samples packs the weights:  packed[block][node][lane] = weights[block * lanes + lane, node],
// zeros behind the last input. Inputs and their gradients are then padded to whole blocks too.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"

namespace cnnx {
namespace {

// A logical vector of 64 bytes, the same on every target: as many native ones as it takes.
template <class T>
struct Wide {
  static constexpr int count = 64 / native_bytes;
  static constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
  Vec<T> part[count];

  static Wide read(const T* from) {
    Wide w;
    for (int i = 0; i < count; ++i) w.part[i] = load<Vec<T>>(from + i * lanes);
    return w;
  }
  void write(T* to) const {
    for (int i = 0; i < count; ++i) store(to + i * lanes, part[i]);
  }
  void add_product(T factor, const Wide& by) {
    for (int i = 0; i < count; ++i) part[i] += factor * by.part[i];
  }
  void add_product(const Wide& factor, const Wide& by) {
    for (int i = 0; i < count; ++i) part[i] += factor.part[i] * by.part[i];
  }
};

// partial[lane][stride] -> the sum over lanes of column n, by halving.
template <class T>
void add_lanes(T* partial, int stride, int columns) {
  for (int half = lanes_of<T> / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane)
      for (int n = 0; n < columns; ++n) partial[lane * stride + n] += partial[(lane + half) * stride + n];
}

// Nodes in the lanes, as many partial sums at a time as registers hold.
template <class T>
void dense_forward(T* totals, const T* input, const T* weights, const T* biases, const DenseShape& s) noexcept {
  for_channel_tiles<T, 1>(s.nodes, [&](auto tile, int first, int nodes) {
    using Tile = decltype(tile);
    constexpr int ways = register_count == 32 ? lanes_of<T> : 8;
    T partial[lanes_of<T>][Tile::lanes];
    for (int lane = 0; lane < lanes_of<T>; lane += ways) {
      typename Tile::V sum[ways] = {};
      const auto accumulate = [&](Index i, int way) {
        sum[way] += input[i] * Tile::read(weights + i * s.nodes + first, nodes);
      };
      Index i = lane;
      for (; i + ways <= s.inputs; i += lanes_of<T>)
        for (int way = 0; way < ways; ++way) accumulate(i + way, way);
      for (int way = 0; way < ways && i + way < s.inputs; ++way) accumulate(i + way, way);
      for (int way = 0; way < ways; ++way) store(partial[lane + way], sum[way]);
    }
    add_lanes(partial[0], Tile::lanes, Tile::lanes);
    for (int n = 0; n < nodes; ++n) totals[first + n] = biases[first + n] + partial[0][n];
  });
}

//   d_input[i] = sum over n of  weights[i, n] * d_totals[n]          through the old weights
//   weights[i, n] -= learn_rate * input[i] * d_totals[n],   biases[n] -= learn_rate * d_totals[n]
template <class T>
void dense_backward_update(T* __restrict d_input, T* __restrict weights, T* __restrict biases,
                           const T* __restrict d_totals, const T* __restrict input, T learn_rate,
                           const DenseShape& s) noexcept {
  constexpr int most = 16;
  for (int first = 0; first < s.nodes; first += most) {
    with_constant<most>(smaller(s.nodes - first, most), [&](auto nodes) {
      T gradient[nodes];
      for (int n = 0; n < nodes; ++n) gradient[n] = d_totals[first + n];
      T* row = weights + first;
      for (Index i = 0; i < s.inputs; ++i, row += s.nodes) {
        T sum = first == 0 ? T{0} : d_input[i];
        for (int n = 0; n < nodes; ++n) sum = fused(row[n], gradient[n], sum);
        d_input[i] = sum;
        const T step = -learn_rate * input[i];
        for (int n = 0; n < nodes; ++n) row[n] = fused(step, gradient[n], row[n]);
      }
    });
  }
  for (int n = 0; n < s.nodes; ++n) biases[n] = fused(-learn_rate, d_totals[n], biases[n]);
}

template <class T>
void dense_pack(T* __restrict packed, const T* __restrict weights, const DenseShape& s) noexcept {
  for (Index first = 0; first < s.inputs; first += lanes_of<T>, packed += s.nodes * lanes_of<T>) {
    const int rows = s.inputs - first < lanes_of<T> ? static_cast<int>(s.inputs - first) : lanes_of<T>;
    for (int n = 0; n < s.nodes; ++n)
      for (int lane = 0; lane < lanes_of<T>; ++lane)
        packed[n * lanes_of<T> + lane] = lane < rows ? weights[(first + lane) * s.nodes + n] : T{0};
  }
}

template <class T>
void dense_unpack(T* __restrict weights, const T* __restrict packed, const DenseShape& s) noexcept {
  for (Index i = 0; i < s.inputs; ++i) {
    const T* const from = packed + i / lanes_of<T> * s.nodes * lanes_of<T> + i % lanes_of<T>;
    for (int n = 0; n < s.nodes; ++n) weights[i * s.nodes + n] = from[n * lanes_of<T>];
  }
}

// How many nodes' logical vectors fit the registers beside the input's.
template <class T>
inline constexpr int packed_nodes = register_count == 32 && native_bytes == 64 ? 12 : 10 / Wide<T>::count;

template <class T>
void dense_forward_packed(T* totals, const T* input, const T* packed, const T* biases, const DenseShape& s) noexcept {
  const Index stride = Index{s.nodes} * lanes_of<T>, blocks = s.padded_inputs<T>() / lanes_of<T>;
  for (int first = 0; first < s.nodes; first += packed_nodes<T>) {
    with_constant<packed_nodes<T>>(smaller(s.nodes - first, packed_nodes<T>), [&](auto nodes) {
      Wide<T> sum[nodes] = {};
      const T* at = packed + Index{first} * lanes_of<T>;
      for (Index block = 0; block < blocks; ++block, at += stride) {
        const auto x = Wide<T>::read(input + block * lanes_of<T>);
        for (int n = 0; n < nodes; ++n) sum[n].add_product(x, Wide<T>::read(at + n * lanes_of<T>));
      }
      for (int n = 0; n < nodes; ++n) {
        T partial[lanes_of<T>];
        sum[n].write(partial);
        add_lanes(partial, 1, 1);
        totals[first + n] = biases[first + n] + partial[0];
      }
    });
  }
}

// As dense_backward_update, on packed weights. From the last block to the first: the forward sweep has left the last
// blocks in the nearest cache, and this one leaves the first ones there for the next forward sweep.
template <class T>
void dense_backward_update_packed(T* __restrict d_input, T* __restrict packed, T* __restrict biases,
                                  const T* __restrict d_totals, const T* __restrict input, T learn_rate,
                                  const DenseShape& s) noexcept {
  const Index stride = Index{s.nodes} * lanes_of<T>, blocks = s.padded_inputs<T>() / lanes_of<T>;
  for (int first = 0; first < s.nodes; first += packed_nodes<T>) {
    with_constant<packed_nodes<T>>(smaller(s.nodes - first, packed_nodes<T>), [&](auto nodes) {
      T gradient[nodes], step[nodes];
      for (int n = 0; n < nodes; ++n) {
        gradient[n] = d_totals[first + n];
        step[n] = -learn_rate * gradient[n];
        biases[first + n] += step[n];
      }
      T* at = packed + (blocks - 1) * stride + Index{first} * lanes_of<T>;
      for (Index i = (blocks - 1) * lanes_of<T>; i >= 0; i -= lanes_of<T>, at -= stride) {
        const auto x = Wide<T>::read(input + i);
        auto sum = first == 0 ? Wide<T>{} : Wide<T>::read(d_input + i);
        for (int n = 0; n < nodes; ++n) {
          auto weights = Wide<T>::read(at + n * lanes_of<T>);
          sum.add_product(gradient[n], weights);
          weights.add_product(step[n], x);
          weights.write(at + n * lanes_of<T>);
        }
        sum.write(d_input + i);
      }
    });
  }
}

template <class T>
void dense_backward_packed(T* __restrict d_input, T* __restrict d_packed, T* __restrict d_biases,
                           const T* __restrict packed, const T* __restrict d_totals, const T* __restrict input,
                           const DenseShape& s) noexcept {
  const Index stride = Index{s.nodes} * lanes_of<T>;
  for (int first = 0; first < s.nodes; first += packed_nodes<T>)
    with_constant<packed_nodes<T>>(smaller(s.nodes - first, packed_nodes<T>), [&](auto nodes) {
      T gradient[nodes];
      for (int n = 0; n < nodes; ++n) d_biases[first + n] += gradient[n] = d_totals[first + n];
      Index at = Index{first} * lanes_of<T>;
      for (Index i = 0; i < s.inputs; i += lanes_of<T>, at += stride) {
        const auto x = Wide<T>::read(input + i);
        auto sum = first == 0 ? Wide<T>{} : Wide<T>::read(d_input + i);
        for (int n = 0; n < nodes; ++n) {
          auto d_weights = Wide<T>::read(d_packed + at + n * lanes_of<T>);
          sum.add_product(gradient[n], Wide<T>::read(packed + at + n * lanes_of<T>));
          d_weights.add_product(gradient[n], x);
          d_weights.write(d_packed + at + n * lanes_of<T>);
        }
        sum.write(d_input + i);
      }
    });
}

}  // namespace
}  // namespace cnnx
