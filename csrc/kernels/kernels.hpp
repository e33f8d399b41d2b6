// What the core can compute: the shapes and the table of functions that every CPU target fills in.
//
// Kernels are pure functions on raw pointers: outputs first, then inputs, then the shape. Arrays are
// C-contiguous and do not overlap unless a comment says so; they assume what the bindings have checked.
// Images are channels last.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cnnx {

using Index = std::ptrdiff_t;

// A 3x3 convolution without padding: (height, width, channels) -> (height - 2, width - 2, filters), less the last rows
// and columns that nobody will read.
struct Conv3x3Shape {
  int height, width, channels, filters;
  int unread_rows = 0, unread_columns = 0;
  bool relu = false;  // after it, in a forward pass

  int out_height() const noexcept { return height - 2 - unread_rows; }
  int out_width() const noexcept { return width - 2 - unread_columns; }
  int taps() const noexcept { return 9 * channels; }
};

// The entries of a convolution's output gradient that are not zero, twice; conv3x3_sparse.cpp has the layout.
template <class T>
struct SparseGradient {
  int *count, *offset;  // by filter: (filters,), (filters, outputs)
  T* gradient;          // (filters, outputs)
  int *start, *filter;  // by output: (outputs + 1,), (entries,)
  T* value;             // (entries,)
};

// Who receives a pooling window's gradient when several pixels equal the maximum.
enum class Ties { all, first };

// Max pooling over 2x2 windows: (height, width, channels) -> (height / 2, width / 2, channels), rounded down.
struct MaxPool2Shape {
  int height, width, channels;

  int out_height() const noexcept { return height / 2; }
  int out_width() const noexcept { return width / 2; }
};

// A Conv3x3 over a single-channel image and the MaxPool2 after it. A patch is the 4x4 pixels that a place's pooled
// values come from, and it has that place's index; `stride` is the distance between the values of neighbouring places.
struct ConvPoolShape {
  int height, width, filters, stride;
  bool bias = false;
  bool relu = false;  // max(0, pooled): the same as a ReLU on either side of the pooling
  Ties ties = Ties::all;

  int out_height() const noexcept { return (height - 2) / 2; }
  int out_width() const noexcept { return (width - 2) / 2; }
  int patches() const noexcept { return out_height() * out_width(); }
};

// Spare room at the end of a list of patches, so that kernels may write a whole register.
inline constexpr int list_room = 16;

// An image's way through a Conv3x3 and the MaxPool2 after it; kernels/conv_pool.hpp has the layouts.
template <class T>
struct PooledImage {
  const T* pixels;
  T background_pixel;      // a patch of nothing but this value is background
  const int* foreground;   // the patches that are not background, in reading order
  int count;               // of the foreground
  const int* first_pixel;  // of every patch
  T *values, *background;  // (patches, stride), (stride), zeros after the filters
  T* kept;                 // what the backward pass needs besides, or null if there will be none
};

// Every sum across lanes has this many partial sums on every target.
inline constexpr int row_lanes = 8;
// The numbers in 64 bytes, the widest register of any target.
template <class T>
inline constexpr int lanes_of = 64 / static_cast<int>(sizeof(T));

constexpr int rounded_up(int count, int to) noexcept {
  return (count + to - 1) / to * to;
}

// A dense layer: (rows, channels) -> (nodes), weights (rows * channels, nodes). After a Conv3x3 and MaxPool2 a row is a
// place of the image; elsewhere one row has all inputs.
struct DenseShape {
  int rows, channels, nodes;

  int inputs() const noexcept { return rows * channels; }
  int blocks() const noexcept { return (channels + row_lanes - 1) / row_lanes; }
  int stride() const noexcept { return blocks() * row_lanes; }
  bool has_background() const noexcept { return rows > 1; }

  // Packed weights, which kernels/dense_packed.hpp describes.
  int packed_rows() const noexcept { return has_background() ? rows + 2 : 1; }
  template <class T>
  int wides() const noexcept {
    return (nodes * row_lanes + lanes_of<T> - 1) / lanes_of<T>;
  }
  template <class T>
  Index packed_size() const noexcept {
    return Index{blocks()} * packed_rows() * wides<T>() * lanes_of<T>;
  }
};

// How many samples a dense layer takes at once, so that its weights are read once for all of them.
inline constexpr int dense_block = 12;

