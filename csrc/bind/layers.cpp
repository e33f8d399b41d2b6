// Layers that are called by hand: check the arrays, release the interpreter's lock, call the kernels.
#include "layers.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>

#include "../kernels/dispatch.hpp"
#include "../stages/global_average_pool.hpp"
#include "../stages/padding.hpp"
#include "areas.hpp"
#include "gil.hpp"

namespace cnnx {
namespace {

template <class T>
std::unique_ptr<T[]> scratch(Index count) {
  return std::unique_ptr<T[]>(new T[static_cast<std::size_t>(count)]);  // make_unique would fill it with zeros
}

// Kernels index activations with ints.
void check_count(const char* name, double values) {
  if (values > std::numeric_limits<int>::max())
    throw py::value_error(std::string(name) + ": expected at most 2147483647 values");
}

template <class T>
py::array_t<T> new_array_like(const py::array& other) {
  return py::array_t<T>(std::vector<Index>(other.shape(), other.shape() + other.ndim()));
}

Sizes sizes_of(const Shape& shape) {
  if (shape.rank == 1) return py::make_tuple(shape.channels);
  if (shape.rank == 2) return py::make_tuple(shape.height, shape.width);
  return py::make_tuple(shape.height, shape.width, shape.channels);
}

// The array that has a layer's dtype, for layers that have parameters.
const py::array& typed(const BoundConv3x3& bound) {
  return bound.filters;
}
const py::array& typed(const BoundDense& bound) {
  return bound.weights;
}
const py::array& typed(const BoundSoftmax& bound) {
  return bound.dense.weights;
}

// The shape of a layer's output, for a shape of its input.
template <class Bound>
Sizes output_shape(const Bound& bound, const Sizes& input_shape) {
  const Shape in = shape_of(input_shape);
  const auto ask = [&]<class T>(T) { return bound.template layer<T>(Access::read).output_shape(in); };
  if constexpr (requires { typed(bound); })
    return sizes_of(with_dtype(typed(bound), "layer", ask));
  else
    return sizes_of(ask(float{}));
}

// The checked arguments of a call of Conv3x3: the layer, the shape of the padded input, and the input itself.
template <class T>
struct Conv3x3Call {
  Conv3x3Call(const BoundConv3x3& bound, const py::array& input, Access access) : layer(bound.layer<T>(access)) {
    values = checked<T>(input, "input");
    check_count("output",
                double(input.shape(0) + 4) * double(input.shape(1) + 4) * std::max(layer.channels, layer.count));
    const Shape in{size_of(input, 0), size_of(input, 1), input.ndim() == 3 ? size_of(input, 2) : 1,
                   static_cast<int>(input.ndim())};
    try {
      layer.output_shape(in);
    } catch (const std::invalid_argument& error) {
      throw py::value_error(std::string("input: ") + error.what());
    }
    shape = layer.shape(in);
  }

  Index padded_size() const { return Index{shape.height} * shape.width * shape.channels; }

  // The input or, for "same" padding, a padded copy of it in `storage`.
  const T* input(std::unique_ptr<T[]>& storage) const {
    if (!layer.same) return values;
    storage = scratch<T>(padded_size());
    pad(storage.get(), values, shape);
    return storage.get();
  }

