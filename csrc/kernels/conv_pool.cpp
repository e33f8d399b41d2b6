// The kernels of conv_pool.hpp for all filters of an image, and two kernels for later layers that read every patch,
// background or not.
#include "conv_pool.hpp"

#include "target.hpp"

namespace cnnx {
namespace {

// Calls body(tile, first filter, number of filters, where the tile's kept values begin) for tiles over all filters.
template <class T, class Body>
void for_tiles_and_kept(const ConvPoolShape& s, Body&& body) {
  Index kept = 0;
  for_channel_tiles<T, 1>(s.filters, [&](auto tile, int first, int filters) {
    body(tile, first, filters, kept);
    kept += Index{4} * tile.lanes * s.patches();
  });
}

template <class T>
void conv_pool_forward(const PooledImage<T>& pooled, const T* packed, const ConvPoolShape& s) noexcept {
  for_tiles_and_kept<T>(s, [&](auto tile, int first, int filters, Index kept) {
    T* const kept_here = pooled.kept != nullptr ? pooled.kept + kept : nullptr;
    conv_pool_forward_tile<decltype(tile)>(pooled, kept_here, packed, first, filters, s);
  });
}

template <Ties ties, class Tile, class T>
void filters_gradient(T* d_packed, const T* d_pooled, const T* d_background, const PooledImage<T>& pooled,
                      const T* kept, int first, int filters, const ConvPoolShape& s) {
  FiltersGradient<typename Tile::V> gradient;
  conv_pool_backward_tile<Tile, ties>(gradient, d_pooled + first, pooled, kept, first, filters, s);
  gradient.template write<Tile, false>(d_packed, d_background, pooled, first, filters, s);
}

// Sets d_packed, except for the padding of its rows. d_background is the sum of the background patches' gradients.
template <class T>
void conv_pool_backward(T* d_packed, const T* d_pooled, const T* d_background, const PooledImage<T>& pooled,
                        const ConvPoolShape& s) noexcept {
  for_tiles_and_kept<T>(s, [&](auto tile, int first, int filters, Index kept) {
    const auto set = s.ties == Ties::all ? filters_gradient<Ties::all, decltype(tile), T>
                                         : filters_gradient<Ties::first, decltype(tile), T>;
    set(d_packed, d_pooled, d_background, pooled, pooled.kept + kept, first, filters, s);
  });
}

// Calls body(patch) for every background patch.
template <class T, class Body>
void for_background(const PooledImage<T>& pooled, const ConvPoolShape& s, Body&& body) {
  for (int patch = 0, k = 0; patch < s.patches(); ++patch)
    if (k < pooled.count && pooled.foreground[k] == patch)
      ++k;
    else
      body(patch);
}

// Writes the background's values to every background patch, for later layers, which read all patches.
template <class T>
void spread_background(const PooledImage<T>& pooled, const ConvPoolShape& s) noexcept {
  const std::size_t row = sizeof(T) * static_cast<std::size_t>(s.filters);
  for_background(pooled, s,
                 [&](Index patch) { __builtin_memcpy(pooled.values + patch * s.stride, pooled.background, row); });
}

// The backward pass of spread_background: sums the gradients of all background patches.
template <class T>
void sum_background(T* __restrict d_background, const T* __restrict d_pooled, const PooledImage<T>& pooled,
                    const ConvPoolShape& s) noexcept {
  for (int f = 0; f < s.filters; ++f) d_background[f] = 0;
  for_background(pooled, s, [&](Index patch) {
    for (int f = 0; f < s.filters; ++f) d_background[f] += d_pooled[patch * s.stride + f];
  });
}

template <class T>
void enter(Kernels<T>& k) {
  k.conv_pool_forward = conv_pool_forward<T>;
  k.conv_pool_backward = conv_pool_backward<T>;
  k.spread_background = spread_background<T>;
  k.sum_background = sum_background<T>;
}

}  // namespace

void CNNX_TARGET::fill_conv_pool(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
