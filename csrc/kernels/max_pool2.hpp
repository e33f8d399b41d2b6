// MaxPool2 of the article: the maximum of each 2x2 window, per channel; an odd last row or column is left
// out.
//
//   output[y, x, c]    = max of input[2y + i, 2x + j, c] over i, j in {0, 1}
//   d_input[2y+i, 2x+j, c] = d_output[y, x, c] where input[2y+i, 2x+j, c] == output[y, x, c], else 0
//
// The article's rule (Ties::all) gives the gradient to every pixel that equals the maximum; Ties::first to
// the first of them in reading order. As numpy's maximum does, a NaN wins; since it equals nothing, it passes
// no gradient.
#pragma once

#include "../kernels.hpp"

namespace cnnx {
namespace {

template <class T>
T max_or_nan(T a, T b) {
  return b > a || b != b ? b : a;
}

// One output row: two input rows, `width` input columns.
template <class T>
void max_pool2_row(T* __restrict output, const T* __restrict upper, const T* __restrict lower, int out_width,
                   int channels) {
  for (int x = 0; x < out_width; ++x, upper += 2 * channels, lower += 2 * channels, output += channels)
    for (int c = 0; c < channels; ++c)
      output[c] = max_or_nan(max_or_nan(upper[c], upper[channels + c]), max_or_nan(lower[c], lower[channels + c]));
}

template <class T>
void max_pool2_forward(T* output, const T* input, const MaxPool2Shape& s) noexcept {
  const Index row = Index{s.width} * s.channels;
  for (int y = 0; y < s.out_height(); ++y)
    max_pool2_row(output + Index{y} * s.out_width() * s.channels, input + 2 * y * row, input + (2 * y + 1) * row,
                  s.out_width(), s.channels);
}

template <Ties ties, class T>
void max_pool2_backward_row(T* __restrict d_upper, T* __restrict d_lower, const T* __restrict d_output,
                            const T* __restrict upper, const T* __restrict lower, int out_width, int channels) {
  for (int x = 0; x < out_width; ++x) {
    for (int c = 0, right = channels; c < channels; ++c, ++right) {
      const T a = upper[c], b = upper[right], d = lower[c], e = lower[right];
      const T largest = max_or_nan(max_or_nan(a, b), max_or_nan(d, e));
      const T gradient = d_output[c];
      bool at_a = a == largest, at_b = b == largest, at_d = d == largest, at_e = e == largest;
      if constexpr (ties == Ties::first) {
        at_e = at_e & !(at_a | at_b | at_d);
        at_d = at_d & !(at_a | at_b);
        at_b = at_b & !at_a;
      }
      d_upper[c] = at_a ? gradient : T{0};
      d_upper[right] = at_b ? gradient : T{0};
      d_lower[c] = at_d ? gradient : T{0};
      d_lower[right] = at_e ? gradient : T{0};
    }
    upper += 2 * channels, lower += 2 * channels, d_output += channels;
    d_upper += 2 * channels, d_lower += 2 * channels;
  }
}

template <class T>
void max_pool2_backward(T* d_input, const T* d_output, const T* input, const MaxPool2Shape& s, Ties ties) noexcept {
  const Index row = Index{s.width} * s.channels;
  const auto backward_row =
      ties == Ties::all ? max_pool2_backward_row<Ties::all, T> : max_pool2_backward_row<Ties::first, T>;
  if (s.height % 2 != 0 || s.width % 2 != 0)
    __builtin_memset(d_input, 0, sizeof(T) * static_cast<std::size_t>(s.height * row));
  for (int y = 0; y < s.out_height(); ++y)
    backward_row(d_input + 2 * y * row, d_input + (2 * y + 1) * row, d_output + Index{y} * s.out_width() * s.channels,
                 input + 2 * y * row, input + (2 * y + 1) * row, s.out_width(), s.channels);
}

}  // namespace
}  // namespace cnnx
