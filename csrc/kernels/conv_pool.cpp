#include "conv_pool.hpp"

#include "target.hpp"

namespace cnnx {
namespace {

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
  enter(float64);
}

}  // namespace cnnx
