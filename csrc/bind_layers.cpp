// The article's layers, one call a pass. python/cnnx/layers.py gives them their API and their error messages.
#include <pybind11/stl.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>

#include "arrays.hpp"
#include "bind.hpp"
#include "dispatch.hpp"

namespace cnnx {
namespace {

template <class T>
std::unique_ptr<T[]> scratch(Index count) {
  return std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(count));
}

template <class T>
bool overlap(const T* a, Index a_count, const T* b, Index b_count) {
  return std::less<>()(a, b + b_count) && std::less<>()(b, a + a_count);
}

// Activations are indexed by int inside a kernel.
void check_count(const char* name, double values) {
  if (values > std::numeric_limits<int>::max())
    throw py::value_error(std::string(name) + ": expected at most 2147483647 values");
}

template <class T>
Conv3x3Shape conv3x3_shape(const py::array& input, const py::array& filters) {
  checked<T>(input, "input", {any_size, any_size});
  checked<T>(filters, "filters", {any_size, 3, 3}, Access::write);
  const Conv3x3Shape s{size_of(input, 0), size_of(input, 1), 1, size_of(filters, 0)};
  if (s.height < 3 || s.width < 3)
    throw py::value_error("input: expected at least 3x3 pixels, got shape " + describe_shape(input));
  check_count("output", double(s.height + 4) * (s.width + 4) * s.filters);
  return s;
}

py::object conv3x3_forward(const py::array& input, const py::array& filters) {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::object {
    const auto s = conv3x3_shape<T>(input, filters);
    auto output = new_array<T>({s.out_height(), s.out_width(), s.filters});
    T* const out = output.mutable_data();
    const T *const in = static_cast<const T*>(input.data()), *const taps = static_cast<const T*>(filters.data());
    {
      const py::gil_scoped_release release;
      const auto lent = scratch<T>(conv3x3_forward_scratch<T>(s));
      active_target().kernels<T>().conv3x3_forward(out, in, taps, lent.get(), s);
    }
    return output;
  });
}

py::object conv3x3_backprop(const py::array& d_output, const py::array& input, py::array filters, double learn_rate) {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::object {
    const auto s = conv3x3_shape<T>(input, filters);
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.out_height(), s.out_width(), s.filters});
    auto d_input = new_array<T>({s.height, s.width});
    T *const d_in = d_input.mutable_data(), *const taps = static_cast<T*>(filters.mutable_data());
    const T* const in = static_cast<const T*>(input.data());
    {
      const py::gil_scoped_release release;
      const auto& kernels = active_target().kernels<T>();
      const Index count = Index{s.filters} * s.taps();
      const auto lent = scratch<T>(conv3x3_backward_input_scratch<T>(s));
      const auto d_filters = scratch<T>(count);
      kernels.conv3x3_backward_filters(d_filters.get(), d_out, in, s);
      kernels.conv3x3_backward_input(d_in, d_out, taps, lent.get(), s);
      kernels.sgd_update(taps, d_filters.get(), static_cast<T>(learn_rate), count);
    }
    return d_input;
  });
}

template <class T>
MaxPool2Shape max_pool2_shape(const py::array& input) {
  checked<T>(input, "input", {any_size, any_size, any_size});
  const MaxPool2Shape s{size_of(input, 0), size_of(input, 1), size_of(input, 2)};
  check_count("input", double(s.height) * s.width * s.channels);
  return s;
}

py::object max_pool2_forward(const py::array& input) {
  return with_dtype(input, "input", [&]<class T>(T) -> py::object {
    const auto s = max_pool2_shape<T>(input);
    auto output = new_array<T>({s.out_height(), s.out_width(), s.channels});
    T* const out = output.mutable_data();
    const T* const in = static_cast<const T*>(input.data());
    {
      const py::gil_scoped_release release;
      active_target().kernels<T>().max_pool2_forward(out, in, s);
    }
    return output;
  });
}

py::object max_pool2_backprop(const py::array& d_output, const py::array& input, bool first_tie_only) {
  return with_dtype(input, "input", [&]<class T>(T) -> py::object {
    const auto s = max_pool2_shape<T>(input);
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.out_height(), s.out_width(), s.channels});
    auto d_input = new_array<T>({s.height, s.width, s.channels});
    T* const d_in = d_input.mutable_data();
    const T* const in = static_cast<const T*>(input.data());
    {
      const py::gil_scoped_release release;
      active_target().kernels<T>().max_pool2_backward(d_in, d_out, in, s, first_tie_only ? Ties::first : Ties::all);
    }
    return d_input;
  });
}

