// The zeros around an image (Conv3x3Shape), for the kernels that read them from memory.
#pragma once

#include <algorithm>

#include "buffer.hpp"

namespace cnnx {

template <class T>
void pad(T* padded, const T* image, const Conv3x3Shape& s) noexcept {
  const Index row = Index{s.width} * s.channels, inner = Index{s.image_width()} * s.channels;
  T *const end = padded + s.padded_size(), *to = padded + s.padding * (row + s.channels);
  std::fill(padded, to, T{0});
  for (int y = 0; y < s.image_height(); ++y, to += row, image += inner) {
    copy(to, image, inner);
    std::fill(to + inner, to + row, T{0});
  }
  std::fill(to, end, T{0});
}

template <class T>
void crop(T* image, const T* padded, const Conv3x3Shape& s) noexcept {
  const Index row = Index{s.width} * s.channels, inner = Index{s.image_width()} * s.channels;
  padded += s.padding * (row + s.channels);
  for (int y = 0; y < s.image_height(); ++y) copy(image + y * inner, padded + y * row, inner);
}

}  // namespace cnnx
