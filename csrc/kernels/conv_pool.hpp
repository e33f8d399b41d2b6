// Conv3x3 and MaxPool2 in one pass over a single-channel image, for the loop over many samples.
//
// A pooled value comes from a 4x4 patch of pixels, which starts at twice its row and column: four outputs of the
// convolution and their maximum. A patch of nothing but the image's first pixel's value is background, as more than
// half of a digit's are. Background has the same values everywhere: one output of the convolution, since its four are
// equal; all four tie; and its share of the filters' gradient is that value times the sum of its gradients, for every
// tap. Outputs are summed in the order of conv3x3.hpp and agree with it to the bit.
//
// pooled (patches, stride), of which the foreground's rows are written and read; background (filters), 0 if there is
// none; windows (tiles of filters, foreground, 4, filters of a tile) keeps the four outputs for the backward pass,
// unless it is null.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"
#include "conv3x3.hpp"
#include "elementwise.hpp"
#include "max_pool2.hpp"

namespace cnnx {
namespace {

// For each set of four flags, bit i for flag i: the flags' places in order, and how many there are.
struct FlagPlaces {
  int places[16][4] = {};
  int count[16] = {};

  constexpr FlagPlaces() {
    for (int flags = 0; flags < 16; ++flags)
      for (int i = 0; i < 4; ++i)
        if (flags >> i & 1) places[flags][count[flags]++] = i;
  }
};
inline constexpr FlagPlaces flag_places;

// Lists the patches that are not background in reading order, with room for four more; returns their number. Pixel is
// uint8_t or T; a NaN is no background. Scratch is two bytes a pixel and 256. Most of it works on the whole image at
// once, since a row alone is too short for wide registers.
template <class Pixel>
int find_foreground(int* __restrict patches, std::uint8_t* __restrict scratch, const Pixel* __restrict pixels,
                    const ConvPoolShape& s) noexcept {
  constexpr int room = 128;
  const int width = s.width, count = s.height * width, rows_count = count - 3 * width;
  std::uint8_t* __restrict const differs = scratch;                 // [i]: pixel i is not background
  std::uint8_t* __restrict const columns = scratch + count + room;  // [i]: it or one of the three below it is not
  const Pixel background = pixels[0];
  for (int i = 0; i < count; ++i) differs[i] = pixels[i] != background;
  for (int i = 0; i < rounded_up(rows_count, 64); ++i)
    columns[i] = differs[i] | differs[i + width] | differs[i + 2 * width] | differs[i + 3 * width];

  // Four patches at a time: eight bytes of `columns` are 0 or 1, and a patch is the even one of a pair with the three
  // behind it. The product gathers the four patches' flags in its highest bits.
  int found = 0;
  const int out_width = s.out_width();
  for (int y = 0; y < s.out_height(); ++y)
    for (int x = 0; x < out_width; x += 4) {
      const std::uint8_t* const at = columns + 2 * (y * width + x);
      std::uint64_t flags = load<std::uint64_t>(at) | load<std::uint64_t>(at + 2);
      flags = (flags | flags >> 8) & 0x0001000100010001U;
      flags = (flags * 0x0001000200040008U) >> 48 & (out_width - x < 4 ? (1U << (out_width - x)) - 1 : 15U);
      const int first = y * out_width + x;
      for (int i = 0; i < 4; ++i) patches[found + i] = first + flag_places.places[flags][i];
      found += flag_places.count[flags];
    }
  return found;
}

// Whether all values are small enough that no convolution of such pixels with such filters comes to an inf or a NaN.
template <class T>
bool are_small(const T* values, Index count) noexcept {
  using V = Vec<T>;
  constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
  constexpr T limit = 1 << 20;
  auto small = V{} == V{};
  const auto look = [&](const V& v) { small &= (v <= limit) & (v >= -limit); };
  Index i = 0;
  for (; i + lanes <= count; i += lanes) look(load<V>(values + i));
  look(load_first<V>(values + i, static_cast<int>(count - i)));
  for (int lane = 1; lane < lanes; ++lane) small[0] &= small[lane];
  return small[0] != 0;
}

// The larger one, at once; or with care, a NaN winning.
template <bool careful, class V>
V larger(const V& a, const V& b) {
  if constexpr (careful)
    return max_or_nan(a, b);
  else
    return b > a ? b : a;
}

// The kernels below keep all that they read in locals: to the compiler, a vector that is stored may change anything
// else.

template <bool careful, class Tile, class T>
void conv_pool_forward_tile(T* __restrict pooled, T* __restrict background, T* __restrict windows,
                            const T* __restrict image, const T* __restrict packed, const Foreground& foreground,
                            int filters, const ConvPoolShape& s) {
  using V = typename Tile::V;
  const bool keep = windows != nullptr, has_relu = s.relu;
  const int* const __restrict patches = foreground.patch, * const __restrict first_pixel = foreground.first_pixel;
  const int count = foreground.count, padded = padded_channels<T>(s.filters);
  const Index width = s.width, stride = s.stride;
  V filter[9];
  for (int t = 0; t < 9; ++t) filter[t] = load<V>(packed + t * padded);
  const V bias = load<V>(packed + 9 * padded);

  for (int k = 0; k < count; ++k) {
    const Index patch = patches[k];
    const T* const first = image + first_pixel[patch];
    const T* const pixel[4] = {first, first + width, first + 2 * width, first + 3 * width};
    V sum[4] = {bias, bias, bias, bias};
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y)
#pragma GCC unroll 4
      for (int x = 0; x < 4; ++x)
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const int dy = y - q / 2, dx = x - q % 2;
          if (dy >= 0 && dy < 3 && dx >= 0 && dx < 3) sum[q] += pixel[y][x] * filter[3 * dy + dx];
        }
    if (keep)
      for (int q = 0; q < 4; ++q, windows += Tile::lanes) store(windows, sum[q]);
    const V largest = larger<careful>(larger<careful>(sum[0], sum[1]), larger<careful>(sum[2], sum[3]));
    Tile::write(pooled + patch * stride, has_relu ? relu(largest) : largest, filters);
  }

