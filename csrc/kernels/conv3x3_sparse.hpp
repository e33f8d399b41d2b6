// The backward pass of a convolution whose output's gradient is mostly zero, as it is behind a pooling or a ReLU: only
// what is not zero is multiplied. The formulas are those of conv3x3.hpp.
//
// Filter f's entries are entries.offset[f * outputs + i] and entries.gradient[...], i < entries.count[f]: where in the
// input the window begins, and the gradient. Taps sit in the lanes, and a filter's taps stay in registers while its
// entries pass by.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"

namespace cnnx {
namespace {

template <class T>
void conv3x3_gather(const SparseGradient<T>& entries, const T* d_output, const Conv3x3Shape& s) noexcept {
  const int outputs = s.out_height() * s.out_width();
  for (int f = 0; f < s.filters; ++f) entries.count[f] = 0;
  for (int y = 0; y < s.out_height(); ++y)
    for (int x = 0; x < s.out_width(); ++x)
      for (int f = 0; f < s.filters; ++f) {
        const T gradient = *d_output++;
        const int at = f * outputs + entries.count[f];
        entries.offset[at] = (y * s.width + x) * s.channels;
        entries.gradient[at] = gradient;
        entries.count[f] += gradient != 0;
      }
}

// d_filters (filters, 3, 3, channels) and, behind them, d_biases (filters,) are set.
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
    *d_biases++ = sum;
    for (int dy = 0; dy < 3; ++dy, d_filters += run)
      for_channel_tiles<T>(run, [&](auto tile, int first, int taps) {
        const T* const row = input + dy * s.width * s.channels + first;
        typename decltype(tile)::V total[tile.vectors] = {};
        for (int i = 0; i < count; ++i)
          for (int v = 0; v < tile.vectors; ++v)
            total[v] += gradient[i] * tile.read(row + offset[i] + v * tile.lanes, taps);
        for (int v = 0; v < tile.vectors; ++v) tile.write(d_filters + first + v * tile.lanes, total[v], taps);
      });
  }
}

template <class T>
void conv3x3_backward_input_sparse(T* d_input, const SparseGradient<T>& entries, const T* filters,
                                   const Conv3x3Shape& s) noexcept {
  const int run = 3 * s.channels, outputs = s.out_height() * s.out_width();
  __builtin_memset(d_input, 0,
                   sizeof(T) * static_cast<std::size_t>(s.height) * static_cast<std::size_t>(s.width * s.channels));
  for (int f = 0; f < s.filters; ++f) {
    const int* const offset = entries.offset + f * outputs;
    const T* const gradient = entries.gradient + f * outputs;
    for (int dy = 0; dy < 3; ++dy, filters += run)
      for_separate_channel_tiles<T>(run, [&](auto tile, int first, int taps) {
        T* const row = d_input + dy * s.width * s.channels + first;
        typename decltype(tile)::V filter[tile.vectors];
        for (int v = 0; v < tile.vectors; ++v) filter[v] = tile.read(filters + first + v * tile.lanes, taps);
        for (int i = 0; i < entries.count[f]; ++i)
          for (int v = 0; v < tile.vectors; ++v) {
            T* const at = row + offset[i] + v * tile.lanes;
            tile.write(at, tile.read(at, taps) + gradient[i] * filter[v], taps);
          }
      });
  }
}

}  // namespace
}  // namespace cnnx