  Conv3x3Layer<T> layer;
  Conv3x3Shape shape{};
  const T* values;
};

template <class T>
Shape image_shape(const py::array& input) {
  checked<T>(input, "input", {any_size, any_size, any_size});
  const Shape s{size_of(input, 0), size_of(input, 1), size_of(input, 2)};
  check_count("input", double(s.height) * s.width * s.channels);
  return s;
}

template <class T>
MaxPool2Shape max_pool2_shape(const py::array& input) {
  const Shape s = image_shape<T>(input);
  return {s.height, s.width, s.channels};
}

template <class T>
DenseShape one_row(const DenseLayer<T>& layer) {
  return {1, layer.inputs, layer.nodes};
}

// A step of gradient descent on a dense layer. With `totals`, d_output is the gradient for softmax(totals); without, it
// is the gradient for the totals.
template <class T>
py::array dense_backprop(const BoundDense& bound, const py::array& d_output, const py::array& input,
                         const py::array* totals, const std::vector<Index>& input_shape, double learn_rate) {
  const auto layer = bound.layer<T>(Access::write);
  const T* const in = checked<T>(input, "last_input", {layer.inputs});
  const T* const d_out = checked<T>(d_output, "d_L_d_out", {layer.nodes});
  const T* const t = totals != nullptr ? checked<T>(*totals, "last_totals", {layer.nodes}) : nullptr;
  if (std::accumulate(input_shape.begin(), input_shape.end(), Index{1}, std::multiplies<>()) != layer.inputs)
    throw py::value_error("last_input_shape: expected a shape of " + std::to_string(layer.inputs) + " values");
  auto d_input = py::array_t<T>(input_shape);
  T* const d_in = d_input.mutable_data();
  {
    const WithoutLock unlocked;
    const auto& kernels = active_target().kernels<T>();
    const auto d_totals = scratch<T>(layer.nodes);
    if (t != nullptr)
      kernels.softmax_backward(d_totals.get(), d_out, t, layer.nodes);
    else
      std::copy_n(d_out, layer.nodes, d_totals.get());
    // The kernel reads the input while it writes the parameters, so they must not share memory.
    std::unique_ptr<T[]> copy;
    if (overlap(in, layer.inputs, layer.weights, layer.weights_size()) ||
        overlap(in, layer.inputs, layer.biases, layer.nodes)) {
      copy = scratch<T>(layer.inputs);
      std::copy_n(in, layer.inputs, copy.get());
    }
    kernels.dense_backward_update(d_in, layer.weights, layer.biases, d_totals.get(), copy ? copy.get() : in,
                                  static_cast<T>(learn_rate), one_row(layer));
  }
  return d_input;
}

}  // namespace

Shape shape_of(const Sizes& sizes) {
  const auto size = [&](std::size_t axis) {
    const auto found = sizes[axis].cast<Index>();
    check_count("input_shape", static_cast<double>(found));
    return static_cast<int>(found);
  };
  switch (sizes.size()) {
    case 1:
      return Shape::flat(size(0));
    case 2:
      return Shape::image(size(0), size(1));
    case 3:
      return {size(0), size(1), size(2)};
    default:
      throw py::value_error("input_shape: expected 1 to 3 sizes, got " + std::to_string(sizes.size()));
  }
}

py::array BoundConv3x3::forward(const py::array& input) const {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::array {
    const Conv3x3Call<T> call(*this, input, Access::read);
    const auto& s = call.shape;
    auto output = new_array<T>({s.out_height(), s.out_width(), s.filters});
    T* const out = output.mutable_data();
    {
      const WithoutLock unlocked;
      const auto& kernels = active_target().kernels<T>();
      const auto packed = scratch<T>(packed_filters_size<T>(s));
      std::unique_ptr<T[]> padded;
      kernels.pack_filters(packed.get(), call.layer.filters, call.layer.biases, s);
      kernels.conv3x3_forward(out, call.input(padded), packed.get(), s);
    }
    return output;
  });
}