  V sum = bias;
  for (int t = 0; t < 9; ++t) sum += image[0] * filter[t];
  Tile::write(background, count < s.patches() ? (has_relu ? relu(sum) : sum) : V{}, filters);
}

// Calls body(tile, first, filters, where the tile's windows begin) for all filters.
template <class T, class Body>
void for_tiles_and_windows(const ConvPoolShape& s, Body&& body) {
  Index windows = 0;
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    body(tile, first, filters, windows);
    windows += Index{4} * tile.lanes * s.patches();
  });
}

template <class T>
void conv_pool_forward(T* pooled, T* background, T* windows, const T* image, const T* packed,
                       const Foreground& foreground, const ConvPoolShape& s, bool careful) noexcept {
  for_tiles_and_windows<T>(s, [&](auto tile, int first, int filters, Index tile_windows) {
    const auto forward =
        careful ? conv_pool_forward_tile<true, decltype(tile), T> : conv_pool_forward_tile<false, decltype(tile), T>;
    forward(pooled + first, background + first, windows != nullptr ? windows + tile_windows : nullptr, image,
            packed + first, foreground, filters, s);
  });
}

// Adds what a patch gives to the filters' gradient: for every output q that receives the gradient, in their order, tap
// t's pixel times it. d_bias is the sum over outputs.
template <Ties ties, class V, class T>
void add_patch(V (&d_filter)[9], V* d_bias, const T* const (&pixel)[4], const V (&window)[4], const V& largest,
               const V& gradient) {
  V d_window[4];
  hand_out<ties>(d_window, window, largest, gradient);
  if (d_bias != nullptr) *d_bias += (d_window[0] + d_window[1]) + (d_window[2] + d_window[3]);
#pragma GCC unroll 4
  for (int y = 0; y < 4; ++y)
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x)
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const int dy = y - q / 2, dx = x - q % 2;
        if (dy >= 0 && dy < 3 && dx >= 0 && dx < 3) d_filter[3 * dy + dx] += pixel[y][x] * d_window[q];
      }
}

// The same to the bit if there is one output alone, and lanes can look up its pixels: a quarter of the products. It is
// known by its first pixel's place in two rows of four; those of a tap in row y are in the patch's rows y and y + 1.
template <class V, class T>
void add_looked_up_patch(V (&d_filter)[9], V* d_bias, const T* const (&pixel)[4], const V (&window)[4],
                         const V& gradient) {
  const auto right_above = less(window[0], window[1]), right_below = less(window[2], window[3]);
  const auto below = less(larger<false>(window[0], window[1]), larger<false>(window[2], window[3]));
  const auto place = (below & ((right_below & 1) | 4)) | (~below & (right_above & 1));
  const Lookup<V> rows[3] = {{pixel[0], pixel[1]}, {pixel[1], pixel[2]}, {pixel[2], pixel[3]}};
  if (d_bias != nullptr) *d_bias += gradient;
#pragma GCC unroll 3
  for (int y = 0; y < 3; ++y)
#pragma GCC unroll 3
    for (int x = 0; x < 3; ++x) d_filter[3 * y + x] += rows[y][place + x] * gradient;
}

