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

  // Sets the gradient of the packed filters.
  void backward_filters(T* d_packed, const T* d_output) const {
    std::unique_ptr<T[]> padded;
    std::fill_n(d_packed, packed_filters_size<T>(shape), T{0});  // the kernel leaves the padding as it is
    active_target().kernels<T>().conv3x3_backward_filters(d_packed, d_output, input(padded), shape);
  }
  // Sets the gradient of the input.
  void backward_input(T* d_input, const T* d_output) const {
    const auto shares = scratch<T>(conv3x3_backward_input_scratch<T>(shape));
    std::unique_ptr<T[]> d_padded;
    if (layer.same) d_padded = scratch<T>(padded_size());
    active_target().kernels<T>().conv3x3_backward_input(layer.same ? d_padded.get() : d_input, d_output, layer.filters,
                                                        shares.get(), shape);
    if (layer.same) crop(d_input, d_padded.get(), shape);
  }

  Conv3x3Layer<T> layer;
  Conv3x3Shape shape{};
  const T* values;
};

// The checked arguments of a call of BatchNorm, and its values for the running statistics.
template <class T>
struct BatchNormCall {
  BatchNormCall(const BoundBatchNorm& bound, const py::array& input, Access access)
      : layer(bound.layer<T>(access)), values(checked<T>(input, "input")), numbers(scratch<T>(Index{5} * channels())) {
    const Index inputs = input.size();
    check_count("input", static_cast<double>(inputs));
    if ((input.ndim() != 1 && input.ndim() != 3) || input.shape(input.ndim() - 1) != layer.channels)
      throw py::value_error("input: expected shape (any, any, " + std::to_string(layer.channels) + ") or (" +
                            std::to_string(layer.channels) + ",), got " + describe_shape(input));
    shape = {static_cast<int>(inputs / std::max(channels(), 1)), 1, channels()};
    const auto at = [&](int number) { return numbers.get() + Index{number} * channels(); };
    norm = {layer.scale, layer.offset, layer.running_mean, layer.running_var, at(0), at(1), at(2), at(3), at(4), at(4)};
    std::fill_n(norm.d_mean, channels(), T{0});
    active_target().kernels<T>().batch_norm_take_running(norm, layer.limits(), channels());
  }

  int channels() const noexcept { return layer.channels; }

  BatchNormLayer<T> layer;
  const T* values;
  std::unique_ptr<T[]> numbers;
  BatchNormShape shape{};
  BatchNormValues<T> norm{};
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

// A gradient that the caller has given to be added to, or null.
template <class T>
T* given_gradient(const std::optional<py::array>& array, const char* name, std::initializer_list<int> shape) {
  return array.has_value() ? checked<T>(*array, name, shape, Access::write) : nullptr;
}

// The checked arguments of a backward pass of a dense layer, and its results. With `totals`, d_output is the gradient
// for softmax(totals); without, it is the gradient for the totals.
template <class T>
struct DenseBackward {
  DenseBackward(const BoundDense& bound, const py::array& d_output, const py::array& last_input,
                const py::array* last_totals, const std::vector<Index>& input_shape, Access access)
      : layer(bound.layer<T>(access)),
        input(checked<T>(last_input, "last_input", {layer.inputs})),
        d_out(checked<T>(d_output, "d_L_d_out", {layer.nodes})),
        totals(last_totals != nullptr ? checked<T>(*last_totals, "last_totals", {layer.nodes}) : nullptr) {
    if (std::accumulate(input_shape.begin(), input_shape.end(), Index{1}, std::multiplies<>()) != layer.inputs)
      throw py::value_error("last_input_shape: expected a shape of " + std::to_string(layer.inputs) + " values");
    d_input = py::array_t<T>(input_shape);
  }

  std::unique_ptr<T[]> d_totals() const {
    auto values = scratch<T>(layer.nodes);
    if (totals != nullptr)
      active_target().kernels<T>().softmax_backward(values.get(), d_out, totals, layer.nodes);
    else
      std::copy_n(d_out, layer.nodes, values.get());
    return values;
  }

