// Resampling of a sample by an affine map while it is loaded. Compiled once and for no CPU target in particular, so the
// results are the same on all.
#pragma once

#include <cmath>
#include <cstring>

#include "../kernels/kernels.hpp"

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
// value `background`.
template <class T>
void resample(T* output, const T* image, int height, int width, const double* map, T background) noexcept {
  const auto pixel = [&](int y, int x) {
    return y >= 0 && y < height && x >= 0 && x < width ? image[y * width + x] : background;
  };
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const double v = map[0] * y + map[1] * x + map[2], u = map[3] * y + map[4] * x + map[5];
      const double row = std::floor(v), column = std::floor(u);
      if (!(row >= -1 && row < height && column >= -1 && column < width)) {
        *output++ = background;
        continue;
      }
      const int top = static_cast<int>(row), left = static_cast<int>(column);
      const T lower_share = static_cast<T>(v - row), right_share = static_cast<T>(u - column);
      // Computed like this, four equal neighbours give their own value to the bit.
      const T upper = between(pixel(top, left), pixel(top, left + 1), right_share);
      const T lower = between(pixel(top + 1, left), pixel(top + 1, left + 1), right_share);
      *output++ = between(upper, lower, lower_share);
    }
}

// Whether the map moves the image by whole pixels and does nothing else. The limit keeps the shift within an int.
inline bool is_shift(const double* map) noexcept {
  return map[0] == 1 && map[1] == 0 && map[3] == 0 && map[4] == 1 && map[2] == std::floor(map[2]) &&
         map[5] == std::floor(map[5]) && std::abs(map[2]) < 1e6 && std::abs(map[5]) < 1e6;
}

// Like resample, for a map that is_shift. Copies whole runs of pixels.
template <class Pixel>
void shift(Pixel* output, const Pixel* image, int height, int width, const double* map, Pixel background) noexcept {
  const int down = static_cast<int>(map[2]), right = static_cast<int>(map[5]);
  const int from = right < 0 ? -right : 0, to = right > 0 ? width - right : width;
  for (int y = 0; y < height; ++y, output += width) {
    for (int x = 0; x < width; ++x) output[x] = background;
    if (y + down < 0 || y + down >= height || from >= to) continue;
    std::memcpy(output + from, image + (y + down) * width + from + right,
                sizeof(Pixel) * static_cast<std::size_t>(to - from));
  }
}

}  // namespace cnnx
