// A Python object that brings bytes to other processes.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "../ranks.hpp"
#include "gil.hpp"

namespace cnnx {

namespace py = pybind11;

// The object has the attributes `rank` and `size`, and methods with the names of Ranks. They get uint8 arrays
// (rows, bytes) in the core's memory, which are only valid during the call, and lists of integers. Any thread calls
// them.
class BoundRanks final : public Ranks {
 public:
  explicit BoundRanks(const py::object& object)
      : Ranks(object.attr("rank").cast<int>(), object.attr("size").cast<int>()), object_(object) {
    if (count < 1 || rank < 0 || rank >= count)
      throw py::value_error("ranks: expected a rank below the number of ranks");
  }

  void gather(const Rows& rows, const std::vector<Index>& starts) override {
    const WithLock locked;
    locked.call(object_, "gather", array(rows), starts);
  }
  void scatter(const Rows& rows, const std::vector<Index>& starts, const std::vector<Index>& columns) override {
    const WithLock locked;
    locked.call(object_, "scatter", array(rows), starts, columns);
  }

 private:
  static py::array array(const Rows& rows) {
    using Bytes = py::array_t<std::uint8_t>;
    return Bytes({rows.count, rows.size}, {rows.stride, Index{1}}, static_cast<std::uint8_t*>(rows.first),
                 py::none());  // an owner, so that nothing is copied
  }

  const py::object& object_;
};

}  // namespace cnnx