py::array BoundConv3x3::backprop(const py::array& d_output, const py::array& input, double learn_rate) const {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::array {
    const Conv3x3Call<T> call(*this, input, Access::write);
    const auto& s = call.shape;
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.out_height(), s.out_width(), s.filters});
    auto d_input = new_array_like<T>(input);
    T* const d_in = d_input.mutable_data();
    {
      const WithoutLock unlocked;
      const auto& kernels = active_target().kernels<T>();
      const auto packed = scratch<T>(packed_filters_size<T>(s)), d_packed = scratch<T>(packed_filters_size<T>(s));
      const auto shares = scratch<T>(conv3x3_backward_input_scratch<T>(s));
      std::unique_ptr<T[]> padded, d_padded;
      kernels.pack_filters(packed.get(), call.layer.filters, call.layer.biases, s);
      std::fill_n(d_packed.get(), packed_filters_size<T>(s), T{0});  // the kernel leaves the padding as it is
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

py::array BoundMaxPool2::forward(const py::array& input) const {
  return with_dtype(input, "input", [&]<class T>(T) -> py::array {
    const auto s = max_pool2_shape<T>(input);
    auto output = new_array<T>({s.out_height(), s.out_width(), s.channels});
    T* const out = output.mutable_data();
    const T* const in = static_cast<const T*>(input.data());
    {
      const WithoutLock unlocked;
      active_target().kernels<T>().max_pool2_forward(out, in, s);
    }
    return output;
  });
}

py::array BoundMaxPool2::backprop(const py::array& d_output, const py::array& input) const {
  return with_dtype(input, "input", [&]<class T>(T) -> py::array {
    const auto s = max_pool2_shape<T>(input);
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.out_height(), s.out_width(), s.channels});
    auto d_input = new_array<T>({s.height, s.width, s.channels});
    T* const d_in = d_input.mutable_data();
    const T* const in = static_cast<const T*>(input.data());
    {
      const WithoutLock unlocked;
      active_target().kernels<T>().max_pool2_backward(d_in, d_out, in, s, layer<T>(Access::read).ties);
    }
    return d_input;
  });
}

py::array BoundGlobalAveragePool::forward(const py::array& input) const {
  return with_dtype(input, "input", [&]<class T>(T) -> py::array {
    const Shape s = image_shape<T>(input);
    const T* const in = static_cast<const T*>(input.data());
    auto output = new_array<T>({s.channels});
    T* const out = output.mutable_data();
    {
      const WithoutLock unlocked;
      global_average_pool_forward(out, in, s);
    }
    return output;
  });
}

py::array BoundGlobalAveragePool::backprop(const py::array& d_output, const py::array& input) const {
  return with_dtype(input, "input", [&]<class T>(T) -> py::array {
    const Shape s = image_shape<T>(input);
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.channels});
    auto d_input = new_array_like<T>(input);
    T* const d_in = d_input.mutable_data();
    {
      const WithoutLock unlocked;
      global_average_pool_backward(d_in, d_out, s);
    }
    return d_input;
  });
}

py::array BoundReLU::forward(const py::array& input) const {
  return with_dtype(input, "input", [&]<class T>(T) -> py::array {
    const T* const in = checked<T>(input, "input");
    auto output = new_array_like<T>(input);
    T* const out = output.mutable_data();
    {
      const WithoutLock unlocked;
      active_target().kernels<T>().relu_forward(out, in, output.size());
    }
    return output;
  });
}

py::array BoundReLU::backprop(const py::array& d_output, const py::array& input) const {
  return with_dtype(input, "input", [&]<class T>(T) -> py::array {
    const T *const in = checked<T>(input, "last_input"), *const d_out = checked<T>(d_output, "d_L_d_out");
    const Index count = input.size();
    if (d_output.size() != count) throw py::value_error("d_L_d_out: expected as many values as the input has");
    auto d_input = new_array_like<T>(input);
    T* const d_in = d_input.mutable_data();
    {
      const WithoutLock unlocked;
      active_target().kernels<T>().relu_backward(d_in, d_out, in, count);
    }
    return d_input;
  });
}

py::array BoundDense::forward(const py::array& input) const {
  return with_dtype(weights, "weights", [&]<class T>(T) -> py::array {
    const auto dense = layer<T>(Access::read);
    const T* const in = checked<T>(input, "input", {dense.inputs});
    auto totals = new_array<T>({dense.nodes});
    T* const t = totals.mutable_data();
    {
      const WithoutLock unlocked;
      active_target().kernels<T>().dense_forward(t, {in}, dense.weights, dense.biases, one_row(dense));
    }
    return totals;
  });
}

