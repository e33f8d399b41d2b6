// Conv3x3 and MaxPool2 in one pass over a single-channel image, for the loop over many samples.
//
// A pooled value comes from a 4x4 patch of pixels, which starts at twice its row and column: four outputs of the
// convolution and their maximum. A patch of nothing but the image's first pixel's value is background, as more than
// half of a digit's are. Background has the same values everywhere: one output of the convolution, since its four are
// equal; all four tie; and its share of the filters' gradient is that value times the sum of its gradients, for every
// tap.
//
// pooled (patches, stride), of which the foreground's rows are written and read; background (filters), 0 if there is
// none. What the backward pass needs of a patch's outputs is kept, unless `kept` is null: of ties="all" the outputs
// themselves, of "first" where the winner is: (foreground, 4 or 1, filters of a tile) for each tile, whatever is kept
// as far apart as four outputs of all patches. A window with a NaN has a winner too, whose gradient is a NaN anyway.
#pragma once

#include "../kernels.hpp"
#include "../vec.hpp"
#include "elementwise.hpp"
#include "max_pool2.hpp"

namespace cnnx {
namespace {

// Rows are read in stripes of 64 pixels, which 31 patches begin in. Narrow images, as digits are, have one stripe and
// at most 16 patches beside each other.
inline constexpr int patches_a_stripe = 31, narrow_patches = 16;
static_assert(flags_at_once <= list_room);

template <bool narrow, class Pixel>
int find_foreground_in(int* __restrict patches, std::uint64_t* __restrict scratch, const Pixel* __restrict pixels,
                       const ConvPoolShape& s) noexcept {
  const Pixel background = pixels[0];
  const int width = s.width, out_height = s.out_height(), out_width = s.out_width();
  const auto for_stripes = [&](auto&& body) {
    if constexpr (narrow)
      body(0, out_width);
    else
      for (int x = 0; x < out_width; x += patches_a_stripe) body(x, smaller(out_width - x, patches_a_stripe));
  };
  // Two rows at a time, since patches begin in every second.
  std::uint64_t* __restrict stripe = scratch;
  for (int y = 0; y <= out_height; ++y)
    for_stripes([&](int x, int) {
      const Pixel* const upper = pixels + 2 * (Index{y} * width + x);
      const int count = smaller(width - 2 * x, 64);
      *stripe++ = differing(upper, count, background) | differing(upper + width, count, background);
    });

  int found = 0;
  const Index stripes = narrow ? 1 : (out_width + patches_a_stripe - 1) / patches_a_stripe;
  stripe = scratch;
  for (int y = 0; y < out_height; ++y)
    for_stripes([&](int x, int count) {
      std::uint64_t differs = stripe[0] | stripe[stripes];  // by column; then of it and the three behind it
      ++stripe;
      differs |= differs >> 1;
      differs |= differs >> 2;
      const std::uint32_t flags = even_bits(differs) & ((1U << count) - 1);
      for (int i = 0; i < (narrow ? narrow_patches : count); i += flags_at_once)
        found += list_flags(patches + found, flags >> i & ((1U << flags_at_once) - 1), y * out_width + x + i);
    });
  return found;
}

// Lists the patches that are not background in reading order, with `list_room`; returns their number.
// Pixel is uint8_t or T.
template <class Pixel>
int find_foreground(int* patches, std::uint64_t* scratch, const Pixel* pixels, const ConvPoolShape& s) noexcept {
  return s.out_width() <= narrow_patches ? find_foreground_in<true>(patches, scratch, pixels, s)
                                         : find_foreground_in<false>(patches, scratch, pixels, s);
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

// An image's patches: the first four rows, and how far from their beginning a patch begins.
template <class T>
struct Patches {
  const T* row[4];
  const int* first_pixel;

  Patches(const T* image, const Foreground& foreground, Index width) : first_pixel(foreground.first_pixel) {
    for (int y = 0; y < 4; ++y) row[y] = image + y * width;
  }
};

// Calls body(row of the patch, column, output, tap) for all 36 products, outputs by turns.
template <class Body>
__attribute__((always_inline)) inline void for_products(Body&& body) {
#pragma GCC unroll 4
  for (int y = 0; y < 4; ++y)
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x)
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const int dy = y - q / 2, dx = x - q % 2;
        if (dy >= 0 && dy < 3 && dx >= 0 && dx < 3) body(y, x, q, 3 * dy + dx);
      }
}

// The convolution's outputs on a patch, of which pixel(y, x) are the pixels. Each is the sum of two, over the even taps
// and the odd ones: one sum's additions would wait for each other, longer than a CPU can look ahead.
template <class V, class Pixel>
__attribute__((always_inline)) inline void convolve(V (&output)[4], const V (&filter)[9], const V& bias,
                                                    Pixel&& pixel) {
  V odd[4] = {};
  for (int q = 0; q < 4; ++q) output[q] = bias;
  for_products([&](int y, int x, int q, int t)
                   __attribute__((always_inline)) { (t % 2 == 0 ? output : odd)[q] += pixel(y, x) * filter[t]; });
  for (int q = 0; q < 4; ++q) output[q] += odd[q];
}

template <class V>
V larger(const V& a, const V& b) {
  return b > a ? b : a;
}

// The largest output; with care, a NaN if there is one.
template <class V>
__attribute__((always_inline)) inline V pool(const V (&output)[4], bool careful) {
  if (careful) [[unlikely]]
    return max_or_nan(max_or_nan(output[0], output[1]), max_or_nan(output[2], output[3]));
  return larger(larger(output[0], output[1]), larger(output[2], output[3]));
}

// How many numbers are kept of a patch, for a register's worth of filters.
template <class V, class T>
constexpr Index kept_count(Ties ties) noexcept {
  return (ties == Ties::all ? 4 : 1) * static_cast<Index>(sizeof(V) / sizeof(T));
}

template <class V, class T>
__attribute__((always_inline)) inline void keep(T* kept, const V (&output)[4], Ties ties) {
  if (ties == Ties::all) {
    for (int q = 0; q < 4; ++q, kept += sizeof(V) / sizeof(T)) store(kept, output[q]);
  } else {  // the winner's number in two rows of four pixels: 0 and 1, 4 and 5
    const auto is_lower = less(larger(output[0], output[1]), larger(output[2], output[3]));
    const auto is_right = (is_lower & less(output[2], output[3])) | (~is_lower & less(output[0], output[1]));
    store(kept, (is_right & 1) | (is_lower & 4));
  }
}

// A ReLU that has made its value 0 passes no gradient.
template <class V>
V through_relu(const V& gradient, const V& value) {
  return value > 0 ? gradient : V{};
}

// The gradient of a register's worth of filters and of their biases.
template <Ties ties, class V>
struct FiltersGradient {
  V filter[9] = {}, bias = {};

