// Conv3x3 and MaxPool2 in one pass over a single-channel image, for the loop over many samples.
//
// A pooled value comes from a 4x4 patch of pixels, which starts at twice its row and column: four outputs of the
// convolution and their maximum. A patch of nothing but the image's first pixel's value is background, as more than
// half of a digit's are. Background has the same values everywhere: one output of the convolution, since its four are
// equal; all four tie; and its share of the filters' gradient is that value times the sum of its gradients, for every
// tap. Outputs are summed in the order of conv3x3.hpp and agree with it to the bit.
//
// pooled (patches, stride), of which the foreground's rows are written and read; background (filters), 0 if there is
// none; windows (foreground, 4, filters) keeps the four outputs for the backward pass, unless it is null.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"
#include "conv3x3.hpp"
#include "elementwise.hpp"
#include "max_pool2.hpp"

namespace cnnx {
namespace {

// Lists the patches that are not background in reading order; returns their number. Pixel is uint8_t or T; a NaN is no
// background. Scratch is two bytes a pixel. Over the whole image at once: a row alone is too short for wide registers.
template <class Pixel>
int find_foreground(int* __restrict patches, std::uint8_t* __restrict scratch, const Pixel* __restrict pixels,
                    const ConvPoolShape& s) noexcept {
  const int width = s.width, count = s.height * width;
  std::uint8_t* __restrict const differs = scratch;         // [i]: one of four pixels from i on is not background
  std::uint8_t* __restrict const varies = scratch + count;  // [i]: one of the 16 of the patch that starts at i
  const Pixel background = pixels[0];
  for (int i = 0; i < count - 3; ++i)
    differs[i] = (pixels[i] != background) | (pixels[i + 1] != background) | (pixels[i + 2] != background) |
                 (pixels[i + 3] != background);
  for (int i = 0; i < count - 3 * width - 3; ++i)
    varies[i] = differs[i] | differs[i + width] | differs[i + 2 * width] | differs[i + 3 * width];

  int found = 0, patch = 0;
  for (int y = 0; y < s.out_height(); ++y)
    for (int x = 0; x < s.out_width(); ++x, ++patch) {
      patches[found] = patch;
      found += varies[2 * (y * width + x)];
    }
  return found;
}

template <class Tile, class T>
void conv_pool_forward_tile(T* __restrict pooled, T* __restrict background, T* __restrict windows,
                            const T* __restrict image, const T* __restrict packed, const Foreground& foreground,
                            int filters, const ConvPoolShape& s) {
  using V = typename Tile::V;
  const bool keep = windows != nullptr;
  const int padded = padded_channels<T>(s.filters);
  V filter[9];
  for (int t = 0; t < 9; ++t) filter[t] = load<V>(packed + t * padded);
  const V bias = load<V>(packed + 9 * padded);
  const auto activate = [&](const V& v) { return s.relu ? relu(v) : v; };

  for (int k = 0; k < foreground.count; ++k) {
    const int patch = foreground.patch[k];
    const T* pixel = image + foreground.first_pixel[patch];
    V sum[4] = {bias, bias, bias, bias};
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y, pixel += s.width)
#pragma GCC unroll 4
      for (int x = 0; x < 4; ++x)
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const int dy = y - q / 2, dx = x - q % 2;
          if (dy >= 0 && dy < 3 && dx >= 0 && dx < 3) sum[q] += pixel[x] * filter[3 * dy + dx];
        }
    if (keep) {
      for (int q = 0; q < 4; ++q) Tile::write(windows + q * s.filters, sum[q], filters);
      windows += 4 * s.filters;
    }
    const V largest = max_or_nan(max_or_nan(sum[0], sum[1]), max_or_nan(sum[2], sum[3]));
    Tile::write(pooled + Index{patch} * s.stride, activate(largest), filters);
  }

  V sum = bias;
  for (int t = 0; t < 9; ++t) sum += image[0] * filter[t];
  Tile::write(background, foreground.count < s.patches() ? activate(sum) : V{}, filters);
}

template <class T>
void conv_pool_forward(T* pooled, T* background, T* windows, const T* image, const T* packed,
                       const Foreground& foreground, const ConvPoolShape& s) noexcept {
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    conv_pool_forward_tile<decltype(tile)>(pooled + first, background + first,
                                           windows != nullptr ? windows + first : nullptr, image, packed + first,
                                           foreground, filters, s);
  });
}

