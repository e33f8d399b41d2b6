// A convolution by the kernel that its shape asks for, for stages and for layers that are called by hand.
#pragma once

#include "../kernels/dispatch.hpp"

namespace cnnx {

// Filters as the kernels read them: packed by tap, and transformed if has_winograd.
template <class T>
struct PackedFilters {
  const T *by_tap, *transformed;
};

// How many numbers of scratch memory `convolve` needs.
template <class T>
Index desk_size(const Conv3x3Shape& s) noexcept {
  return uses_winograd<T>(s) ? winograd_desk_size<T>(s) : 0;
}

template <class T>
void convolve(T* output, const T* input, const PackedFilters<T>& filters, T* desk, const Conv3x3Shape& s) noexcept {
  const auto& k = active_target().kernels<T>();
  const T* const biases = filters.by_tap + Index{s.taps()} * padded_channels<T>(s.filters);
  if (uses_winograd<T>(s) && k.winograd_forward(output, input, filters.transformed, biases, desk, s)) return;
  k.conv3x3_forward(output, input, filters.by_tap, s);
}

}  // namespace cnnx
