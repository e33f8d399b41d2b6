// Conv3x3 and MaxPool2 in one pass over a single-channel image, for the loop over many samples.
//
// A pooled value is the maximum of four outputs of the convolution. These depend on a 4x4 patch of pixels:
//
//      x x x x     the patch of pooled value (y, x): pixels (2y, 2x) to (2y + 3, 2x + 3);
//      x o o x     its four 3x3 windows begin at (2y, 2x), (2y, 2x + 1), (2y + 1, 2x) and (2y + 1, 2x + 1)
//      x o o x     and have their centres at the four o
//      x x x x
//
// A patch is background if all of its pixels have the background's value; more than half of a digit's patches are. All
// background patches have the same pooled value, which is a single output of the convolution, since the four are equal.
// As all four tie, each tap's share in the filters' gradient is background_pixel times the sum of the background
// patches' gradients: four times that with ties="all", once with "first".
//
// Layouts: values (patches, stride), of which only the foreground's rows are written and read; background (filters,),
// 0 if no patch is background. `kept`, unless null, has a section for each tile of filters, 4 * patches * lanes of the
// tile long. For ties="all" a section holds the convolution's outputs, (foreground, 4, lanes); for "first", the winners
// as keep() numbers them, (foreground, lanes).
//
// Pixels and filters are finite and at most 2^20 in size (are_small). For others, a network uses its plain plan.
#pragma once

#include "../simd/tiles.hpp"
#include "kernels.hpp"
#include "max_pool2.hpp"
#include "relu.hpp"

namespace cnnx {
namespace {

// An image's patches: row[y][first_pixel[patch] + x] is pixel (y, x) of a patch.
template <class T>
struct Patches {
  const T* row[4];
  const int* first_pixel;

  Patches(const PooledImage<T>& pooled, Index width) : first_pixel(pooled.first_pixel) {
    for (int y = 0; y < 4; ++y) row[y] = pooled.pixels + y * width;
  }
};

// Calls body(row, column, output, tap) for the 36 products of a patch's pixels and taps. The four outputs take turns.
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

// The convolution's four outputs on a patch; pixel(y, x) gives its pixels. An output is the sum of two sums, over the
// even taps and over the odd ones. In a single sum the additions would wait for each other longer than a CPU can look
// ahead.
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
__attribute__((always_inline)) inline V pool(const V (&output)[4]) {
  return larger(larger(output[0], output[1]), larger(output[2], output[3]));
}

// How many numbers are kept for a patch and one register of filters.
template <class V, class T>
constexpr Index kept_count(Ties ties) noexcept {
  return (ties == Ties::all ? 4 : 1) * static_cast<Index>(sizeof(V) / sizeof(T));
}

template <class V, class T>
__attribute__((always_inline)) inline void keep(T* kept, const V (&output)[4], Ties ties) {
  if (ties == Ties::all) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) store(kept + q * static_cast<Index>(sizeof(V) / sizeof(T)), output[q]);
  } else {  // the winner's index in a Lookup of two rows of four pixels: 0 or 1, 4 or 5
    const auto is_lower = less(larger(output[0], output[1]), larger(output[2], output[3]));
    const auto is_right = (is_lower & less(output[2], output[3])) | (~is_lower & less(output[0], output[1]));
    store(kept, (is_right & 1) | (is_lower & 4));
  }
}

// Guesses whether few outputs of the filters before `end` tie. Around the background many do. Lanes without a filter
// always do.
template <class T>
bool has_few_ties(const PooledImage<T>& pooled, int end, const ConvPoolShape& s) {
  return end <= s.filters && 10 * Index{pooled.count} > 9 * Index{s.patches()};
}

// Finds each lane's winner in what keep() kept, as an index in a Lookup. Returns false if a lane has several winners. A
// lane without one gets any index, because its gradient is 0.
template <Ties ties, class V, class T, class Indices>
__attribute__((always_inline)) inline bool find_winner(Indices& winner, const T* kept, const V& largest) {
  if constexpr (ties == Ties::first) {
    winner = load<Indices>(kept);
    return true;
  } else {
    constexpr int lanes = sizeof(V) / sizeof(T);
    const auto wins = [&](int q) { return (Indices)equal(load<V>(kept + q * lanes), largest); };
    const Indices one = wins(1), two = wins(2), three = wins(3);
    winner = (one & 1) | (two & 4) | (three & 5);
    return !any_negative(((wins(0) + one) + (two + three)) + 1);
  }
}

// The gradient of one register of filters and of their biases.
template <class V>
struct FiltersGradient {
  V filter[9] = {}, bias = {};