  // Adds what a patch gives: for every output that receives the gradient, in their order, a tap's pixel times it.
  template <class T>
  __attribute__((always_inline)) void add(const Patches<T>& patches, Index first, const T* kept, const V& largest,
                                          const V& gradient) {
    if constexpr (ties == Ties::first && Lookup<V>::exists) {
      // One output alone, whose pixels the lanes look up: a quarter of the products. A tap's are in two rows.
      const auto winner = load<typename Lookup<V>::Indices>(kept);
      bias += gradient;
#pragma GCC unroll 3
      for (int y = 0; y < 3; ++y) {
        const Lookup<V> pixels(patches.row[y] + first, patches.row[y + 1] + first);
#pragma GCC unroll 3
        for (int x = 0; x < 3; ++x) filter[3 * y + x] += pixels[winner + x] * gradient;
      }
      return;
    }
    V d_output[4];
    if constexpr (ties == Ties::first) {
      const auto winner = load<decltype(largest == largest)>(kept);
      for (int q = 0; q < 4; ++q) d_output[q] = winner == 4 * (q / 2) + q % 2 ? gradient : V{};
    } else {
      V output[4];
      for (int q = 0; q < 4; ++q, kept += sizeof(V) / sizeof(T)) output[q] = load<V>(kept);
      hand_out<ties>(d_output, output, largest, gradient);
    }
    bias += (d_output[0] + d_output[1]) + (d_output[2] + d_output[3]);
    for_products([&](int y, int x, int q, int t)
                     __attribute__((always_inline)) { filter[t] += patches.row[y][first + x] * d_output[q]; });
  }

  // Adds what the background gives, whose every pixel is the same, and sets the packed gradient.
  template <class Tile, class T>
  void write(T* d_packed, const V& d_background, T pixel, int filters, const ConvPoolShape& s) const {
    const int padded = padded_channels<T>(s.filters);
    const V rest = T{ties == Ties::all ? 4 : 1} * d_background;
    V share = pixel * rest;
    hide(share);  // or one target might fuse it into the sums and another not
    for (int t = 0; t < 9; ++t) Tile::write(d_packed + t * padded, filter[t] + share, filters);
    Tile::write(d_packed + 9 * padded, s.bias ? bias + rest : V{}, filters);
  }
};

// The kernels below keep all that they read in locals: to the compiler, a vector that is stored may change anything
// else.

template <class Tile, class T>
void conv_pool_forward_tile(T* __restrict pooled, T* __restrict background, T* __restrict kept,
                            const T* __restrict image, const T* __restrict packed, const Foreground& foreground,
                            int filters, const ConvPoolShape& shape, bool careful) {
  using V = typename Tile::V;
  const ConvPoolShape s = shape;
  const Foreground places = foreground;
  const Patches patches(image, places, s.width);
  const int padded = padded_channels<T>(s.filters);
  V filter[9], output[4];
  for (int t = 0; t < 9; ++t) filter[t] = load<V>(packed + t * padded);
  const V bias = load<V>(packed + 9 * padded);
  const auto write = [&](T* to, V largest) { Tile::write(to, s.relu ? relu(largest) : largest, filters); };
  for (int k = 0; k < places.count; ++k) {
    const Index place = places.patch[k];
    const Index first = patches.first_pixel[place];
    convolve(output, filter, bias, [&](int y, int x) { return patches.row[y][first + x]; });
    write(pooled + place * s.stride, pool(output, careful));
    if (kept == nullptr) continue;
    keep(kept, output, s.ties);
    kept += kept_count<V, T>(s.ties);
  }
  convolve(output, filter, bias, [&](int, int) { return image[0]; });
  write(background, places.count < s.patches() ? output[0] : V{});
}

// Calls body(tile, first, filters, where what the tile keeps begins) for all filters.
template <class T, class Body>
void for_tiles_and_kept(const ConvPoolShape& s, Body&& body) {
  Index kept = 0;
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    body(tile, first, filters, kept);
    kept += Index{4} * tile.lanes * s.patches();
  });
}

