// What layers share that are called by hand: they check the arrays, release the interpreter's lock, and call the
// kernels.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>

#include "../kernels/dispatch.hpp"
#include "../stages/buffer.hpp"
#include "gil.hpp"
#include "layers.hpp"

namespace cnnx {

template <class T>
struct FreeAll {
  T* all = nullptr;
  void operator()(T*) const noexcept { delete[] all; }
};
template <class T>
using ScratchPointer = std::unique_ptr<T[], FreeAll<T>>;

// Memory that may hold anything. It begins with a cache line, because registers that lie across two lines take up to
// twice as long to read. Taking a little more than needed is faster than an allocation that the system aligns.
template <class T>
ScratchPointer<T> scratch(Index count) {
  T* const all = new T[static_cast<std::size_t>(count + lanes_of<T>)];
  const auto begin = static_cast<Index>(reinterpret_cast<std::uintptr_t>(all) / sizeof(T));
  return {all + whole_lines<T>(begin) - begin, {all}};
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