  DenseLayer<T> layer;
  const T *input, *d_out, *totals;
  py::array_t<T> d_input;
};

// A step of gradient descent on a dense layer.
template <class T>
py::array dense_backprop(DenseBackward<T> pass, double learn_rate) {
  const auto& layer = pass.layer;
  T* const d_in = pass.d_input.mutable_data();
  {
    const WithoutLock unlocked;
    // The kernel reads the input while it writes the parameters, so they must not share memory.
    std::unique_ptr<T[]> copy;
    if (overlap(pass.input, layer.inputs, layer.weights, layer.weights_size()) ||
        overlap(pass.input, layer.inputs, layer.biases, layer.nodes)) {
      copy = scratch<T>(layer.inputs);
      std::copy_n(pass.input, layer.inputs, copy.get());
    }
    active_target().kernels<T>().dense_backward_update(d_in, layer.weights, layer.biases, pass.d_totals().get(),
                                                       copy ? copy.get() : pass.input, static_cast<T>(learn_rate),
                                                       one_row(layer));
  }
  return pass.d_input;
}

// The kernel does both parts of a backward pass. Here it updates a copy of the parameters, for the input's gradient,
// and then the caller's gradients with a learn rate of -1, which adds to them.
template <class T>
py::array dense_gradient(DenseBackward<T> pass, const std::optional<py::array>& d_weights,
                         const std::optional<py::array>& d_biases) {
  const auto& layer = pass.layer;
  T* const to_weights = given_gradient<T>(d_weights, "d_weights", {layer.inputs, layer.nodes});
  T* const to_biases = given_gradient<T>(d_biases, "d_biases", {layer.nodes});
  if ((to_weights == nullptr) != (to_biases == nullptr)) throw py::type_error("expected both gradients, or none");
  T* const d_in = pass.d_input.mutable_data();
  {
    const WithoutLock unlocked;
    const auto& kernels = active_target().kernels<T>();
    const auto d_totals = pass.d_totals(), weights = scratch<T>(layer.weights_size()), biases = scratch<T>(layer.nodes);
    std::copy_n(layer.weights, layer.weights_size(), weights.get());
    std::copy_n(layer.biases, layer.nodes, biases.get());
    kernels.dense_backward_update(d_in, weights.get(), biases.get(), d_totals.get(), pass.input, T{0}, one_row(layer));
    if (to_weights != nullptr) {
      const auto unused = scratch<T>(layer.inputs);
      kernels.dense_backward_update(unused.get(), to_weights, to_biases, d_totals.get(), pass.input, T{-1},
                                    one_row(layer));
    }
  }
  return pass.d_input;
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
  if (!trainable) return gradient(d_output, input, std::nullopt, std::nullopt);
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
      kernels.pack_filters(packed.get(), call.layer.filters, call.layer.biases, s);
      call.backward_filters(d_packed.get(), d_out);
      call.backward_input(d_in, d_out);
      kernels.sgd_update(packed.get(), d_packed.get(), static_cast<T>(learn_rate), packed_filters_size<T>(s));
      kernels.unpack_filters(call.layer.filters, call.layer.biases, packed.get(), s);
    }
    return d_input;
  });
}

py::array BoundConv3x3::gradient(const py::array& d_output, const py::array& input,
                                 const std::optional<py::array>& d_filters,
                                 const std::optional<py::array>& d_biases) const {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::array {
    const Conv3x3Call<T> call(*this, input, Access::read);
    const auto& s = call.shape;
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.out_height(), s.out_width(), s.filters});
    T* const to_filters = filters.ndim() == 4 ? given_gradient<T>(d_filters, "d_filters", {s.filters, 3, 3, s.channels})
                                              : given_gradient<T>(d_filters, "d_filters", {s.filters, 3, 3});
    T* const to_biases = given_gradient<T>(d_biases, "d_biases", {s.filters});
    auto d_input = new_array_like<T>(input);
    T* const d_in = d_input.mutable_data();
    {
      const WithoutLock unlocked;
      if (to_filters != nullptr) {
        const auto& kernels = active_target().kernels<T>();
        const Index count = call.layer.filters_size();
        const auto d_packed = scratch<T>(packed_filters_size<T>(s));
        const auto unpacked = new_buffer<T>(count + s.filters);
        call.backward_filters(d_packed.get(), d_out);
        kernels.add_unpacked_filters(unpacked.get(), d_packed.get(), s);
        kernels.add(to_filters, unpacked.get(), count);
        if (to_biases != nullptr) kernels.add(to_biases, unpacked.get() + count, s.filters);
      }
      call.backward_input(d_in, d_out);
    }
    return d_input;
  });
}

