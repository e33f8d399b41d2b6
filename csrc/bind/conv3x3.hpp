// A convolution's arrays, as both the layer and the network's plan take them.
#pragma once

#include "../network.hpp"
#include "arrays.hpp"

namespace cnnx {

// filters (count, 3, 3) for an image's one channel, or (count, 3, 3, channels); biases (count,) or None.
template <class T>
Conv3x3Layer<T> checked_conv3x3(const py::array& filters, const py::object& biases, bool same) {
  const bool has_channels = filters.ndim() == 4;
  const int channels = has_channels ? size_of(filters, 3) : 1;
  T* const data = has_channels ? checked<T>(filters, "filters", {any_size, 3, 3, channels}, Access::write)
                               : checked<T>(filters, "filters", {any_size, 3, 3}, Access::write);
  const int count = size_of(filters, 0);
  T* const bias = biases.is_none() ? nullptr : checked<T>(biases.cast<py::array>(), "biases", {count}, Access::write);
  return {data, bias, count, channels, same, has_channels};
}

}  // namespace cnnx
