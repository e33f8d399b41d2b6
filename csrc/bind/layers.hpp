// The layers as Python objects: numpy arrays and settings. A layer can be called by hand, one call for each pass, and
// can be part of a network's plan. python/cnnx/layers/ adds the public API and checks what arguments mean.
#pragma once

#include <pybind11/typing.h>

#include <optional>
#include <variant>

#include "../layers.hpp"
#include "arrays.hpp"

namespace cnnx {

using Sizes = py::typing::Tuple<int, py::ellipsis>;

// The shape that a tuple of one to three sizes means.
Shape shape_of(const Sizes& sizes);

// Kernels count weights with ints.
inline void check_weights(const char* name, const py::array& weights) {
  if (weights.size() > 0x7fffffff)
    throw py::value_error(std::string(name) + ": expected at most 2147483647 numbers, got " +
                          std::to_string(weights.size()));
}

// `layer<T>(access)` returns the layer for the core. It checks the arrays every time, because they may have been
// resized or made read-only.
struct BoundConv3x3 {
  py::array filters;                // (count, 3, 3) for the article's layer, or (count, 3, 3, channels)
  std::optional<py::array> biases;  // (count,)
  bool same, trainable;

  template <class T>
  Conv3x3Layer<T> layer(Access access) const {
    if (!trainable) access = Access::read;
    check_weights("filters", filters);
    const bool takes_channels = filters.ndim() == 4;
    const int channels = takes_channels ? size_of(filters, 3) : 1;
    T* const data = takes_channels ? checked<T>(filters, "filters", {any_size, 3, 3, channels}, access)
                                   : checked<T>(filters, "filters", {any_size, 3, 3}, access);
    const int count = size_of(filters, 0);
    T* const bias = biases.has_value() ? checked<T>(*biases, "biases", {count}, access) : nullptr;
    return {data, bias, count, channels, same, takes_channels, !trainable};
  }
  py::array forward(const py::array& input) const;
  py::array backprop(const py::array& d_output, const py::array& input, double learn_rate) const;
  // The backward pass without an update. Adds to the gradients of the parameters, if they are given.
  py::array gradient(const py::array& d_output, const py::array& input, const std::optional<py::array>& d_filters,
                     const std::optional<py::array>& d_biases) const;
};

struct BoundBatchNorm {
  py::array scale, offset, running_mean, running_var;  // (channels,)
  double momentum, eps;
  bool trainable;

  template <class T>
  BatchNormLayer<T> layer(Access access) const {
    if (!trainable) access = Access::read;
    T* const data = checked<T>(scale, "scale", {any_size}, access);
    const int channels = size_of(scale, 0);
    return {data,
            checked<T>(offset, "offset", {channels}, access),
            checked<T>(running_mean, "running_mean", {channels}, access),
            checked<T>(running_var, "running_var", {channels}, access),
            channels,
            momentum,
            eps,
            !trainable};
  }
  py::array forward(const py::array& input) const;
  py::array backprop(const py::array& d_output, const py::array& input, double learn_rate) const;
};

struct BoundMaxPool2 {
  bool first_tie_only;

  template <class>
  MaxPool2Layer layer(Access) const {
    return {first_tie_only ? Ties::first : Ties::all};
  }
  py::array forward(const py::array& input) const;
  py::array backprop(const py::array& d_output, const py::array& input) const;
};

struct BoundGlobalAveragePool {
  template <class>
  GlobalAveragePoolLayer layer(Access) const {
    return {};
  }
  py::array forward(const py::array& input) const;
  py::array backprop(const py::array& d_output, const py::array& input) const;
};

struct BoundReLU {
  template <class>
  ReLULayer layer(Access) const {
    return {};
  }
  py::array forward(const py::array& input) const;
  py::array backprop(const py::array& d_output, const py::array& input) const;
};

struct BoundDropout {
  double rate;

  template <class>
  DropoutLayer layer(Access) const {
    return {rate};
  }
};

struct BoundDense {
  py::array weights, biases;  // (inputs, nodes), (nodes,)
  bool trainable;

  template <class T>
  DenseLayer<T> layer(Access access) const {
    if (!trainable) access = Access::read;
    check_weights("weights", weights);
    T* const data = checked<T>(weights, "weights", {any_size, any_size}, access);
    const int inputs = size_of(weights, 0), nodes = size_of(weights, 1);
    return {data, checked<T>(biases, "biases", {nodes}, access), inputs, nodes, !trainable};
  }
  py::array forward(const py::array& input) const;
  py::array backprop(const py::array& d_output, const py::array& input, const std::vector<Index>& input_shape,
                     double learn_rate) const;
  // See BoundConv3x3.
  py::array gradient(const py::array& d_output, const py::array& input, const std::vector<Index>& input_shape,
                     const std::optional<py::array>& d_weights, const std::optional<py::array>& d_biases) const;
};

struct BoundSoftmax {
  BoundDense dense;

  template <class T>
  SoftmaxLayer<T> layer(Access access) const {
    return {dense.layer<T>(access)};
  }
  py::typing::Tuple<py::array, py::array> forward(const py::array& input) const;  // probabilities, totals
  py::array backprop(const py::array& d_output, const py::array& input, const py::array& totals,
                     const std::vector<Index>& input_shape, double learn_rate) const;
  py::array gradient(const py::array& d_output, const py::array& input, const py::array& totals,
                     const std::vector<Index>& input_shape, const std::optional<py::array>& d_weights,
                     const std::optional<py::array>& d_biases) const;
};

using BoundLayer = std::variant<BoundConv3x3, BoundBatchNorm, BoundMaxPool2, BoundGlobalAveragePool, BoundReLU,
                                BoundDropout, BoundDense, BoundSoftmax>;

}  // namespace cnnx