// d_packed is set, not added to; what pads its rows stays as it is. d_background is the sum over all of it.
template <Ties ties, class Tile, class T>
void conv_pool_backward_tile(T* __restrict d_packed, const T* __restrict d_pooled, const T* __restrict d_background,
                             const T* __restrict pooled, const T* __restrict background, const T* __restrict windows,
                             const T* __restrict image, const Foreground& foreground, int filters,
                             const ConvPoolShape& s) {
  using V = typename Tile::V;
  const bool has_relu = s.relu, has_bias = s.bias;
  const int* const __restrict patches = foreground.patch, * const __restrict first_pixel = foreground.first_pixel;
  const int count = foreground.count, padded = padded_channels<T>(s.filters);
  const Index width = s.width, stride = s.stride;
  V d_filter[9] = {}, d_bias = {};
  for (int k = 0; k < count; ++k) {
    const Index patch = patches[k];
    const T* const first = image + first_pixel[patch];
    const T* const pixel[4] = {first, first + width, first + 2 * width, first + 3 * width};
    const V largest = Tile::read(pooled + patch * stride, filters);
    V window[4], gradient = Tile::read(d_pooled + patch * stride, filters);
    // A ReLU that has made its value 0 passes no gradient.
    if (has_relu) gradient = largest > 0 ? gradient : V{};
    for (int q = 0; q < 4; ++q, windows += Tile::lanes) window[q] = load<V>(windows);
    V* const d_bias_or_null = has_bias ? &d_bias : nullptr;
    if constexpr (ties == Ties::first && Lookup<V>::exists)
      add_looked_up_patch(d_filter, d_bias_or_null, pixel, window, gradient);
    else
      add_patch<ties>(d_filter, d_bias_or_null, pixel, window, largest, gradient);
  }

  constexpr T tied = ties == Ties::all ? 4 : 1;
  V rest = tied * Tile::read(d_background, filters);
  if (has_relu) rest = Tile::read(background, filters) > 0 ? rest : V{};
  const V share = count < s.patches() ? image[0] * rest : V{};  // without background, its value may be an inf or a NaN
  for (int t = 0; t < 9; ++t) Tile::write(d_packed + t * padded, d_filter[t] + share, filters);
  Tile::write(d_packed + 9 * padded, has_bias ? d_bias + rest : d_bias, filters);
}

template <class T>
void conv_pool_backward(T* d_packed, const T* d_pooled, const T* d_background, const T* pooled, const T* background,
                        const T* windows, const T* image, const Foreground& foreground, const ConvPoolShape& s,
                        Ties ties) noexcept {
  for_tiles_and_windows<T>(s, [&](auto tile, int first, int filters, Index tile_windows) {
    const auto backward = ties == Ties::all ? conv_pool_backward_tile<Ties::all, decltype(tile), T>
                                            : conv_pool_backward_tile<Ties::first, decltype(tile), T>;
    backward(d_packed + first, d_pooled + first, d_background + first, pooled + first, background + first,
             windows + tile_windows, image, foreground, filters, s);
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

// Pixels from 0 to 255 become x / 255 - 0.5, rounded to T as numpy's float64 result is. Of float, (x - 127.5) / 255 is
// the same number, is never half-way between two floats, and its one rounding is the division's. With a fused
// multiply-add the reciprocal in two parts gives the division's own result, several times as fast.
inline float scaled(float pixel) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  constexpr float reciprocal = 1.0F / 255.0F, rest = static_cast<float>(1.0 / 255.0 - double{reciprocal});
  return fused(pixel - 127.5F, reciprocal, (pixel - 127.5F) * rest);
#else
  return (pixel - 127.5F) / 255.0F;
#endif
}
inline double scaled(double pixel) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  constexpr double reciprocal = 1.0 / 255.0, rest = reciprocal * 0x1p-56;  // 1 / 255 is the sum of all powers of 2^-8
  return fused(pixel, reciprocal, pixel * rest) - 0.5;
#else
  return pixel / 255.0 - 0.5;
#endif
}

template <class T>
void scale_pixels(T* __restrict image, const std::uint8_t* __restrict pixels, Index count) noexcept {
  for (Index i = 0; i < count; ++i) image[i] = scaled(static_cast<T>(pixels[i]));
}

}  // namespace
}  // namespace cnnx
