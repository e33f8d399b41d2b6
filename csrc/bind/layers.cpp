// The classes of the layers, and those that have no parameters, called by hand.
#include <pybind11/stl.h>

#include "../stages/global_average_pool.hpp"
#include "areas.hpp"
#include "by_hand.hpp"

namespace cnnx {
namespace {

Sizes sizes_of(const Shape& shape) {
  if (shape.rank == 1) return py::make_tuple(shape.channels);
  if (shape.rank == 2) return py::make_tuple(shape.height, shape.width);
  return py::make_tuple(shape.height, shape.width, shape.channels);
}

// The array that has a layer's dtype, for layers that have parameters.
const py::array& typed(const BoundConv3x3& bound) {
  return bound.filters;
}
const py::array& typed(const BoundBatchNorm& bound) {
  return bound.scale;
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
      const auto& k = active_target().kernels<T>();
      const auto output = scratch<T>(d_output.size()), winners = scratch<T>(d_output.size());
      k.max_pool2_choose(output.get(), winners.get(), in, s, layer<T>(Access::read).ties, false);
      k.max_pool2_hand_out(d_in, d_out, winners.get(), s);
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

void bind_layers(py::module_& module) {
  using namespace py::literals;
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };

  py::class_<BoundConv3x3>(module, "Conv3x3")
      .def(py::init<py::array, std::optional<py::array>, bool, bool>(), array("filters"), "biases"_a, "same"_a,
           "trainable"_a)
      .def("output_shape", &output_shape<BoundConv3x3>, "input_shape"_a)
      .def("forward", &BoundConv3x3::forward, array("input"))
      .def("backprop", &BoundConv3x3::backprop, array("d_L_d_out"), array("input"), "learn_rate"_a)
      .def("gradient", &BoundConv3x3::gradient, array("d_L_d_out"), array("input"), "filters"_a = py::none(),
           "biases"_a = py::none());

  py::class_<BoundBatchNorm>(module, "BatchNorm")
      .def(py::init<py::array, py::array, py::array, py::array, double, double, bool>(), array("scale"),
           array("offset"), array("running_mean"), array("running_var"), "momentum"_a, "eps"_a, "trainable"_a)
      .def("output_shape", &output_shape<BoundBatchNorm>, "input_shape"_a)
      .def("forward", &BoundBatchNorm::forward, array("input"))
      .def("backprop", &BoundBatchNorm::backprop, array("d_L_d_out"), array("input"), "learn_rate"_a);

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
      .def(py::init<py::array, py::array, bool>(), array("weights"), array("biases"), "trainable"_a)
      .def("output_shape", &output_shape<BoundDense>, "input_shape"_a)
      .def("forward", &BoundDense::forward, array("input"))
      .def("backprop", &BoundDense::backprop, array("d_L_d_out"), array("input"), "input_shape"_a, "learn_rate"_a)
      .def("gradient", &BoundDense::gradient, array("d_L_d_out"), array("input"), "input_shape"_a,
           "weights"_a = py::none(), "biases"_a = py::none());

  py::class_<BoundSoftmax>(module, "Softmax")
      .def(py::init([](py::array weights, py::array biases, bool trainable) {
             return BoundSoftmax{{std::move(weights), std::move(biases), trainable}};
           }),
           array("weights"), array("biases"), "trainable"_a)
      .def("output_shape", &output_shape<BoundSoftmax>, "input_shape"_a)
      .def("forward", &BoundSoftmax::forward, array("input"))
      .def("backprop", &BoundSoftmax::backprop, array("d_L_d_out"), array("input"), array("totals"), "input_shape"_a,
           "learn_rate"_a)
      .def("gradient", &BoundSoftmax::gradient, array("d_L_d_out"), array("input"), array("totals"), "input_shape"_a,
           "weights"_a = py::none(), "biases"_a = py::none());
}

}  // namespace cnnx
