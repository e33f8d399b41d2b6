// The backward pass of a convolution whose output's gradient is mostly zero, as it is behind a pooling or a ReLU: only
// what is not zero is multiplied. The formulas are those of conv3x3.hpp.
//
// Filter f's entries are entries.offset[f * outputs + i] and entries.gradient[...], i < entries.count[f]: where in the
// input the window begins, and the gradient. Taps sit in the lanes.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"

namespace cnnx {
namespace {

template <class T>
void conv3x3_gather(const SparseGradient<T>& entries, const T* d_output, const Conv3x3Shape& s) noexcept {
  const int out_height = s.out_height(), out_width = s.out_width(), filters = s.filters;
  const int outputs = out_height * out_width, width = s.width, channels = s.channels;
  int* const __restrict count = entries.count, * const __restrict offset = entries.offset;
  T* const __restrict gradients = entries.gradient;
  for (int f = 0; f < filters; ++f) count[f] = 0;
  for (int y = 0; y < out_height; ++y)
    for (int x = 0; x < out_width; ++x, d_output += filters) {
      const int window = (y * width + x) * channels;
      int first = 0;
      // Mostly zeros: whole registers of them at once, and only what is not zero by itself.
      if constexpr (has_nonzero_lanes) {
        constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
        for (; first + lanes <= filters; first += lanes)
          for (unsigned bits = nonzero_lanes(load<Vec<T>>(d_output + first)); bits != 0; bits &= bits - 1) {
            const int f = first + __builtin_ctz(bits), at = f * outputs + count[f]++;
            offset[at] = window;
            gradients[at] = d_output[f];
          }
      }
      for (int f = first; f < filters; ++f) {
        const int at = f * outputs + count[f];
        offset[at] = window;
        gradients[at] = d_output[f];
        count[f] += d_output[f] != 0;
      }
    }
}

// Adds to d_filters (filters, 3, 3, channels) and, behind them, d_biases (filters,).
template <class T>
void conv3x3_backward_filters_sparse(T* d_filters, const SparseGradient<T>& entries, const T* input,
                                     const Conv3x3Shape& s) noexcept {
  const int run = 3 * s.channels, outputs = s.out_height() * s.out_width();
  T* d_biases = d_filters + Index{s.filters} * s.taps();
  for (int f = 0; f < s.filters; ++f) {
    const int* const offset = entries.offset + f * outputs;
    const T* const gradient = entries.gradient + f * outputs;
    const int count = entries.count[f];
    T sum = 0;
    for (int i = 0; i < count; ++i) sum += gradient[i];
    *d_biases++ += sum;
    for (int dy = 0; dy < 3; ++dy, d_filters += run)
      for_separate_channel_tiles<T>(run, [&](auto tile, int first, int taps) {
        const T* const row = input + dy * s.width * s.channels + first;
        typename decltype(tile)::V total[tile.vectors] = {};
        for (int i = 0; i < count; ++i)
          for (int v = 0; v < tile.vectors; ++v)
            total[v] += gradient[i] * tile.read(row + offset[i] + v * tile.lanes, taps);
        for (int v = 0; v < tile.vectors; ++v) {
          T* const at = d_filters + first + v * tile.lanes;
          tile.write(at, tile.read(at, taps) + total[v], taps);
        }
      });
  }
}

// sum += factor * addend
template <class T>
void add_product(T* __restrict sum, T factor, const T* __restrict addend, int count) {
  int i = 0;
  const auto sweep = [&]<class V>(V) {
    constexpr int lanes = static_cast<int>(sizeof(V) / sizeof(T));
    for (; i + lanes <= count; i += lanes) store(sum + i, load<V>(sum + i) + factor * load<V>(addend + i));
  };
  sweep(Vec<T>{});
  if constexpr (native_bytes > 16) sweep(Vec<T, 16>{});
  for (; i < count; ++i) sum[i] = fused(factor, addend[i], sum[i]);
}

// One window after another, all of it at once: where windows overlap, the order of a sum must not hang on the lanes.
template <class T>
void conv3x3_backward_input_sparse(T* d_input, const SparseGradient<T>& entries, const T* filters,
                                   const Conv3x3Shape& s) noexcept {
  const int run = 3 * s.channels, outputs = s.out_height() * s.out_width();
  const Index row = Index{s.width} * s.channels;
  __builtin_memset(d_input, 0, sizeof(T) * static_cast<std::size_t>(s.height * row));
  for (int f = 0; f < s.filters; ++f, filters += 3 * run) {
    const int* const offset = entries.offset + f * outputs;
    const T* const gradient = entries.gradient + f * outputs;
    for (int i = 0; i < entries.count[f]; ++i)
      for (int dy = 0; dy < 3; ++dy) add_product(d_input + offset[i] + dy * row, gradient[i], filters + dy * run, run);
  }
}

}  // namespace
}  // namespace cnnx
