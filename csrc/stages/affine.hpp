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

// The largest integer that is not above `x`, for x within an int's range. On CPUs before SSE 4.1, std::floor is a call.
inline int floor_of(double x) noexcept {
  const int towards_zero = static_cast<int>(x);
  return towards_zero - (towards_zero > x);
}

// `x` if it is between -2 and `size`, and otherwise the nearer of these, or -2 for a NaN. All neighbours of both ends
// are outside of an image of that size, so they give the background like any place further away.
inline double near(double x, int size) noexcept {
  const double not_below = x > -2 ? x : -2;
  return not_below < size ? not_below : size;
}

// output[y, x] = the image at row v and column u, where  (v, u) = map (2, 3) times (y, x, 1):
//
//   v = map[0] * y + map[1] * x + map[2]
//   u = map[3] * y + map[4] * x + map[5]
//
// Between pixels, the value is interpolated bilinearly from the four neighbours. Neighbours outside the image have the
// value `background` in every channel. `channels` is the shape's number of channels, as a constant where that is known.
// Some pixels of a row are computed together, step by step: a CPU overlaps the same step of several pixels.
template <class T, class Channels>
void resample_channels(T* __restrict output, const T* __restrict image, const Shape& shape, Channels channels,
                       const double* map, T background) noexcept {
  constexpr int most = 32;
  const int height = shape.height, width = shape.width;
  int top[most], left[most];
  T lower_share[most], right_share[most], neighbours[4][most];
  for (int y = 0; y < height; ++y)
    for (int first = 0; first < width; first += most) {
      const int count = width - first < most ? width - first : most;
      for (int i = 0; i < count; ++i) {
        const int x = first + i;
        const double v = near(map[0] * y + map[1] * x + map[2], height);
        const double u = near(map[3] * y + map[4] * x + map[5], width);
        top[i] = floor_of(v);
        left[i] = floor_of(u);
        lower_share[i] = static_cast<T>(v - top[i]);
        right_share[i] = static_cast<T>(u - left[i]);
      }
      for (int c = 0; c < channels; ++c) {
        for (int i = 0; i < count; ++i) {
          const auto value = [&](int down, int right) {
            const int row = top[i] + down, column = left[i] + right;
            const bool is_inside = row >= 0 && row < height && column >= 0 && column < width;
            return is_inside ? image[(row * width + column) * channels + c] : background;
          };
          if (top[i] >= 0 && top[i] + 1 < height && left[i] >= 0 && left[i] + 1 < width) {
            const T* const from = image + (top[i] * width + left[i]) * channels + c;
            neighbours[0][i] = from[0];
            neighbours[1][i] = from[channels];
            neighbours[2][i] = from[width * channels];
            neighbours[3][i] = from[(width + 1) * channels];
          } else {
            for (int q = 0; q < 4; ++q) neighbours[q][i] = value(q / 2, q % 2);
          }
        }
        for (int i = 0; i < count; ++i) {
          // Computed like this, four equal neighbours give their own value to the bit.
          const T upper = between(neighbours[0][i], neighbours[1][i], right_share[i]);
          const T lower = between(neighbours[2][i], neighbours[3][i], right_share[i]);
          output[i * channels + c] = between(upper, lower, lower_share[i]);
        }
      }
      output += count * channels;
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