py::array BoundDense::backprop(const py::array& d_output, const py::array& input, const std::vector<Index>& input_shape,
                               double learn_rate) const {
  return with_dtype(weights, "weights", [&]<class T>(T) {
    return dense_backprop<T>(*this, d_output, input, nullptr, input_shape, learn_rate);
  });
}

py::typing::Tuple<py::array, py::array> BoundSoftmax::forward(const py::array& input) const {
  py::array totals = dense.forward(input);
  auto probabilities = with_dtype(totals, "totals", [&]<class T>(T) -> py::array {
    const int nodes = size_of(totals, 0);
    auto values = new_array<T>({nodes});
    active_target().kernels<T>().softmax_forward(values.mutable_data(), static_cast<const T*>(totals.data()), nodes);
    return values;
  });
  return py::make_tuple(std::move(probabilities), std::move(totals));
}

py::array BoundSoftmax::backprop(const py::array& d_output, const py::array& input, const py::array& totals,
                                 const std::vector<Index>& input_shape, double learn_rate) const {
  return with_dtype(dense.weights, "weights", [&]<class T>(T) {
    return dense_backprop<T>(dense, d_output, input, &totals, input_shape, learn_rate);
  });
}

void bind_layers(py::module_& module) {
  using namespace py::literals;
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };

  py::class_<BoundConv3x3>(module, "Conv3x3")
      .def(py::init<py::array, std::optional<py::array>, bool>(), array("filters"), "biases"_a, "same"_a)
      .def("output_shape", &output_shape<BoundConv3x3>, "input_shape"_a)
      .def("forward", &BoundConv3x3::forward, array("input"))
      .def("backprop", &BoundConv3x3::backprop, array("d_L_d_out"), array("input"), "learn_rate"_a);

  py::class_<BoundMaxPool2>(module, "MaxPool2")
      .def(py::init<bool>(), "first_tie_only"_a)
      .def("output_shape", &output_shape<BoundMaxPool2>, "input_shape"_a)
      .def("forward", &BoundMaxPool2::forward, array("input"))
      .def("backprop", &BoundMaxPool2::backprop, array("d_L_d_out"), array("input"));

  py::class_<BoundGlobalAveragePool>(module, "GlobalAveragePool")
      .def(py::init<>())
      .def("output_shape", &output_shape<BoundGlobalAveragePool>, "input_shape"_a)
      .def("forward", &BoundGlobalAveragePool::forward, array("input"))
      .def("backprop", &BoundGlobalAveragePool::backprop, array("d_L_d_out"), array("input"));

  py::class_<BoundReLU>(module, "ReLU")
      .def(py::init<>())
      .def("output_shape", &output_shape<BoundReLU>, "input_shape"_a)
      .def("forward", &BoundReLU::forward, array("input"))
      .def("backprop", &BoundReLU::backprop, array("d_L_d_out"), array("input"));

  py::class_<BoundDropout>(module, "Dropout")
      .def(py::init<double>(), "rate"_a)
      .def("output_shape", &output_shape<BoundDropout>, "input_shape"_a);

  py::class_<BoundDense>(module, "Dense")
      .def(py::init<py::array, py::array>(), array("weights"), array("biases"))
      .def("output_shape", &output_shape<BoundDense>, "input_shape"_a)
      .def("forward", &BoundDense::forward, array("input"))
      .def("backprop", &BoundDense::backprop, array("d_L_d_out"), array("input"), "input_shape"_a, "learn_rate"_a);

  py::class_<BoundSoftmax>(module, "Softmax")
      .def(py::init([](py::array weights, py::array biases) {
             return BoundSoftmax{{std::move(weights), std::move(biases)}};
           }),
           array("weights"), array("biases"))
      .def("output_shape", &output_shape<BoundSoftmax>, "input_shape"_a)
      .def("forward", &BoundSoftmax::forward, array("input"))
      .def("backprop", &BoundSoftmax::backprop, array("d_L_d_out"), array("input"), array("totals"), "input_shape"_a,
           "learn_rate"_a);
}

}  // namespace cnnx