// What a dense layer reads. With a background, only the rows listed have values of their own, `stride` apart; all
// others are the background, (channels), in blocks of eight with zeros after the last channel, as the rows are.
template <class T>
struct DenseInput {
  const T* values;
  const T* background = nullptr;  // if null, there is one row, and no list
  const int* listed = nullptr;
  int count = 1;
};

// Stochastic gradient descent with momentum, and Adam with decoupled weight decay; elementwise.cpp has the formulas.
struct SgdSettings {
  double momentum, weight_decay;
  bool nesterov;
};
struct AdamSettings {
  double beta1, beta2, epsilon, weight_decay;
};

// What a step came to: the loss, and whether the label had the largest probability.
struct Outcome {
  double loss;
  bool correct;
};

// Packed filters, and their gradient, are (taps + 1, padded filters): packed[tap][f] = filters[f][tap], and the biases
// in the last row. Rows are padded with zeros to whole 64-byte rows, the widest register of any target.
template <class T>
constexpr int padded_channels(int channels) noexcept {
  return rounded_up(channels, lanes_of<T>);
}
template <class T>
Index packed_filters_size(const Conv3x3Shape& s) noexcept {
  return Index{s.taps() + 1} * padded_channels<T>(s.filters);
}

template <class T>
Index conv_pool_kept_size(const ConvPoolShape& s) noexcept {
  return Index{4} * s.patches() * rounded_up(s.filters + row_lanes, lanes_of<T>);
}

// How many neighbouring outputs of a convolution are computed together.
inline constexpr int conv_tile_pixels = 6;

// Scratch that the caller lends, in elements of T.
template <class T>
Index conv3x3_backward_input_scratch(const Conv3x3Shape& s) noexcept {
  return Index{conv_tile_pixels} * s.taps();
}

template <class T>
struct Kernels {
  // kernels/conv3x3.cpp; biases may be null
  void (*pack_filters)(T* packed, const T* filters, const T* biases, const Conv3x3Shape&) noexcept;
  void (*unpack_filters)(T* filters, T* biases, const T* packed, const Conv3x3Shape&) noexcept;
  void (*pack_flipped_filters)(T* packed, const T* filters, const Conv3x3Shape&) noexcept;
  void (*add_unpacked_filters)(T* gradient, const T* d_packed, const Conv3x3Shape&) noexcept;
  void (*conv3x3_forward)(T* output, const T* input, const T* packed, const Conv3x3Shape&) noexcept;
  void (*conv3x3_backward_filters)(T* d_packed, const T* d_output, const T* input, const Conv3x3Shape&) noexcept;
  void (*conv3x3_backward_input)(T* d_input, const T* d_output, const T* filters, T* scratch,
                                 const Conv3x3Shape&) noexcept;

  // kernels/conv3x3_sparse.cpp
  void (*conv3x3_gather)(const SparseGradient<T>& entries, const T* d_output, const Conv3x3Shape&) noexcept;
  void (*conv3x3_backward_filters_sparse)(T* d_filters, const SparseGradient<T>& entries, const T* input,
                                          const Conv3x3Shape&) noexcept;
  void (*conv3x3_backward_input_sparse)(T* d_input, const SparseGradient<T>& entries, const T* filters,
                                        const Conv3x3Shape&) noexcept;

  // kernels/max_pool2.cpp
  void (*max_pool2_forward)(T* output, const T* input, const MaxPool2Shape&) noexcept;
  void (*max_pool2_backward)(T* d_input, const T* d_output, const T* input, const MaxPool2Shape&, Ties) noexcept;

  // kernels/foreground.cpp
  void (*scale_pixels)(T* image, const std::uint8_t* pixels, Index count) noexcept;
  int (*find_foreground_in_bytes)(int* patches, std::uint64_t* scratch, const std::uint8_t* pixels,
                                  std::uint8_t background_pixel, const ConvPoolShape&) noexcept;
  int (*find_foreground)(int* patches, std::uint64_t* scratch, const T* pixels, T background_pixel,
                         const ConvPoolShape&) noexcept;
  bool (*are_small)(const T* values, Index count) noexcept;

  // kernels/conv_pool.cpp
  void (*conv_pool_forward)(const PooledImage<T>&, const T* packed, const ConvPoolShape&) noexcept;
  void (*conv_pool_backward)(T* d_packed, const T* d_pooled, const T* d_background, const PooledImage<T>&,
                             const ConvPoolShape&) noexcept;
  void (*spread_background)(const PooledImage<T>&, const ConvPoolShape&) noexcept;
  void (*sum_background)(T* d_background, const T* d_pooled, const PooledImage<T>&, const ConvPoolShape&) noexcept;