template <class T>
void conv_pool_forward(const Pooled<T>& pooled, const T* image, const T* packed, const Foreground& foreground,
                       const ConvPoolShape& s, bool careful) noexcept {
  for_tiles_and_kept<T>(s, [&](auto tile, int first, int filters, Index kept) {
    conv_pool_forward_tile<decltype(tile)>(pooled.values + first, pooled.background + first,
                                           pooled.kept != nullptr ? pooled.kept + kept : nullptr, image, packed + first,
                                           foreground, filters, s, careful);
  });
}

// d_packed is set, not added to; what pads its rows stays as it is. d_background is the sum over all of it.
template <Ties ties, class Tile, class T>
void conv_pool_backward_tile(T* __restrict d_packed, const T* __restrict d_pooled, const T* __restrict d_background,
                             const T* __restrict pooled, const T* __restrict background, const T* __restrict kept,
                             const T* __restrict image, const Foreground& foreground, int filters,
                             const ConvPoolShape& shape) {
  using V = typename Tile::V;
  const ConvPoolShape s = shape;
  const Foreground places = foreground;
  const Patches patches(image, places, s.width);
  FiltersGradient<ties, V> sum;
  for (int k = 0; k < places.count; ++k) {
    const Index place = places.patch[k];
    const V largest = Tile::read(pooled + place * s.stride, filters);
    const V gradient = Tile::read(d_pooled + place * s.stride, filters);
    sum.add(patches, patches.first_pixel[place], kept, largest, s.relu ? through_relu(gradient, largest) : gradient);
    kept += kept_count<V, T>(ties);
  }
  V rest = Tile::read(d_background, filters);
  if (s.relu) rest = through_relu(rest, Tile::read(background, filters));
  // Without background, its value may be an inf or a NaN.
  sum.template write<Tile>(d_packed, rest, places.count < s.patches() ? image[0] : T{0}, filters, s);
}

template <class T>
void conv_pool_backward(T* d_packed, const T* d_pooled, const T* d_background, const Pooled<T>& pooled, const T* image,
                        const Foreground& foreground, const ConvPoolShape& s) noexcept {
  for_tiles_and_kept<T>(s, [&](auto tile, int first, int filters, Index kept) {
    const auto backward = s.ties == Ties::all ? conv_pool_backward_tile<Ties::all, decltype(tile), T>
                                              : conv_pool_backward_tile<Ties::first, decltype(tile), T>;
    backward(d_packed + first, d_pooled + first, d_background + first, pooled.values + first, pooled.background + first,
             pooled.kept + kept, image, foreground, filters, s);
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
template <class T, class V>
V scaled(const V& pixel) {
  constexpr bool is_float = sizeof(T) == sizeof(float);
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  // 1 / 255 is the sum of all powers of 2^-8.
  constexpr T reciprocal = T{1} / T{255};
  constexpr T rest = is_float ? static_cast<T>(1.0 / 255.0 - double{reciprocal}) : reciprocal * T{0x1p-56};
  if constexpr (is_float) {
    const V centred = pixel - T{127.5};
    return fused(centred, V{} + reciprocal, centred * rest);
  } else {
    return fused(pixel, V{} + reciprocal, pixel * rest) - T{0.5};
  }
#else
  if constexpr (is_float) return (pixel - T{127.5}) / T{255};
  return pixel / T{255} - T{0.5};
#endif
}

template <class T>
void scale_pixels(T* __restrict image, const std::uint8_t* __restrict pixels, Index count) noexcept {
  Index i = 0;
  if constexpr (can_load_bytes) {
    constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
    for (; i + lanes <= count; i += lanes) store(image + i, scaled<T>(load_bytes<T>(pixels + i)));
  }
  for (; i < count; ++i) image[i] = scaled<T>(static_cast<T>(pixels[i]));
}

}  // namespace
}  // namespace cnnx
