// From a numpy array to a checked pointer and shape. No other file does this.
//
// Python has already checked what arguments mean. This file checks memory: dtype, dimensions, layout, alignment,
// writability. An array that does not fit is refused and never copied, because an update in place would be lost with
// the copy.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "../kernels/kernels.hpp"

namespace cnnx {

namespace py = pybind11;

enum class Access { read, write };

inline constexpr int any_size = -1;

inline std::string describe_shape(const int* sizes, std::size_t count) {
  std::string text = "(";
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) text += ", ";
    text += sizes[i] == any_size ? "any" : std::to_string(sizes[i]);
  }
  return text += count == 1 ? ",)" : ")";
}

inline std::string describe_shape(const py::array& array) {
  return py::str(array.attr("shape")).cast<std::string>();
}

inline std::string describe(const py::dtype& dtype) {
  return py::str(static_cast<const py::object&>(dtype));
}

inline void check_memory(const py::array& array, const char* name, Access access) {
  constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  const int flags = array.flags();
  const auto refuse = [&](const char* expected) {
    throw py::value_error(std::string(name) + ": expected " + expected + " array");
  };
  if (!(flags & py::array::c_style)) refuse("a C-contiguous");
  if (!(flags & aligned)) refuse("an aligned");
  if (access == Access::write && !array.writeable()) refuse("a writable");
}

// The array's data as T, after checking it.
template <class T>
T* checked(const py::array& array, const char* name, Access access = Access::read) {
  const auto dtype = array.dtype();
  if (dtype.num() != py::dtype::num_of<T>() || (sizeof(T) > 1 && dtype.byteorder() != '='))
    throw py::type_error(std::string(name) + ": expected dtype " + describe(py::dtype::of<T>()) + ", got " +
                         describe(dtype));
  check_memory(array, name, access);
  return static_cast<T*>(const_cast<void*>(array.data()));
}

// Also checks its shape; any_size matches every size.
template <class T>
T* checked(const py::array& array, const char* name, std::initializer_list<int> shape, Access access = Access::read) {
  T* const data = checked<T>(array, name, access);
  bool fits = array.ndim() == static_cast<Index>(shape.size());
  for (std::size_t i = 0; fits && i < shape.size(); ++i) {
    const Index size = array.shape(static_cast<Index>(i)), expected = shape.begin()[i];
    fits = expected == any_size ? size <= 0x7fffffff : size == expected;
  }
  if (!fits)
    throw py::value_error(std::string(name) + ": expected shape " + describe_shape(shape.begin(), shape.size()) +
                          ", got " + describe_shape(array));
  return data;
}

inline int size_of(const py::array& array, int axis) {
  return static_cast<int>(array.shape(axis));
}

// Calls body(T{}) with the float type of `array`.
template <class Body>
auto with_dtype(const py::array& array, const char* name, Body&& body) {
  const int number = array.dtype().num();
  if (number == py::dtype::num_of<float>()) return body(float{});
  if (number == py::dtype::num_of<double>()) return body(double{});
  throw py::type_error(std::string(name) + ": expected dtype float32 or float64, got " + describe(array.dtype()));
}

template <class T>
py::array_t<T> new_array(std::initializer_list<int> shape) {
  return py::array_t<T>(std::vector<Index>(shape.begin(), shape.end()));
}

}  // namespace cnnx
