// "Same" padding: a ring of zeros around an image, one pixel wide. `s` is the shape of the padded image.
#pragma once

#include <cstring>

#include "../kernels/kernels.hpp"

namespace cnnx {

template <class T>
void pad(T* padded, const T* image, const Conv3x3Shape& s) noexcept {
  const Index row = Index{s.width} * s.channels, inner = row - 2 * s.channels;
  std::memset(padded, 0, sizeof(T) * static_cast<std::size_t>(s.height * row));
  for (int y = 1; y < s.height - 1; ++y)
    std::memcpy(padded + y * row + s.channels, image + (y - 1) * inner, sizeof(T) * static_cast<std::size_t>(inner));
}

template <class T>
void crop(T* image, const T* padded, const Conv3x3Shape& s) noexcept {
  const Index row = Index{s.width} * s.channels, inner = row - 2 * s.channels;
  for (int y = 1; y < s.height - 1; ++y)
    std::memcpy(image + (y - 1) * inner, padded + y * row + s.channels, sizeof(T) * static_cast<std::size_t>(inner));
}

}  // namespace cnnx
