// Filters after the last whole block of eight, if they are few: one filter at a time, with eight patches in the lanes.
// A register of filters would be mostly empty. All patches are computed, background or not, so the dense layer needs no
// rows D and S for them (DenseShape::planes).
//
// A row of patches has one place more than patches, so that the pixels of eight neighbouring places are neighbours,
// too, if the image is split into four phases. With width = columns + 1, place n of patch (y, x) is y * width + x, and
//
//   phase[i][j][y * width + x] = pixels[2y + i, 2x + j]
//   pixels[2y + i, 2x + j]  of the patch at place n  =  phase[i % 2][j % 2][n + i / 2 * width + j / 2]
//
//   places    0  1  2 ..  w-2  -     Places without a patch have the value 0 and weights of 0, so their gradient is 0.
//             w w+1 ..   2w-2  -
#pragma once

#include "conv_pool.hpp"

namespace cnnx {
namespace {

// The tile of filters or patches that the convolution works on: one register, which is a Row or a part of one.
template <class T>
using RowTile = Tile<T, Row<T>::part_bytes, 1>;

// The memory of one filter's plane, and of the phases, which all planes share.
template <class T>
struct Plane {
  using V = typename RowTile<T>::V;
  static constexpr int lanes = RowTile<T>::lanes;

  T* phase[2][2];
  T *values, *kept, *d_pooled;  // (places,), (places / lanes, 4, lanes), (places + 8,)
  Index width, places;

  [[gnu::noinline]] Plane(int plane, const PooledImage<T>& pooled, const DenseShape& s)
      : width(s.columns + 1), places(Index{s.plane_rows} * row_lanes) {
    for (int i = 0; i < 4; ++i) phase[i / 2][i % 2] = pooled.planes + i * s.phase_size();
    values = pooled.planes + 4 * s.phase_size() + plane * s.plane_size();
    kept = values + places;
    d_pooled = kept + 4 * places;
  }

  // The pixels (y, x) of the patches from `place` on.
  V pixels(Index place, int y, int x) const { return load<V>(phase[y % 2][x % 2] + place + y / 2 * width + x / 2); }
};

template <class T>
void split_into_phases(const Plane<T>& to, const T* pixels, const ConvPoolShape& s) {
  const Index width = to.width;
  for (int y = 0; y < 2 * s.out_height() + 2; ++y, pixels += s.width) {
    T* __restrict even = to.phase[y % 2][0] + y / 2 * width;
    T* __restrict odd = to.phase[y % 2][1] + y / 2 * width;
    for (Index x = 0; x < width; ++x) even[x] = pixels[2 * x], odd[x] = pixels[2 * x + 1];
  }
}

template <class T>
void plane_forward(const Plane<T>& to, bool keeps, const T* packed, int filter, const ConvPoolShape& shape) {
  using V = typename Plane<T>::V;
  const Plane<T> plane = to;
  const ConvPoolShape s = shape;
  const int padded = padded_channels<T>(s.filters);
  V taps[9], output[4];
  for (int t = 0; t < 9; ++t) taps[t] = all<V>(packed[filter + t * padded]);
  const V bias = all<V>(packed[filter + 9 * padded]);
  T* kept = plane.kept;
  for (Index n = 0; n < plane.places; n += plane.lanes, kept += 4 * plane.lanes) {
    convolve(output, taps, bias, [&](int y, int x) { return plane.pixels(n, y, x); });
    const V largest = pool(output);
    store(plane.values + n, s.relu ? relu(largest) : largest);
    if (keeps) keep(kept, output, Ties::all);
  }
  const Index columns = s.out_width();
  for (int y = 0; y < s.out_height() - 1; ++y) plane.values[y * plane.width + columns] = 0;
  for (Index n = s.out_height() * plane.width - 1; n < plane.places; ++n) plane.values[n] = 0;
}

// Adds the filter's gradient to `to`.
template <class T>
void plane_backward(T* to, const Plane<T>& from, int filter, const ConvPoolShape& shape) {
  using V = typename Plane<T>::V;
  const Plane<T> plane = from;
  const ConvPoolShape s = shape;
  V sum[10][Row<T>::count] = {};
  const T* kept = plane.kept;
  for (Index n = 0; n < plane.places; n += row_lanes)
    for (int i = 0; i < Row<T>::count; ++i) {
      const Index place = n + i * plane.lanes;
      const V largest = load<V>(plane.values + place), d = load<V>(plane.d_pooled + place);
      const V gradient = s.relu ? through_relu(d, largest) : d;
      V output[4], d_output[4];
      for (int q = 0; q < 4; ++q, kept += plane.lanes) output[q] = load<V>(kept);
      if (s.ties == Ties::all)
        hand_out<Ties::all>(d_output, output, largest, gradient);
      else
        hand_out<Ties::first>(d_output, output, largest, gradient);
      for_products([&](int y, int x, int q, int t)
                       __attribute__((always_inline)) { sum[t][i] += plane.pixels(place, y, x) * d_output[q]; });
      sum[9][i] += (d_output[0] + d_output[1]) + (d_output[2] + d_output[3]);
    }
  const int padded = padded_channels<T>(s.filters);
  for (int t = 0; t < 10; ++t) {
    T lane[row_lanes];
    __builtin_memcpy(lane, sum[t], sizeof lane);
    for (int half = row_lanes / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    if (t < 9 || s.bias) to[filter + t * padded] += lane[0];
  }
}

// Computes the values of all planes.
template <class T>
[[gnu::noinline]] void planes_forward(const PooledImage<T>& pooled, const T* packed, const ConvPoolShape& conv,
                                      const DenseShape& s) {
  for (int i = 0; i < s.planes; ++i) {
    const Plane<T> plane(i, pooled, s);
    if (i == 0) split_into_phases(plane, pooled.pixels, conv);
    plane_forward(plane, pooled.kept != nullptr, packed, s.channels - s.planes + i, conv);
  }
}

// Adds the gradients of all planes' filters to `to`.
template <class T>
[[gnu::noinline]] void planes_backward(T* to, const PooledImage<T>& pooled, const ConvPoolShape& conv,
                                       const DenseShape& s) {
  for (int i = 0; i < s.planes; ++i) plane_backward(to, Plane<T>(i, pooled, s), s.channels - s.planes + i, conv);
}

}  // namespace
}  // namespace cnnx
