// Conv3x3 and MaxPool2 in one pass over a single-channel image, for the loop over many samples.
//
// A pooled value comes from a 4x4 patch of pixels, which starts at twice its row and column: four outputs of the
// convolution and their maximum. A patch of one value, which more than half of a digit's are, needs one output only:
// its four are equal, all tie, and its share of the filters' gradient is that value times the gradient, for every tap.
// Outputs are summed in the order of conv3x3.hpp and agree with it to the bit.
//
// windows (varied patches, 4, filters) keeps the four outputs for the backward pass, unless it is null; pooled
// (patches, filters).
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"
#include "conv3x3.hpp"
#include "elementwise.hpp"
#include "max_pool2.hpp"

namespace cnnx {
namespace {

// Not zero if the two differ; of floats, a NaN differs from everything.
inline std::uint8_t differ(std::uint8_t a, std::uint8_t b) {
  return a ^ b;
}
template <class T>
std::uint8_t differ(T a, T b) {
  return a != b;
}

// Sorts the patches into varied and constant ones, in reading order. Pixel is uint8_t or T. Scratch is three bytes a
// pixel. Over the whole image at once, since a row alone is too short for wide registers.
template <class Pixel>
PatchCounts find_patches(int* __restrict varied, int* __restrict constant, std::uint8_t* __restrict scratch,
                         const Pixel* __restrict pixels, const ConvPoolShape& s) noexcept {
  const int width = s.width, count = s.height * width, last = count - 3 * width;
  std::uint8_t* __restrict const below = scratch;                  // [i]: the three pixels below pixel i differ from it
  std::uint8_t* __restrict const behind = scratch + count;         // [i]: the pixel behind pixel i differs from it
  std::uint8_t* __restrict const varies_at = scratch + 2 * count;  // [i]: the patch that starts at pixel i is varied
  const Pixel *const one = pixels + width, *const two = one + width, *const three = two + width;
  for (int i = 0; i < last; ++i)
    below[i] = differ(pixels[i], one[i]) | differ(pixels[i], two[i]) | differ(pixels[i], three[i]);
  for (int i = 0; i < last; ++i) behind[i] = differ(pixels[i], pixels[i + 1]);
  for (int i = 0; i < last - 3; ++i)
    varies_at[i] = below[i] | below[i + 1] | below[i + 2] | below[i + 3] | behind[i] | behind[i + 1] | behind[i + 2];

  PatchCounts counts{0, 0};
  int patch = 0;
  for (int y = 0; y < s.out_height(); ++y)
    for (int x = 0; x < s.out_width(); ++x, ++patch) {
      const bool is_varied = varies_at[2 * (y * width + x)] != 0;
      varied[counts.varied] = patch;
      constant[counts.constant] = patch;
      counts.varied += is_varied;
      counts.constant += !is_varied;
    }
  return counts;
}

template <class Tile, class T>
void conv_pool_forward_tile(T* __restrict pooled, T* __restrict windows, const T* __restrict image,
                            const T* __restrict packed, const PatchSet& patches, int filters, const ConvPoolShape& s) {
  using V = typename Tile::V;
  const bool keep = windows != nullptr;
  const int padded = padded_channels<T>(s.filters);
  V filter[9];
  for (int t = 0; t < 9; ++t) filter[t] = load<V>(packed + t * padded);
  const V bias = load<V>(packed + 9 * padded);
  const auto activate = [&](const V& v) { return s.relu ? relu(v) : v; };

  for (int k = 0; k < patches.counts.varied; ++k) {
    const int patch = patches.varied[k];
    const T* pixel = image + patches.first_pixel[patch];
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
    Tile::write(pooled + Index{patch} * s.filters, activate(largest), filters);
  }

  T value = 0;
  V sum = {};
  for (int k = 0; k < patches.counts.constant; ++k) {
    const int patch = patches.constant[k];
    if (k == 0 || image[patches.first_pixel[patch]] != value) {
      value = image[patches.first_pixel[patch]];
      sum = bias;
      for (int t = 0; t < 9; ++t) sum += value * filter[t];
    }
    Tile::write(pooled + Index{patch} * s.filters, activate(sum), filters);
  }
}

template <class T>
void conv_pool_forward(T* pooled, T* windows, const T* image, const T* packed, const PatchSet& patches,
                       const ConvPoolShape& s) noexcept {
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    conv_pool_forward_tile<decltype(tile)>(pooled + first, windows != nullptr ? windows + first : nullptr, image,
                                           packed + first, patches, filters, s);
  });
}

// d_packed is set, not added to; what pads its rows stays as it is.
template <Ties ties, class Tile, class T>
void conv_pool_backward_tile(T* __restrict d_packed, const T* __restrict d_pooled, const T* __restrict pooled,
                             const T* __restrict windows, const T* __restrict image, const PatchSet& patches,
                             int filters, const ConvPoolShape& s) {
  using V = typename Tile::V;
  V d_filter[9] = {}, d_bias = {};
  // A ReLU that has made its value 0 passes no gradient.
  const auto gradient_at = [&](int patch) {
    const V gradient = Tile::read(d_pooled + Index{patch} * s.filters, filters);
    if (!s.relu) return gradient;
    return Tile::read(pooled + Index{patch} * s.filters, filters) > 0 ? gradient : V{};
  };
  for (int k = 0; k < patches.counts.varied; ++k, windows += 4 * s.filters) {
    const int patch = patches.varied[k];
    const T* pixel = image + patches.first_pixel[patch];
    const V largest = Tile::read(pooled + Index{patch} * s.filters, filters);
    V window[4], d_window[4];
    for (int q = 0; q < 4; ++q) window[q] = Tile::read(windows + q * s.filters, filters);
    hand_out<ties>(d_window, window, largest, gradient_at(patch));
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

  // One run of equal values after another: their gradients' sum, times the value. Four partial sums hide the latency.
  constexpr T ties_of_four = ties == Ties::all ? 4 : 1;
  T value = 0;
  V run[4] = {}, share = {}, sum = {};
  const auto end_run = [&] {
    const V total = (run[0] + run[1]) + (run[2] + run[3]);
    share += value * total;
    sum += total;
    for (V& part : run) part = V{};
  };
  const auto take = [&](int k, V& part) {
    const int patch = patches.constant[k];
    const T found = image[patches.first_pixel[patch]];
    if (found != value) {
      end_run();
      value = found;
    }
    part += gradient_at(patch);
  };
  int k = 0;
  for (; k + 4 <= patches.counts.constant; k += 4)
    take(k, run[0]), take(k + 1, run[1]), take(k + 2, run[2]), take(k + 3, run[3]);
  for (; k < patches.counts.constant; ++k) take(k, run[0]);
  end_run();
  share *= ties_of_four;
  if (s.bias) d_bias += ties_of_four * sum;

  const int padded = padded_channels<T>(s.filters);
  for (int t = 0; t < 9; ++t) Tile::write(d_packed + t * padded, d_filter[t] + share, filters);
  Tile::write(d_packed + 9 * padded, d_bias, filters);
}

template <class T>
void conv_pool_backward(T* d_packed, const T* d_pooled, const T* pooled, const T* windows, const T* image,
                        const PatchSet& patches, const ConvPoolShape& s, Ties ties) noexcept {
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    const auto backward = ties == Ties::all ? conv_pool_backward_tile<Ties::all, decltype(tile), T>
                                            : conv_pool_backward_tile<Ties::first, decltype(tile), T>;
    backward(d_packed + first, d_pooled + first, pooled + first, windows + first, image, patches, filters, s);
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