  // Adds a patch's share to the taps: for each output that receives the gradient, in order, the tap's pixel times the
  // gradient. Returns the patch's share in the biases' gradient. `few_ties` changes no result. With ties="all" it makes
  // the usual patch faster, and a patch with ties slower.
  template <Ties ties, class T>
  [[nodiscard]] __attribute__((always_inline)) V add(const Patches<T>& patches, Index first, const T* kept,
                                                     const V& largest, const V& gradient,
                                                     [[maybe_unused]] bool few_ties) {
    if constexpr (Lookup<V>::exists) {
      // If one output alone receives the gradient, each lane looks up that output's pixels: a quarter of the products.
      // The four pixels that a tap may need are in two rows of the patch.
      typename Lookup<V>::Indices winner;
      if ((ties == Ties::first || few_ties) && find_winner<ties>(winner, kept, largest)) {
#pragma GCC unroll 3
        for (int y = 0; y < 3; ++y) {
          const Lookup<V> pixels(patches.row[y] + first, patches.row[y + 1] + first);
#pragma GCC unroll 3
          for (int x = 0; x < 3; ++x) filter[3 * y + x] += pixels[winner + x] * gradient;
        }
        return gradient;
      }
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
    for_products([&](int y, int x, int q, int t)
                     __attribute__((always_inline)) { filter[t] += patches.row[y][first + x] * d_output[q]; });
    return (d_output[0] + d_output[1]) + (d_output[2] + d_output[3]);
  }

  // Adds the background's share, and sets `to`, or adds to it. Not inlined: its callers are many.
  template <class Tile, bool adds, class T>
  [[gnu::noinline]] void write(T* to, const T* d_background, const PooledImage<T>& pooled, int first, int filters,
                               const ConvPoolShape& s) const {
    const int padded = padded_channels<T>(s.filters);
    V d = Tile::read(d_background + first, filters);
    if (s.relu) d = through_relu(d, Tile::read(pooled.background + first, filters));
    // If no patch is background, its gradient is 0 except for rounding errors.
    const T pixel = pooled.count < s.patches() ? pooled.background_pixel : T{0};
    const V rest = static_cast<T>(s.ties == Ties::all ? 4 : 1) * d;
    V share = pixel * rest;
    hide(share);  // otherwise one target might fuse the product into the sums and another might not
    const auto put = [&](int t, const V& v) {
      T* const at = to + first + t * padded;
      Tile::write(at, adds ? Tile::read(at, filters) + v : v, filters);
    };
    for (int t = 0; t < 9; ++t) put(t, filter[t] + share);
    put(9, s.bias ? bias + rest : V{});
  }
};

// The kernels below copy what they read into locals: for the compiler, storing a vector may change anything in memory.

// `first` is the tile's first filter. `kept` is the tile's own section, or null.
template <class Tile, class T>
void conv_pool_forward_tile(const PooledImage<T>& pooled, T* __restrict kept, const T* __restrict packed, int first,
                            int filters, const ConvPoolShape& shape) {
  using V = typename Tile::V;
  const ConvPoolShape s = shape;
  const Patches patches(pooled, s.width);
  const int* __restrict foreground = pooled.foreground, places = pooled.count;
  T* __restrict values = pooled.values + first;
  const int padded = padded_channels<T>(s.filters);
  V filter[9], output[4];
  for (int t = 0; t < 9; ++t) filter[t] = load<V>(packed + first + t * padded);
  const V bias = load<V>(packed + first + 9 * padded);
  const auto write = [&](T* to, V largest) { Tile::write(to, s.relu ? relu(largest) : largest, filters); };
  const T background_pixel = pooled.background_pixel;
  convolve(output, filter, bias, [&](int, int) { return background_pixel; });
  write(pooled.background + first, places < s.patches() ? output[0] : V{});
  const Index kept_each = kept_count<V, T>(s.ties);
  for (int k = 0; k < places; ++k) {
    const Index place = foreground[k];
    const Index first_pixel = patches.first_pixel[place];
    convolve(output, filter, bias, [&](int y, int x) { return patches.row[y][first_pixel + x]; });
    write(values + place * s.stride, pool(output));
    if (kept == nullptr) continue;
    keep(kept, output, s.ties);
    kept += kept_each;
  }
}

// The foreground's share in the gradient of a tile's filters. `d_pooled` begins at the tile's first filter, `kept` at
// the tile's section.
template <class Tile, Ties ties, class T>
void conv_pool_backward_tile(FiltersGradient<typename Tile::V>& gradient, const T* __restrict d_pooled,
                             const PooledImage<T>& pooled, const T* __restrict kept, int first, int filters,
                             const ConvPoolShape& shape) {
  using V = typename Tile::V;
  const ConvPoolShape s = shape;
  const Patches patches(pooled, s.width);
  const int* __restrict foreground = pooled.foreground, places = pooled.count;
  const T* __restrict values = pooled.values + first;
  FiltersGradient<V> sum;
  V bias{};
  kept += places * kept_count<V, T>(ties);
  const auto add_patches = [&](auto few_ties) __attribute__((always_inline)) {
    for (int k = places; k-- > 0;) {
      kept -= kept_count<V, T>(ties);
      const Index place = foreground[k];
      const V largest = Tile::read(values + place * s.stride, filters);
      const V d = Tile::read(d_pooled + place * s.stride, filters);
      bias += sum.template add<ties>(patches, patches.first_pixel[place], kept, largest,
                                     s.relu ? through_relu(d, largest) : d, few_ties);
      if constexpr (register_count == 16) stay_in_memory(bias);  // the taps' nine sums need the registers more
    }
  };
  if (ties == Ties::all && Lookup<V>::exists && has_few_ties(pooled, first + Tile::lanes, s))
    add_patches(std::true_type{});
  else
    add_patches(std::false_type{});
  sum.bias = bias;
  gradient = sum;
}

}  // namespace
}  // namespace cnnx
