// What the core can compute: the shapes and the table of functions that every CPU target fills in.
//
// Kernels are pure functions on raw pointers: outputs first, then inputs, then the shape. Arrays are
// C-contiguous and do not overlap unless a comment says so; they assume what the bindings have checked.
// Images are channels last.
#pragma once

#include <cstddef>

namespace cnnx {

using Index = std::ptrdiff_t;

// A 3x3 convolution without padding: (height, width, channels) -> (height - 2, width - 2, filters).
struct Conv3x3Shape {
  int height, width, channels, filters;

  int out_height() const noexcept { return height - 2; }
  int out_width() const noexcept { return width - 2; }
  int taps() const noexcept { return 9 * channels; }
};

// Max pooling over 2x2 windows: (height, width, channels) -> (height / 2, width / 2, channels), rounded down.
struct MaxPool2Shape {
  int height, width, channels;

  int out_height() const noexcept { return height / 2; }
  int out_width() const noexcept { return width / 2; }
};

// A dense layer: (inputs) -> (nodes), weights (inputs, nodes).
struct DenseShape {
  int inputs, nodes;
};

// Who receives a pooling window's gradient when several pixels equal the maximum.
enum class Ties { all, first };

// Packed filters are padded to whole 64-byte rows, the widest register of any target.
template <class T>
constexpr int padded_channels(int channels) noexcept {
  constexpr int lanes = 64 / static_cast<int>(sizeof(T));
  return (channels + lanes - 1) / lanes * lanes;
}

// Scratch that the caller lends, in elements of T.
template <class T>
Index conv3x3_forward_scratch(const Conv3x3Shape& s) noexcept {
  return Index{s.taps()} * padded_channels<T>(s.filters);
}
template <class T>
Index conv3x3_backward_scratch(const Conv3x3Shape& s) noexcept {
  return Index{9} * s.filters * padded_channels<T>(s.channels) +
         Index{s.out_height() + 4} * (s.out_width() + 4) * s.filters;
}

template <class T>
struct Kernels {
  void (*conv3x3_forward)(T* output, const T* input, const T* filters, T* scratch, const Conv3x3Shape&) noexcept;
  void (*conv3x3_backward)(T* d_input, T* d_filters, const T* d_output, const T* input, const T* filters, T* scratch,
                           const Conv3x3Shape&) noexcept;

  void (*max_pool2_forward)(T* output, const T* input, const MaxPool2Shape&) noexcept;
  void (*max_pool2_backward)(T* d_input, const T* d_output, const T* input, const MaxPool2Shape&, Ties) noexcept;

  void (*dense_forward)(T* totals, const T* input, const T* weights, const T* biases, const DenseShape&) noexcept;
  // Returns the gradient through the old weights and updates weights and biases in the same sweep.
  void (*dense_backward_update)(T* d_input, T* weights, T* biases, const T* d_totals, const T* input, T learn_rate,
                                const DenseShape&) noexcept;

  void (*softmax_forward)(T* probabilities, const T* totals, int nodes) noexcept;
  void (*softmax_backward)(T* d_totals, const T* d_probabilities, const T* totals, int nodes) noexcept;

  void (*sgd_update)(T* parameters, const T* gradient, T learn_rate, Index count) noexcept;
};

struct Target {
  const char* name;
  bool (*supported)() noexcept;
  Kernels<float> kernels_float32;
  Kernels<double> kernels_float64;

  template <class T>
  const Kernels<T>& kernels() const noexcept {
    if constexpr (sizeof(T) == sizeof(float))
      return kernels_float32;
    else
      return kernels_float64;
  }
};

}  // namespace cnnx
