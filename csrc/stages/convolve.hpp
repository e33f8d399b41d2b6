// A convolution by the kernel that its shape asks for, for stages and for layers that are called by hand. The images
// have no zeros around them in memory.
#pragma once

#include "../kernels/dispatch.hpp"
#include "padding.hpp"

namespace cnnx {

// Filters as the kernels read them: packed by tap, and transformed if has_winograd.
template <class T>
struct PackedFilters {
  const T *by_tap, *transformed;
  const T* biases(const Conv3x3Shape& s) const noexcept {
    return by_tap + Index{s.taps()} * padded_channels<T>(s.filters);
  }
};

// How many numbers of scratch memory `convolve` needs: for Winograd's algorithm, and for a padded image.
template <class T>
Index desk_size(const Conv3x3Shape& s) noexcept {
  return std::max(uses_winograd<T>(s) ? winograd_desk_size<T>(s) : 0, s.is_padded() ? s.padded_size() : 0);
}

template <class T>
void convolve(T* output, const T* input, const PackedFilters<T>& filters, T* desk, const Conv3x3Shape& s) noexcept {
  const auto& k = active_target().kernels<T>();
  if (uses_winograd<T>(s) && k.winograd_forward(output, input, filters.transformed, filters.biases(s), desk, s)) return;
  if (s.is_padded()) pad(desk, input, s);
  k.conv3x3_forward(output, s.is_padded() ? desk : input, filters.by_tap, s);
}

// A convolution and then a max_pool2_choose. No row or column of the convolution's outputs is outside of all windows.
template <class T>
Index desk_size_with_pool(const Conv3x3Shape& s) noexcept {
  return whole_lines<T>(desk_size<T>(s)) + Index{s.out_height()} * s.out_width() * s.filters;
}
template <class T>
void convolve_and_pool(T* output, T* winners, const T* input, const PackedFilters<T>& filters, T* desk,
                       const Conv3x3Shape& s, Ties ties, bool relu) noexcept {
  const auto& k = active_target().kernels<T>();
  if (uses_winograd<T>(s) &&
      k.winograd_forward_pooled(output, winners, input, filters.transformed, filters.biases(s), desk, s, ties, relu))
    return;
  T* const values = desk + whole_lines<T>(desk_size<T>(s));
  convolve(values, input, filters, desk, s);
  k.max_pool2_choose(output, winners, values, {s.out_height(), s.out_width(), s.filters}, ties, relu);
}

}  // namespace cnnx