template <class T>
DenseShape dense_shape(const py::array& input, const py::array& weights, const py::array& biases) {
  checked<T>(weights, "weights", {any_size, any_size}, Access::write);
  const DenseShape s{size_of(weights, 0), size_of(weights, 1)};
  checked<T>(biases, "biases", {s.nodes}, Access::write);
  checked<T>(input, "last_input", {s.inputs});
  return s;
}

py::object softmax_forward(const py::array& input, const py::array& weights, const py::array& biases) {
  return with_dtype(weights, "weights", [&]<class T>(T) -> py::object {
    const auto s = dense_shape<T>(input, weights, biases);
    auto probabilities = new_array<T>({s.nodes}), totals = new_array<T>({s.nodes});
    T *const p = probabilities.mutable_data(), *const t = totals.mutable_data();
    const T *const in = static_cast<const T*>(input.data()), *const w = static_cast<const T*>(weights.data()),
                   *const b = static_cast<const T*>(biases.data());
    {
      const py::gil_scoped_release release;
      const auto& kernels = active_target().kernels<T>();
      kernels.dense_forward(t, in, w, b, s);
      kernels.softmax_forward(p, t, s.nodes);
    }
    return py::make_tuple(std::move(probabilities), std::move(totals));
  });
}

py::object softmax_backprop(const py::array& d_probabilities, const py::array& input, py::array weights,
                            py::array biases, const py::array& totals, const std::vector<Index>& input_shape,
                            double learn_rate) {
  return with_dtype(weights, "weights", [&]<class T>(T) -> py::object {
    const auto s = dense_shape<T>(input, weights, biases);
    const T* const d_p = checked<T>(d_probabilities, "d_L_d_out", {s.nodes});
    const T* const t = checked<T>(totals, "last_totals", {s.nodes});
    if (std::accumulate(input_shape.begin(), input_shape.end(), Index{1}, std::multiplies<>()) != s.inputs)
      throw py::value_error("last_input_shape: expected a shape of " + std::to_string(s.inputs) + " values");
    auto d_input = py::array_t<T>(input_shape);
    T *const d_in = d_input.mutable_data(), *const w = static_cast<T*>(weights.mutable_data()),
             *const b = static_cast<T*>(biases.mutable_data());
    const T* const in = static_cast<const T*>(input.data());
    {
      const py::gil_scoped_release release;
      const auto& kernels = active_target().kernels<T>();
      const auto d_totals = scratch<T>(s.nodes);
      kernels.softmax_backward(d_totals.get(), d_p, t, s.nodes);
      // The kernel reads the input while it writes the parameters.
      std::unique_ptr<T[]> copy;
      if (overlap(in, s.inputs, w, Index{s.inputs} * s.nodes) || overlap(in, s.inputs, b, s.nodes)) {
        copy = scratch<T>(s.inputs);
        std::copy_n(in, s.inputs, copy.get());
      }
      kernels.dense_backward_update(d_in, w, b, d_totals.get(), copy ? copy.get() : in, static_cast<T>(learn_rate), s);
    }
    return d_input;
  });
}

}  // namespace

void bind_layers(py::module_& module) {
  using namespace py::literals;
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  module.def("conv3x3_forward", &conv3x3_forward, array("input"), array("filters"));
  module.def("conv3x3_backprop", &conv3x3_backprop, array("d_L_d_out"), array("input"), array("filters"),
             "learn_rate"_a);
  module.def("max_pool2_forward", &max_pool2_forward, array("input"));
  module.def("max_pool2_backprop", &max_pool2_backprop, array("d_L_d_out"), array("input"), "first_tie_only"_a);
  module.def("softmax_forward", &softmax_forward, array("input"), array("weights"), array("biases"));
  module.def("softmax_backprop", &softmax_backprop, array("d_L_d_out"), array("input"), array("weights"),
             array("biases"), array("totals"), "input_shape"_a, "learn_rate"_a);
}

}  // namespace cnnx
