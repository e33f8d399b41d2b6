// What layers share that are called by hand: they check the arrays, release the interpreter's lock, and call the
// kernels.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>

#include "../kernels/dispatch.hpp"
#include "gil.hpp"
#include "layers.hpp"

namespace cnnx {

template <class T>
std::unique_ptr<T[]> scratch(Index count) {
  return std::unique_ptr<T[]>(new T[static_cast<std::size_t>(count)]);  // make_unique would fill it with zeros
}

// Kernels index activations with ints.
inline void check_count(const char* name, double values) {
  if (values > std::numeric_limits<int>::max())
    throw py::value_error(std::string(name) + ": expected at most 2147483647 values");
}

template <class T>
py::array_t<T> new_array_like(const py::array& other) {
  return py::array_t<T>(std::vector<Index>(other.shape(), other.shape() + other.ndim()));
}

// A gradient that the caller has given to be added to, or null.
template <class T>
T* given_gradient(const std::optional<py::array>& array, const char* name, std::initializer_list<int> shape) {
  return array.has_value() ? checked<T>(*array, name, shape, Access::write) : nullptr;
}

}  // namespace cnnx
