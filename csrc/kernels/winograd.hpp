// What the forward and the backward pass by Winograd's algorithm share: the pixels of a tile, and their transformation.
#pragma once

#include "../simd/tiles.hpp"
#include "kernels.hpp"

namespace cnnx {
namespace {

// Calls body(at) for the tile of 2x2 outputs whose first is (top, left). at(y, x) points to pixel (y, x) of the 4x4
// pixels d below it. Those outside of the image in memory are zeros.
template <class T, class Body>
void with_pixels(const T* input, const T* zeros, int top, int left, const Conv3x3Shape& s, Body&& body) {
  top -= s.padding;
  left -= s.padding;
  const int height = s.image_height(), width = s.image_width();
  const Index row = Index{width} * s.channels, channels = s.channels;
  input += top * row + left * channels;
  if (top >= 0 && left >= 0 && top + 4 <= height && left + 4 <= width)
    return body([&](int y, int x) { return input + y * row + x * channels; });
  const T* pixel[4][4];
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 4; ++x) {
      const bool inside = top + y >= 0 && top + y < height && left + x >= 0 && left + x < width;
      pixel[y][x] = inside ? input + y * row + x * channels : zeros;
    }
  body([&](int y, int x) { return pixel[y][x]; });
}

// Calls put(i, element i of B^T d B) for a register of channels of the pixels, which read(y, x) reads.
template <class Read, class Put>
void transform_tile(const Read& read, const Put& put) {
  const auto transform = [&](int i, const auto& d0, const auto& d1, const auto& d2, const auto& d3) {
    put(i, d0 - d2);
    put(i + 1, d1 + d2);
    put(i + 2, d2 - d1);
    put(i + 3, d1 - d3);
  };
  const auto minus = [&](int a, int b, int x) { return read(a, x) - read(b, x); };
  const auto plus = [&](int x) { return read(1, x) + read(2, x); };
  transform(0, minus(0, 2, 0), minus(0, 2, 1), minus(0, 2, 2), minus(0, 2, 3));
  transform(4, plus(0), plus(1), plus(2), plus(3));
  transform(8, minus(2, 1, 0), minus(2, 1, 1), minus(2, 1, 2), minus(2, 1, 3));
  transform(12, minus(1, 3, 0), minus(1, 3, 1), minus(1, 3, 2), minus(1, 3, 3));
}

}  // namespace
}  // namespace cnnx