  // kernels/dense.cpp; the backward kernels return the gradient through the old weights
  void (*dense_forward)(T* totals, const DenseInput<T>&, const T* weights, const T* biases, const DenseShape&) noexcept;
  void (*dense_backward_update)(T* d_input, T* weights, T* biases, const T* d_totals, const T* input, T learn_rate,
                                const DenseShape&) noexcept;

  // kernels/dense_packed.hpp
  void (*dense_pack)(T* packed, const T* weights, const DenseShape&) noexcept;
  void (*dense_unpack)(T* weights, const T* packed, const DenseShape&) noexcept;
  void (*dense_fold)(T* packed, const DenseShape&) noexcept;
  void (*dense_forward_packed)(T* totals, const T* input, const T* packed, const T* biases, const DenseShape&) noexcept;
  void (*dense_backward_update_packed)(T* d_input, T* packed, T* biases, const T* d_totals, const T* input,
                                       T learn_rate, const DenseShape&) noexcept;

  // As above, but weights and biases stay and their gradients are added to d_packed and d_biases.
  void (*dense_backward_packed)(T* d_input, T* d_packed, T* d_biases, const T* packed, const T* d_totals,
                                const T* input, const DenseShape&) noexcept;

  // Both for several samples, at most dense_block. Totals are the same to the bit as those of one sample alone;
  // d_inputs are set, or none if d_inputs is null.
  void (*dense_forward_block)(T* const* totals, const T* const* inputs, int samples, const T* packed, const T* biases,
                              const DenseShape&) noexcept;
  void (*dense_backward_block)(T* const* d_inputs, T* d_packed, T* d_biases, const T* packed, const T* const* d_totals,
                               const T* const* inputs, int samples, const DenseShape&) noexcept;

  // kernels/conv_pool_dense.cpp. Weights are `folded` after packing or folding, until the first update in place.
  // d_pooled is scratch, as long as the pooled values and the background. The backward kernels set d_filters; the first
  // updates weights and biases in place, the second adds their gradients.
  void (*conv_pool_dense_forward)(T* totals, const PooledImage<T>&, const T* filters, const T* packed, const T* biases,
                                  bool folded, const ConvPoolShape&, const DenseShape&) noexcept;
  void (*conv_pool_dense_backward_update)(T* d_filters, T* d_pooled, T* packed, T* biases, const T* d_totals,
                                          T learn_rate, const PooledImage<T>&, const ConvPoolShape&,
                                          const DenseShape&) noexcept;
  void (*conv_pool_dense_backward)(T* d_filters, T* d_pooled, T* d_packed, T* d_biases, const T* packed,
                                   const T* d_totals, const PooledImage<T>&, const ConvPoolShape&,
                                   const DenseShape&) noexcept;

  // kernels/elementwise.cpp
  void (*relu_forward)(T* output, const T* input, Index count) noexcept;
  void (*relu_backward)(T* d_input, const T* d_output, const T* input, Index count) noexcept;
  void (*dropout)(T* output, const T* input, T rate, std::uint64_t key, Index count) noexcept;
  void (*add)(T* sum, const T* addend, Index count) noexcept;
  void (*add_as_tree)(T* const* sums, int arrays, T factor, Index count) noexcept;
  Index (*count_nonzero)(const T* values, Index count) noexcept;
  void (*scale)(T* values, T factor, Index count) noexcept;
  void (*sgd_update)(T* parameters, const T* gradient, T learn_rate, Index count) noexcept;
  void (*sgd_momentum_update)(T* parameters, T* velocity, const T* gradient, T learn_rate, const SgdSettings&,
                              Index count) noexcept;
  void (*adam_update)(T* parameters, T* first_moment, T* second_moment, const T* gradient, T learn_rate, Index step,
                      const AdamSettings&, Index count) noexcept;

  // kernels/softmax.cpp
  void (*softmax_forward)(T* probabilities, const T* totals, int nodes) noexcept;
  void (*softmax_backward)(T* d_totals, const T* d_probabilities, const T* totals, int nodes) noexcept;
  Outcome (*softmax_loss)(T* probabilities, const T* totals, int label, int nodes) noexcept;
};

struct Target {
  const char* name;
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
