// Resampling of a sample by an affine map while it is loaded. Compiled once and for no CPU target in particular, so the
// results are the same on all.
#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

#include "../layers.hpp"

namespace cnnx {

template <class T>
T between(T from, T to, T share) noexcept {
  return from + share * (to - from);
}

// output[y, x] = the image at row v and column u, where  (v, u) = map (2, 3) times (y, x, 1):
//
//   v = map[0] * y + map[1] * x + map[2]
//   u = map[3] * y + map[4] * x + map[5]
//
// Between pixels, the value is interpolated bilinearly from the four neighbours. Neighbours outside the image have the
// value `background` in every channel. `channels` is the shape's number of channels, as a constant where that is known.
template <class T, class Channels>
void resample_channels(T* output, const T* image, const Shape& shape, Channels channels, const double* map,
                       T background) noexcept {
  const int height = shape.height, width = shape.width;
  const auto value = [&](int y, int x, int c) {
    return y >= 0 && y < height && x >= 0 && x < width ? image[(y * width + x) * channels + c] : background;
  };
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const double v = map[0] * y + map[1] * x + map[2], u = map[3] * y + map[4] * x + map[5];
      const double row = std::floor(v), column = std::floor(u);
      if (!(row >= -1 && row < height && column >= -1 && column < width)) {
        for (int c = 0; c < channels; ++c) *output++ = background;
        continue;
      }
      const int top = static_cast<int>(row), left = static_cast<int>(column);
      const T lower_share = static_cast<T>(v - row), right_share = static_cast<T>(u - column);
      for (int c = 0; c < channels; ++c) {
        // Computed like this, four equal neighbours give their own value to the bit.
        const T upper = between(value(top, left, c), value(top, left + 1, c), right_share);
        const T lower = between(value(top + 1, left, c), value(top + 1, left + 1, c), right_share);
        *output++ = between(upper, lower, lower_share);
      }
    }
}

template <class T>
void resample(T* output, const T* image, const Shape& shape, const double* map, T background) noexcept {
  if (shape.channels == 1)
    resample_channels(output, image, shape, std::integral_constant<int, 1>{}, map, background);
  else
    resample_channels(output, image, shape, shape.channels, map, background);
}

// Whether the map moves the image by whole pixels and does nothing else. The limit keeps the shift within an int.
inline bool is_shift(const double* map) noexcept {
  return map[0] == 1 && map[1] == 0 && map[3] == 0 && map[4] == 1 && map[2] == std::floor(map[2]) &&
         map[5] == std::floor(map[5]) && std::abs(map[2]) < 1e6 && std::abs(map[5]) < 1e6;
}

// Like resample, for a map that is_shift. Copies whole runs of pixels.
template <class Pixel>
void shift(Pixel* output, const Pixel* image, const Shape& shape, const double* map, Pixel background) noexcept {
  const int down = static_cast<int>(map[2]), right = static_cast<int>(map[5]);
  const int height = shape.height, width = shape.width, channels = shape.channels;
  const int from = right < 0 ? -right : 0, to = right > 0 ? width - right : width, row = width * channels;
  for (int y = 0; y < height; ++y, output += row) {
    for (int i = 0; i < row; ++i) output[i] = background;
    if (y + down < 0 || y + down >= height || from >= to) continue;
    std::memcpy(output + from * channels, image + (y + down) * row + (from + right) * channels,
                sizeof(Pixel) * static_cast<std::size_t>((to - from) * channels));
  }
}

}  // namespace cnnx