py::array BoundBatchNorm::forward(const py::array& input) const {
  return with_dtype(scale, "scale", [&]<class T>(T) -> py::array {
    const BatchNormCall<T> call(*this, input, Access::read);
    auto output = new_array_like<T>(input);
    T* const out = output.mutable_data();
    {
      const WithoutLock unlocked;
      active_target().kernels<T>().batch_norm_forward(out, call.values, call.norm, call.shape);
    }
    return output;
  });
}

// The running statistics are constants, so the input's gradient is factor * d_output: the forward pass with a shift of
// 0.
py::array BoundBatchNorm::backprop(const py::array& d_output, const py::array& input, double learn_rate) const {
  return with_dtype(scale, "scale", [&]<class T>(T) -> py::array {
    BatchNormCall<T> call(*this, input, Access::write);
    const T* const d_out = checked<T>(d_output, "d_L_d_out");
    if (d_output.size() != input.size()) throw py::value_error("d_L_d_out: expected as many values as the input has");
    auto d_input = new_array_like<T>(input);
    T* const d_in = d_input.mutable_data();
    {
      const WithoutLock unlocked;
      const auto& k = active_target().kernels<T>();
      const Index padded = padded_channels<T>(call.channels());
      const auto sums = scratch<T>(2 * padded);
      if (trainable) k.batch_norm_sums(sums.get(), d_out, call.values, call.norm, call.shape);
      call.norm.shift = call.norm.d_mean;  // which is 0
      k.batch_norm_forward(d_in, d_out, call.norm, call.shape);
      if (trainable) {
        k.sgd_update(call.layer.scale, sums.get(), static_cast<T>(learn_rate), call.channels());
        k.sgd_update(call.layer.offset, sums.get() + padded, static_cast<T>(learn_rate), call.channels());
      }
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
  if (!trainable) return gradient(d_output, input, input_shape, std::nullopt, std::nullopt);
  return with_dtype(weights, "weights", [&]<class T>(T) {
    return dense_backprop<T>({*this, d_output, input, nullptr, input_shape, Access::write}, learn_rate);
  });
}

py::array BoundDense::gradient(const py::array& d_output, const py::array& input, const std::vector<Index>& input_shape,
                               const std::optional<py::array>& d_weights,
                               const std::optional<py::array>& d_biases) const {
  return with_dtype(weights, "weights", [&]<class T>(T) {
    return dense_gradient<T>({*this, d_output, input, nullptr, input_shape, Access::read}, d_weights, d_biases);
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
  if (!dense.trainable) return gradient(d_output, input, totals, input_shape, std::nullopt, std::nullopt);
  return with_dtype(dense.weights, "weights", [&]<class T>(T) {
    return dense_backprop<T>({dense, d_output, input, &totals, input_shape, Access::write}, learn_rate);
  });
}

py::array BoundSoftmax::gradient(const py::array& d_output, const py::array& input, const py::array& totals,
                                 const std::vector<Index>& input_shape, const std::optional<py::array>& d_weights,
                                 const std::optional<py::array>& d_biases) const {
  return with_dtype(dense.weights, "weights", [&]<class T>(T) {
    return dense_gradient<T>({dense, d_output, input, &totals, input_shape, Access::read}, d_weights, d_biases);
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
