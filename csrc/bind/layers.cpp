// The article's layers, one call a pass. python/cnnx/layers.py gives them their API and their error messages.
#include <pybind11/stl.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>

#include "../kernels/dispatch.hpp"
#include "../stages/padding.hpp"
#include "areas.hpp"
#include "arrays.hpp"
#include "conv3x3.hpp"

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

// A convolution's arrays, checked: its layer, the shape of its padded input, and that input.
template <class T>
struct Conv3x3Call {
  Conv3x3Call(const py::array& input, const py::array& filters_array, const py::object& biases_array, bool same) {
    layer = checked_conv3x3<T>(filters_array, biases_array, same);
    const int channels = layer.channels;
    values = input.ndim() == 2 && channels == 1 ? checked<T>(input, "input", {any_size, any_size})
                                                : checked<T>(input, "input", {any_size, any_size, channels});
    const int ring = same ? 2 : 0;
    check_count("output", double(input.shape(0) + 4) * double(input.shape(1) + 4) * std::max(channels, layer.count));
    shape = {size_of(input, 0) + ring, size_of(input, 1) + ring, channels, layer.count};
    if (shape.height < 3 || shape.width < 3)
      throw py::value_error("input: expected at least 3x3 pixels, got shape " + describe_shape(input));
  }

  Index padded_size() const { return Index{shape.height} * shape.width * shape.channels; }

  // The input, padded into `storage` if need be.
  const T* input(std::unique_ptr<T[]>& storage) const {
    if (!layer.same) return values;
    storage = scratch<T>(padded_size());
    pad(storage.get(), values, shape);
    return storage.get();
  }

  Conv3x3Layer<T> layer{};
  Conv3x3Shape shape{};
  const T* values;
};

py::object conv3x3_forward(const py::array& input, const py::array& filters, const py::object& biases, bool same) {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::object {
    const Conv3x3Call<T> call(input, filters, biases, same);
    const auto& s = call.shape;
    auto output = new_array<T>({s.out_height(), s.out_width(), s.filters});
    T* const out = output.mutable_data();
    {
      const py::gil_scoped_release release;
      const auto& kernels = active_target().kernels<T>();
      const auto packed = scratch<T>(packed_filters_size<T>(s));
      std::unique_ptr<T[]> padded;
      kernels.pack_filters(packed.get(), call.layer.filters, call.layer.biases, s);
      kernels.conv3x3_forward(out, call.input(padded), packed.get(), s);
    }
    return output;
  });
}

py::object conv3x3_backprop(const py::array& d_output, const py::array& input, const py::array& filters,
                            const py::object& biases, bool same, double learn_rate) {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::object {
    const Conv3x3Call<T> call(input, filters, biases, same);
    const auto& s = call.shape;
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.out_height(), s.out_width(), s.filters});
    py::array_t<T> d_input(std::vector<Index>(input.shape(), input.shape() + input.ndim()));
    T* const d_in = d_input.mutable_data();
    {
      const py::gil_scoped_release release;
      const auto& kernels = active_target().kernels<T>();
      const auto packed = scratch<T>(packed_filters_size<T>(s)), d_packed = scratch<T>(packed_filters_size<T>(s));
      const auto shares = scratch<T>(conv3x3_backward_input_scratch<T>(s));
      std::unique_ptr<T[]> padded, d_padded;
      kernels.pack_filters(packed.get(), call.layer.filters, call.layer.biases, s);
      kernels.pack_filters(d_packed.get(), call.layer.filters, nullptr, s);  // the rows' padding, which the next leaves
      kernels.conv3x3_backward_filters(d_packed.get(), d_out, call.input(padded), s);
      if (same) d_padded = scratch<T>(call.padded_size());
      kernels.conv3x3_backward_input(same ? d_padded.get() : d_in, d_out, call.layer.filters, shares.get(), s);
      if (same) crop(d_in, d_padded.get(), s);
      kernels.sgd_update(packed.get(), d_packed.get(), static_cast<T>(learn_rate), packed_filters_size<T>(s));
      kernels.unpack_filters(call.layer.filters, call.layer.biases, packed.get(), s);
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
  const DenseShape s{1, size_of(weights, 0), size_of(weights, 1)};
  checked<T>(biases, "biases", {s.nodes}, Access::write);
  checked<T>(input, "last_input", {s.inputs()});
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
      kernels.dense_forward(t, {in}, w, b, s);
      kernels.softmax_forward(p, t, s.nodes);
    }
    return py::make_tuple(std::move(probabilities), std::move(totals));
  });
}

