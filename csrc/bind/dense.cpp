// Dense and Softmax, called by hand.
#include <functional>
#include <numeric>

#include "by_hand.hpp"

namespace cnnx {
namespace {

template <class T>
DenseShape one_row(const DenseLayer<T>& layer) {
  return {1, layer.inputs, layer.nodes};
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

  ScratchPointer<T> d_totals() const {
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
    ScratchPointer<T> copy;
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

}  // namespace cnnx
