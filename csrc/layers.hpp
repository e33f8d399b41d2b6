// The one list of layers. A layer has its settings, pointers to its parameters in the caller's arrays, and
// `output_shape`, which checks an input's shape and returns the output's.
//
// Bindings, plans and the layer API call `output_shape`. No other code decides which shapes a layer takes.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <variant>

#include "kernels/kernels.hpp"

namespace cnnx {

// The shape of the values between two layers: (channels,), (height, width) or (height, width, channels), for ranks 1 to
// 3. The sizes that a rank does not have are 1.
struct Shape {
  int height = 1, width = 1, channels = 1;
  int rank = 3;

  static Shape image(int height, int width) { return {height, width, 1, 2}; }
  static Shape image(int height, int width, int channels) { return {height, width, channels, 3}; }
  static Shape flat(int count) { return {1, 1, count, 1}; }

  Index count() const noexcept { return Index{height} * width * channels; }
  std::string text() const {
    const auto h = std::to_string(height), w = std::to_string(width), c = std::to_string(channels);
    return rank == 1 ? "(" + c + ",)" : rank == 2 ? "(" + h + ", " + w + ")" : "(" + h + ", " + w + ", " + c + ")";
  }
};

[[noreturn]] inline void refuse_input(const std::string& expected, const Shape& got) {
  throw std::invalid_argument("expected input " + expected + ", got " + got.text());
}

template <class T>
bool overlap(const T* a, Index a_count, const T* b, Index b_count) {
  return std::less<>()(a, b + b_count) && std::less<>()(b, a + a_count);
}

// A 3x3 convolution. With `takes_channels` it takes (height, width, channels) and, if it has one channel, also
// (height, width). Without, it is the article's layer and takes only (height, width).
template <class T>
struct Conv3x3Layer {
  T *filters, *biases;  // (count, 3, 3, channels); (count,) or null
  int count, channels;  // of filters; of the input
  bool same;            // pads the input with a ring of zeros, which keeps height and width
  bool takes_channels = true;
  bool frozen = false;  // whether training leaves the parameters as they are

  bool operator==(const Conv3x3Layer&) const = default;
  // What the ring of zeros adds to the height and to the width.
  int ring() const noexcept { return same ? 2 : 0; }
  Index filters_size() const noexcept { return Index{9} * count * channels; }
  Shape output_shape(const Shape& in) const {
    const bool fits = takes_channels ? in.rank == 3 || (in.rank == 2 && channels == 1) : in.rank == 2;
    if (!fits || in.channels != channels || in.height + ring() < 3 || in.width + ring() < 3) {
      const std::string axes = takes_channels ? "(height, width, " + std::to_string(channels) + ")" : "(height, width)";
      const std::string least = std::to_string(3 - ring());
      refuse_input(axes + " of at least " + least + "x" + least, in);
    }
    return {in.height + ring() - 2, in.width + ring() - 2, count, 3};
  }
  // The kernels' shape, for the padded input.
  Conv3x3Shape shape(const Shape& in) const noexcept {
    Conv3x3Shape shape{in.height + ring(), in.width + ring(), channels, count};
    shape.bias = biases != nullptr;
    shape.padding = ring() / 2;
    return shape;
  }
};

struct MaxPool2Layer {
  Ties ties;

  bool operator==(const MaxPool2Layer&) const = default;
  Shape output_shape(const Shape& in) const {
    if (in.rank != 3) refuse_input("(height, width, channels)", in);
    return {in.height / 2, in.width / 2, in.channels, 3};
  }
};

struct GlobalAveragePoolLayer {
  bool operator==(const GlobalAveragePoolLayer&) const = default;
  Shape output_shape(const Shape& in) const {
    if (in.rank != 3 || in.count() == 0) refuse_input("(height, width, channels), at least one of each", in);
    return Shape::flat(in.channels);
  }
};

// Batch normalisation with a scale and an offset for each channel. Training moves the running statistics towards those
// of each batch: running = momentum * running + (1 - momentum) * batch.
template <class T>
struct BatchNormLayer {
  T *scale, *offset, *running_mean, *running_var;  // (channels,)
  int channels;
  double momentum, eps;
  bool frozen = false;  // whether training leaves all of them as they are, and uses the running statistics

  bool operator==(const BatchNormLayer&) const = default;
  BatchNormLimits limits() const noexcept { return {momentum, eps}; }
  Shape output_shape(const Shape& in) const {
    if (in.rank == 2 || in.channels != channels) {
      const auto c = std::to_string(channels);
      refuse_input("(height, width, " + c + ") or (" + c + ",)", in);
    }
    return in;
  }
};

struct ReLULayer {
  bool operator==(const ReLULayer&) const = default;
  Shape output_shape(const Shape& in) const { return in; }
};

struct DropoutLayer {
  double rate;

  bool operator==(const DropoutLayer&) const = default;
  Shape output_shape(const Shape& in) const { return in; }
};

template <class T>
struct DenseLayer {
  T *weights, *biases;  // (inputs, nodes), (nodes,)
  int inputs, nodes;
  bool frozen = false;  // whether training leaves the parameters as they are

  bool operator==(const DenseLayer&) const = default;
  Index weights_size() const noexcept { return Index{inputs} * nodes; }
  Shape output_shape(const Shape& in) const {
    if (in.count() != inputs) refuse_input("of " + std::to_string(inputs) + " values", in);
    return Shape::flat(nodes);
  }
};

// A dense layer and the softmax function, which makes probabilities of its outputs. Only the last layer of a network is
// one.
template <class T>
struct SoftmaxLayer {
  DenseLayer<T> dense;

  bool operator==(const SoftmaxLayer&) const = default;
  Shape output_shape(const Shape& in) const { return dense.output_shape(in); }
};

template <class T>
using Layer = std::variant<Conv3x3Layer<T>, BatchNormLayer<T>, MaxPool2Layer, GlobalAveragePoolLayer, ReLULayer,
                           DropoutLayer, DenseLayer<T>, SoftmaxLayer<T>>;

}  // namespace cnnx