py::object dense_forward(const py::array& input, const py::array& weights, const py::array& biases) {
  return with_dtype(weights, "weights", [&]<class T>(T) -> py::object {
    const auto s = dense_shape<T>(input, weights, biases);
    auto totals = new_array<T>({s.nodes});
    T* const t = totals.mutable_data();
    const T *const in = static_cast<const T*>(input.data()), *const w = static_cast<const T*>(weights.data()),
                   *const b = static_cast<const T*>(biases.data());
    {
      const py::gil_scoped_release release;
      active_target().kernels<T>().dense_forward(t, {in}, w, b, s);
    }
    return totals;
  });
}

// With totals, d_output is the gradient for their softmax; without, it is that for the totals themselves.
py::object dense_backprop(const py::array& d_output, const py::array& input, py::array weights, py::array biases,
                          const py::object& totals, const std::vector<Index>& input_shape, double learn_rate) {
  return with_dtype(weights, "weights", [&]<class T>(T) -> py::object {
    const auto s = dense_shape<T>(input, weights, biases);
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.nodes});
    const T* const t = totals.is_none() ? nullptr : checked<T>(totals.cast<py::array>(), "last_totals", {s.nodes});
    if (std::accumulate(input_shape.begin(), input_shape.end(), Index{1}, std::multiplies<>()) != s.inputs())
      throw py::value_error("last_input_shape: expected a shape of " + std::to_string(s.inputs()) + " values");
    auto d_input = py::array_t<T>(input_shape);
    T *const d_in = d_input.mutable_data(), *const w = static_cast<T*>(weights.mutable_data()),
             *const b = static_cast<T*>(biases.mutable_data());
    const T* const in = static_cast<const T*>(input.data());
    {
      const py::gil_scoped_release release;
      const auto& kernels = active_target().kernels<T>();
      const auto d_totals = scratch<T>(s.nodes);
      if (t != nullptr)
        kernels.softmax_backward(d_totals.get(), d_out, t, s.nodes);
      else
        std::copy_n(d_out, s.nodes, d_totals.get());
      // The kernel reads the input while it writes the parameters.
      std::unique_ptr<T[]> copy;
      if (overlap(in, s.inputs(), w, Index{s.inputs()} * s.nodes) || overlap(in, s.inputs(), b, s.nodes)) {
        copy = scratch<T>(s.inputs());
        std::copy_n(in, s.inputs(), copy.get());
      }
      kernels.dense_backward_update(d_in, w, b, d_totals.get(), copy ? copy.get() : in, static_cast<T>(learn_rate), s);
    }
    return d_input;
  });
}

py::object relu_forward(const py::array& input) {
  return with_dtype(input, "input", [&]<class T>(T) -> py::object {
    const T* const in = checked<T>(input, "input");
    py::array_t<T> output(std::vector<Index>(input.shape(), input.shape() + input.ndim()));
    T* const out = output.mutable_data();
    {
      const py::gil_scoped_release release;
      active_target().kernels<T>().relu_forward(out, in, output.size());
    }
    return output;
  });
}

py::object relu_backprop(const py::array& d_output, const py::array& input) {
  return with_dtype(input, "input", [&]<class T>(T) -> py::object {
    const T *const in = checked<T>(input, "last_input"), *const d_out = checked<T>(d_output, "d_L_d_out");
    const Index count = input.size();
    if (d_output.size() != count) throw py::value_error("d_L_d_out: expected as many values as the input has");
    py::array_t<T> d_input(std::vector<Index>(input.shape(), input.shape() + input.ndim()));
    T* const d_in = d_input.mutable_data();
    {
      const py::gil_scoped_release release;
      active_target().kernels<T>().relu_backward(d_in, d_out, in, count);
    }
    return d_input;
  });
}

}  // namespace

void bind_layers(py::module_& module) {
  using namespace py::literals;
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  module.def("conv3x3_forward", &conv3x3_forward, array("input"), array("filters"), "biases"_a, "same"_a);
  module.def("conv3x3_backprop", &conv3x3_backprop, array("d_L_d_out"), array("input"), array("filters"), "biases"_a,
             "same"_a, "learn_rate"_a);
  module.def("max_pool2_forward", &max_pool2_forward, array("input"));
  module.def("max_pool2_backprop", &max_pool2_backprop, array("d_L_d_out"), array("input"), "first_tie_only"_a);
  module.def("relu_forward", &relu_forward, array("input"));
  module.def("relu_backprop", &relu_backprop, array("d_L_d_out"), array("input"));
  module.def("dense_forward", &dense_forward, array("input"), array("weights"), array("biases"));
  module.def("softmax_forward", &softmax_forward, array("input"), array("weights"), array("biases"));
  module.def("dense_backprop", &dense_backprop, array("d_L_d_out"), array("input"), array("weights"), array("biases"),
             "totals"_a, "input_shape"_a, "learn_rate"_a);
}

}  // namespace cnnx