// d_packed is set, not added to; what pads its rows stays as it is. d_background is the sum over all of it.
template <Ties ties, class Tile, class T>
void conv_pool_backward_tile(T* __restrict d_packed, const T* __restrict d_pooled, const T* __restrict d_background,
                             const T* __restrict pooled, const T* __restrict background, const T* __restrict windows,
                             const T* __restrict image, const Foreground& foreground, int filters,
                             const ConvPoolShape& s) {
  using V = typename Tile::V;
  V d_filter[9] = {}, d_bias = {};
  // A ReLU that has made its value 0 passes no gradient.
  const auto passed = [&](const V& gradient, const V& value) {
    return s.relu ? (value > 0 ? gradient : V{}) : gradient;
  };
  for (int k = 0; k < foreground.count; ++k, windows += 4 * s.filters) {
    const int patch = foreground.patch[k];
    const T* pixel = image + foreground.first_pixel[patch];
    const V largest = Tile::read(pooled + Index{patch} * s.stride, filters);
    V window[4], d_window[4];
    for (int q = 0; q < 4; ++q) window[q] = Tile::read(windows + q * s.filters, filters);
    hand_out<ties>(d_window, window, largest, passed(Tile::read(d_pooled + Index{patch} * s.stride, filters), largest));
    if (s.bias) d_bias += (d_window[0] + d_window[1]) + (d_window[2] + d_window[3]);
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y, pixel += s.width)
#pragma GCC unroll 4
      for (int x = 0; x < 4; ++x)
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const int dy = y - q / 2, dx = x - q % 2;
          if (dy >= 0 && dy < 3 && dx >= 0 && dx < 3) d_filter[3 * dy + dx] += pixel[x] * d_window[q];
        }
  }

  constexpr T tied = ties == Ties::all ? 4 : 1;
  const V rest = tied * passed(Tile::read(d_background, filters), Tile::read(background, filters));
  const bool has_background = foreground.count < s.patches();  // else its value may be a NaN or inf, times 0
  const V share = has_background ? image[0] * rest : V{};
  const int padded = padded_channels<T>(s.filters);
  for (int t = 0; t < 9; ++t) Tile::write(d_packed + t * padded, d_filter[t] + share, filters);
  Tile::write(d_packed + 9 * padded, s.bias ? d_bias + rest : d_bias, filters);
}

template <class T>
void conv_pool_backward(T* d_packed, const T* d_pooled, const T* d_background, const T* pooled, const T* background,
                        const T* windows, const T* image, const Foreground& foreground, const ConvPoolShape& s,
                        Ties ties) noexcept {
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    const auto backward = ties == Ties::all ? conv_pool_backward_tile<Ties::all, decltype(tile), T>
                                            : conv_pool_backward_tile<Ties::first, decltype(tile), T>;
    backward(d_packed + first, d_pooled + first, d_background + first, pooled + first, background + first,
             windows + first, image, foreground, filters, s);
  });
}

// Calls body(patch) for every patch of the background.
template <class Body>
void for_background(const Foreground& foreground, const ConvPoolShape& s, Body&& body) {
  for (int patch = 0, k = 0; patch < s.patches(); ++patch)
    if (k < foreground.count && foreground.patch[k] == patch)
      ++k;
    else
      body(patch);
}

// For layers behind that know of no background: gives it its values in `pooled`, and gathers their gradients.
template <class T>
void spread_background(T* pooled, const T* background, const Foreground& foreground, const ConvPoolShape& s) noexcept {
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    const auto values = tile.read(background + first, filters);
    for_background(foreground, s, [&](Index patch) { tile.write(pooled + patch * s.stride + first, values, filters); });
  });
}

template <class T>
void sum_background(T* d_background, const T* d_pooled, const Foreground& foreground, const ConvPoolShape& s) noexcept {
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    typename decltype(tile)::V sum = {};
    for_background(foreground, s, [&](Index patch) { sum += tile.read(d_pooled + patch * s.stride + first, filters); });
    tile.write(d_background + first, sum, filters);
  });
}

// Pixels from 0 to 255 become x / 255 - 0.5, rounded to T as numpy's float64 result is: (x - 127.5) / 255 is the same
// number, is never half-way between two floats, and its one rounding is the division's.
inline float scaled(float pixel) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  // The quotient from the rounded reciprocal, and what it misses: the division's own result, several times as fast.
  constexpr float reciprocal = 1.0F / 255.0F;
  const float quotient = (pixel - 127.5F) * reciprocal;
  return fused(fused(-quotient, 255.0F, pixel - 127.5F), reciprocal, quotient);
#else
  return (pixel - 127.5F) / 255.0F;
#endif
}
inline double scaled(double pixel) {
  return pixel / 255.0 - 0.5;
}

template <class T>
void scale_pixels(T* __restrict image, const std::uint8_t* __restrict pixels, Index count) noexcept {
  for (Index i = 0; i < count; ++i) image[i] = scaled(static_cast<T>(pixels[i]));
}

}  // namespace
}  // namespace cnnx
