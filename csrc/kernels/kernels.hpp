// What the core can compute: the kernels' shapes, and the table of kernels that each CPU target fills in.
//
// Kernels are pure functions on raw pointers: outputs first, then inputs, then the shape. Arrays are C-contiguous and
// do not overlap unless a comment says so. Kernels check nothing, because the bindings already have. Images are
// channels last: pixel (y, x) of a (height, width, channels) image begins at (y * width + x) * channels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cnnx {

using Index = std::ptrdiff_t;

// A 3x3 convolution: (height, width, channels) -> (height - 2, width - 2, filters). The last `unread_rows` and
// `unread_columns` are left out of the output, because no later layer reads them.
//
// `height` and `width` count a ring of zeros around the image, which is `padding` pixels thick, and also the image's
// last `missing_rows` and `missing_columns`, which are zeros, too. The kernels of Winograd's algorithm take images
// without these zeros. For all others, the zeros are in memory.
struct Conv3x3Shape {
  int height, width, channels, filters;
  int unread_rows = 0, unread_columns = 0;
  bool relu = false;  // whether the forward pass applies a ReLU to the outputs
  int padding = 0, missing_rows = 0, missing_columns = 0;
  bool skips_ring = false;  // whether the forward pass may leave out the products of the ring
  bool bias = true;         // whether the backward pass computes the gradient of the biases

  int out_height() const noexcept { return height - 2 - unread_rows; }
  int out_width() const noexcept { return width - 2 - unread_columns; }
  int taps() const noexcept { return 9 * channels; }
  // The image without these zeros.
  int image_height() const noexcept { return height - 2 * padding - missing_rows; }
  int image_width() const noexcept { return width - 2 * padding - missing_columns; }
  Index image_size() const noexcept { return Index{image_height()} * image_width() * channels; }
  // The image with these zeros, if there are any.
  bool is_padded() const noexcept { return padding + missing_rows + missing_columns > 0; }
  Index padded_size() const noexcept { return Index{height} * width * channels; }
  // The tiles of 2x2 outputs in Winograd's algorithm.
  Index tiles() const noexcept { return Index{(out_height() + 1) / 2} * ((out_width() + 1) / 2); }
};

// A nonzero entry of a convolution's output gradient, and where it belongs.
template <class T>
struct Entry {
  int at;
  T value;
};
// All of them, listed twice; conv3x3_sparse.cpp has the layout. `outputs` is the number of output pixels,
// out_height * out_width.
template <class T>
struct SparseGradient {
  int* end;             // (filters,)
  Entry<T>* by_filter;  // (filters, outputs)
  int* start;           // (outputs + 1,)
  Entry<T>* by_output;  // (entries,)
};

// Which pixels receive a pooling window's gradient when several equal the maximum: all of them, or the first in reading
// order.
enum class Ties { all, first };

// Max pooling over 2x2 windows: (height, width, channels) -> (height / 2, width / 2, channels), rounded down.
struct MaxPool2Shape {
  int height, width, channels;

  int out_height() const noexcept { return height / 2; }
  int out_width() const noexcept { return width / 2; }
};

// A Conv3x3 over a single-channel image (height, width), and the MaxPool2 after it. A patch is the 4x4 pixels that one
// position's pooled values come from; patches are numbered in reading order. The pooled values of neighbouring patches
// are `stride` numbers apart.
struct ConvPoolShape {
  int height, width, filters, stride;
  bool bias = false;
  bool relu = false;  // max(0, pooled): the same as a ReLU on either side of the pooling
  Ties ties = Ties::all;

  int out_height() const noexcept { return (height - 2) / 2; }
  int out_width() const noexcept { return (width - 2) / 2; }
  int patches() const noexcept { return out_height() * out_width(); }
};

// Spare room at the end of a patch list, so that kernels may write a whole register.
inline constexpr int list_room = 16;

// An image, its foreground, and its values after a Conv3x3 and a MaxPool2; kernels/conv_pool.hpp has the layouts.
template <class T>
struct PooledImage {
  const T* pixels;
  T background_pixel;      // a patch is background if all of its pixels have this value
  const int* foreground;   // (count,), the patches that are not background, in reading order
  int count;               // number of foreground patches
  const int* first_pixel;  // (patches,), the index of each patch's first pixel
  T *values, *background;  // (patches, stride), (stride,), 0 after the last filter
  T* kept;                 // what the forward pass keeps for the backward pass, or null if there is none
  T* planes = nullptr;     // (DenseShape::planes_size(),), set to 0 at first; kernels/conv_plane.hpp has the layout
  const int* in_order = nullptr;  // 0, 1, 2 and so on: (DenseShape::plane_rows,)
};

// A sum across lanes has this many partial sums on every target.
inline constexpr int row_lanes = 8;
// How many numbers fit into 64 bytes, the widest register of any target.
template <class T>
inline constexpr int lanes_of = 64 / static_cast<int>(sizeof(T));

// A dense layer after a pooling takes its nodes in groups (kernels/dense_packed.hpp). The most Wides of a group, where
// a Wide is one number for each of lanes_of<T>.
template <class T>
inline constexpr int most_wides = sizeof(T) == sizeof(float) ? 7 : 10;

constexpr int rounded_up(int count, int to) noexcept {
  return (count + to - 1) / to * to;
}

// A dense layer: (rows, channels) -> (nodes,), weights (rows * channels, nodes). After a Conv3x3 and a MaxPool2, a row
// is the pooled values of one patch. Elsewhere there is one row, which holds all inputs.
struct DenseShape {
  int rows, channels, nodes;
  // The last `planes` channels have patches in the lanes; all others are in blocks of eight (kernels/conv_plane.hpp).
  int planes = 0;
  int columns = 0;     // of patches
  int plane_rows = 0;  // rows of eight places in a plane

  // After a Conv3x3 and a MaxPool2. One or two channels after the last whole block become planes. On digits, which are
  // mostly background, three planes would take as long as a block.
  static constexpr DenseShape of_patches(int rows, int columns, int channels, int nodes) noexcept {
    DenseShape s{rows, channels, nodes};
    if (channels % row_lanes <= 2) s.planes = channels % row_lanes;
    s.columns = columns;
    if (s.planes > 0) s.plane_rows = s.place(rows - 1) / row_lanes + 1;
    return s;
  }

  constexpr int place(int row) const noexcept { return row + row / columns; }  // of a row in a plane
  int inputs() const noexcept { return rows * channels; }
  int blocks() const noexcept { return (channels - planes + row_lanes - 1) / row_lanes; }
  int stride() const noexcept { return rounded_up(channels, row_lanes); }
  bool has_background() const noexcept { return rows > 1; }

  // The length of an image's phase, of a plane's memory and of PooledImage::planes.
  Index phase_size() const noexcept { return Index{row_lanes} * (plane_rows + 1) + rounded_up(columns + 1, row_lanes); }
  Index plane_size() const noexcept { return Index{row_lanes} * (6 * plane_rows + 1); }
  Index planes_size() const noexcept { return planes > 0 ? 4 * phase_size() + planes * plane_size() + row_lanes : 0; }

  // Sizes of packed weights; kernels/dense_packed.hpp has the layout.
  int packed_rows() const noexcept { return has_background() ? rows + 2 : 1; }
  int all_packed_rows() const noexcept { return blocks() * packed_rows() + planes * (plane_rows + 2); }
  template <class T>
  int wides() const noexcept {
    return (nodes * row_lanes + lanes_of<T> - 1) / lanes_of<T>;
  }
  template <class T>
  Index packed_weights_size() const noexcept {
    return Index{all_packed_rows()} * wides<T>() * lanes_of<T>;
  }
  // Whether there is room for an update that a step leaves to the next one (kernels/dense_packed.hpp, Deferred), and
  // how much. It is worth its work if the weights are several times as large as the first cache. Layers of a single
  // group of nodes and float64 are left out to save code: the former would need it for each size of a group, and the
  // latter gains little.
  template <class T>
  bool has_deferred() const noexcept {
    constexpr Index least = (Index{1} << 17) / sizeof(float);
    return sizeof(T) == sizeof(float) && has_background() && wides<T>() > most_wides<T> &&
           packed_weights_size<T>() > least;
  }
  template <class T>
  Index deferred_size() const noexcept {
    return has_deferred<T>() ? rounded_up(1 + nodes, lanes_of<T>) + Index{all_packed_rows()} * row_lanes : 0;
  }
  template <class T>
  Index packed_size() const noexcept {
    return packed_weights_size<T>() + deferred_size<T>();
  }
};

// The most samples that a dense layer takes at once, to read its weights once for all of them.
inline constexpr int dense_block = 12;

// The most samples of a batch whose gradient is computed part by part (stages/stage.hpp). That is for threads, so a web
// page does without.
inline constexpr int dense_batch = 256;
#if defined(__wasm__)
inline constexpr bool has_gradient_parts = false;
#else
inline constexpr bool has_gradient_parts = true;
#endif

// The numbers from `first` to `end` - 1.
struct Range {
  Index first, end;
};

// The input of a dense layer. With a background, values are (rows, stride), of which only the listed rows are read;
// every other row equals the background (stride,). Without one, values are a single row (channels,).
template <class T>
struct DenseInput {
  const T* values;
  const T* background = nullptr;
  const int* listed = nullptr;  // (count,), row numbers
  int count = 1;
};

// The smallest and the largest of some numbers, at least one. They mean nothing if a number is not finite.
template <class T>
struct ValueRange {
  T least, most;
  bool is_finite;
};

// Gradient descent with momentum, and Adam with decoupled weight decay; elementwise.cpp has the formulas.
struct SgdSettings {
  double momentum, weight_decay;
  bool nesterov;
};
struct AdamSettings {
  double beta1, beta2, epsilon, weight_decay;
};

// A batch of samples, cut into shards. A sum over the batch is a sum over each shard, and then a balanced binary tree
// over the shards, whose number is 1, 2, 4 or 8.
struct ShardedBatch {
  Index samples, shards;

  // The first sample of a shard, and for the number of shards the end of the last.
  Index start(Index shard) const noexcept { return samples * shard / shards; }
};
inline constexpr Index most_shards = 8;

// Batch normalisation of a sample (height, width, channels); kernels/batch_norm.cpp has the formulas. With `pool`, its
// outputs are pooled over 2x2 windows. A ReLU before the pooling is the same as one after it.
struct BatchNormShape {
  int height, width, channels;
  bool relu = false, pool = false;
  Ties ties = Ties::all;

  // The shape of the values that the normalisation itself reads.
  BatchNormShape normalised() const noexcept {
    return pool ? BatchNormShape{height / 2, width / 2, channels, relu} : *this;
  }
};
// What pooling takes from each window (height / 2, width / 2, channels): x of its largest y, and which of its pixels
// have this y. The latter is an integer as wide as T; bit q belongs to pixel q in reading order.
template <class T>
struct PooledNorm {
  T *values, *winners;
};
// The pixels of all 3x3 windows of an image; kernels/conv_pool_norm.cpp has the formulas.
struct WindowMoments {
  double count, mean[9], products[9][9];
};
struct BatchNormLimits {
  double momentum, eps;
};
// What batch normalisation needs to know of each channel, all (channels,).
template <class T>
struct BatchNormValues {
  const T *scale, *offset;
  T *running_mean, *running_var;
  T *mean, *inverse, *factor, *shift, *d_mean, *d_slope;
};

// A sample's loss, and whether its label had the largest probability.
struct Outcome {
  double loss;
  bool correct;
};

// Packed filters are (taps + 1, padded filters): packed[tap][f] = filters[f][tap], and the last row holds the biases.
// Rows are padded with zeros to a multiple of 64 bytes, the widest register of any target. The filters' gradient has
// the same layout.
template <class T>
constexpr int padded_channels(int channels) noexcept {
  return rounded_up(channels, lanes_of<T>);
}
template <class T>
Index packed_filters_size(const Conv3x3Shape& s) noexcept {
  return Index{s.taps() + 1} * padded_channels<T>(s.filters);
}

// The length of PooledImage::kept.
template <class T>
Index conv_pool_kept_size(const ConvPoolShape& s) noexcept {
  return Index{4} * s.patches() * rounded_up(s.filters + row_lanes, lanes_of<T>);
}

// Whether Winograd's algorithm is an advantage (kernels/winograd_forward.cpp, kernels/winograd_backward.cpp). The other
// algorithm is as fast for few channels or filters, or if many lanes are empty.
inline constexpr int least_winograd = 16;  // channels, and filters
template <class T>
constexpr bool has_winograd(const Conv3x3Shape& s) noexcept {
  return s.channels >= least_winograd && s.filters >= least_winograd &&
         4 * s.filters >= 3 * padded_channels<T>(s.filters);
}
// Whether a forward pass uses it. On small images it computes too much that is outside of them.
template <class T>
constexpr bool uses_winograd(const Conv3x3Shape& s) noexcept {
  return has_winograd<T>(s) && s.height >= 6 && s.width >= 6;
}
// The length of transformed filters, if there are any.
template <class T>
constexpr Index winograd_filters_size(const Conv3x3Shape& s) noexcept {
  return has_winograd<T>(s) ? Index{16} * (s.channels + 1) * padded_channels<T>(s.filters) : 0;
}
// How many tiles a forward pass computes at once, and the length of the scratch memory that this needs.
inline constexpr int winograd_tiles = 18;
template <class T>
constexpr Index winograd_desk_size(const Conv3x3Shape& s) noexcept {
  return Index{16} * (winograd_tiles + 1) * (padded_channels<T>(s.channels) + 2 * lanes_of<T>);
}
// The length of the sums of the filters' gradient, and of its scratch memory.
template <class T>
Index winograd_gradient_size(const Conv3x3Shape& s) noexcept {
  return Index{16 * s.channels + 1} * padded_channels<T>(s.filters);
}
// The part of an image that a backward pass computes at once, from a row of outputs on: about 64 tiles, so that they
// stay in the cache. All but the last have equally many rows of outputs, an even number.
inline Conv3x3Shape winograd_band(const Conv3x3Shape& s, int y) noexcept {
  const int across = (s.out_width() + 1) / 2, rows = 2 * (across < 64 ? 64 / across : 1);
  Conv3x3Shape band = s;
  band.height -= y;
  if (band.out_height() <= rows) return band;
  band.height = rows + 2;
  band.unread_rows = 0;
  return band;
}
// For how many tiles it needs room. Four are computed at least.
inline Index winograd_most_tiles(const Conv3x3Shape& s) noexcept {
  const Index tiles = winograd_band(s, 0).tiles();
  return tiles < 4 ? 4 : tiles;
}
template <class T>
Index winograd_scratch(const Conv3x3Shape& s) noexcept {
  const int channels = padded_channels<T>(s.channels), filters = padded_channels<T>(s.filters);
  return 16 * winograd_most_tiles(s) * (channels + filters) + (channels > filters ? channels : filters);
}

// How many neighbouring output pixels conv3x3_backward_input takes at once.
inline constexpr int conv_tile_pixels = 6;

// The length of the scratch memory that conv3x3_backward_input needs.
template <class T>
Index conv3x3_backward_input_scratch(const Conv3x3Shape& s) noexcept {
  return Index{conv_tile_pixels} * s.taps();
}

// The length of the scratch memory that window_moments needs.
inline Index window_moments_scratch(const Conv3x3Shape& s) noexcept {
  return Index{s.height} * s.width + 8;
}

template <class T>
struct Kernels {
  // kernels/conv3x3.cpp. Biases may be null.
  void (*pack_filters)(T* packed, const T* filters, const T* biases, const Conv3x3Shape&) noexcept;
  void (*unpack_filters)(T* filters, T* biases, const T* packed, const Conv3x3Shape&) noexcept;
  void (*pack_flipped_filters)(T* packed, const T* filters, const Conv3x3Shape&) noexcept;
  void (*add_unpacked_filters)(T* gradient, const T* d_packed, const Conv3x3Shape&) noexcept;
  void (*conv3x3_forward)(T* output, const T* input, const T* packed, const Conv3x3Shape&) noexcept;
  // Adds to d_packed. Without s.bias, it leaves the gradient of the biases out.
  void (*conv3x3_backward_filters)(T* d_packed, const T* d_output, const T* input, const Conv3x3Shape&) noexcept;
  void (*conv3x3_backward_input)(T* d_input, const T* d_output, const T* filters, T* scratch,
                                 const Conv3x3Shape&) noexcept;

  // kernels/winograd_forward.cpp. The second returns whether all outputs are finite. If not, they are for
  // conv3x3_forward to compute.
  void (*winograd_transform_filters)(T* transformed, const T* packed, const Conv3x3Shape&) noexcept;
  bool (*winograd_forward)(T* output, const T* input, const T* transformed, const T* biases, T* desk,
                           const Conv3x3Shape&) noexcept;
  // The same, and then max_pool2_choose. No output is outside of all pooling windows.
  bool (*winograd_forward_pooled)(T* output, T* winners, const T* input, const T* transformed, const T* biases, T* desk,
                                  const Conv3x3Shape&, Ties, bool relu) noexcept;

  // kernels/winograd_backward.cpp. The first adds to sums, which the second makes the gradient of packed filters. It
  // sets d_input unless that is null; `flipped` are the transformed filters that winograd_forward would need for it.
  void (*winograd_backward)(T* d_input, T* sums, const T* d_output, const T* input, const T* flipped, T* scratch,
                            const Conv3x3Shape&) noexcept;
  void (*winograd_finish_filters)(T* sums, const Conv3x3Shape&) noexcept;

  // kernels/conv3x3_sparse.cpp
  void (*conv3x3_gather)(const SparseGradient<T>& entries, const T* d_output, const Conv3x3Shape&) noexcept;
  // The same for what max_pool2_hand_out makes of the gradient of pooled outputs.
  void (*conv3x3_gather_pooled)(const SparseGradient<T>& entries, const T* d_pooled, const T* winners,
                                const Conv3x3Shape&) noexcept;
  void (*conv3x3_backward_filters_sparse)(T* d_filters, const SparseGradient<T>& entries, const T* input,
                                          const Conv3x3Shape&) noexcept;
  void (*conv3x3_backward_input_sparse)(T* d_input, const SparseGradient<T>& entries, const T* filters,
                                        const Conv3x3Shape&) noexcept;

  // kernels/max_pool2.cpp
  void (*max_pool2_forward)(T* output, const T* input, const MaxPool2Shape&) noexcept;
  // For a backward pass: the same outputs, and `winners` (height / 2, width / 2, channels), of which bit q of an
  // integer as wide as T says whether pixel q of the window, in reading order, receives the gradient. With `relu`, the
  // outputs are max(0, output), and outputs of 0 have no winner.
  void (*max_pool2_choose)(T* output, T* winners, const T* input, const MaxPool2Shape&, Ties, bool relu) noexcept;
  void (*max_pool2_hand_out)(T* d_input, const T* d_output, const T* winners, const MaxPool2Shape&) noexcept;

  // kernels/foreground.cpp
  void (*scale_pixels)(T* image, const std::uint8_t* pixels, Index count) noexcept;
  int (*find_foreground_in_bytes)(int* patches, std::uint64_t* scratch, const std::uint8_t* pixels,
                                  std::uint8_t background_pixel, const ConvPoolShape&) noexcept;
  int (*find_foreground)(int* patches, std::uint64_t* scratch, const T* pixels, T background_pixel,
                         const ConvPoolShape&) noexcept;
  bool (*are_small)(const T* values, Index count) noexcept;
  ValueRange<T> (*range_of)(const T* values, Index count) noexcept;

  // kernels/conv_pool.cpp
  void (*conv_pool_forward)(const PooledImage<T>&, const T* packed, const ConvPoolShape&) noexcept;
  void (*conv_pool_backward)(T* d_packed, const T* d_pooled, const T* d_background, const PooledImage<T>&,
                             const ConvPoolShape&) noexcept;
  void (*spread_background)(const PooledImage<T>&, const ConvPoolShape&) noexcept;
  void (*sum_background)(T* d_background, const T* d_pooled, const PooledImage<T>&, const ConvPoolShape&) noexcept;

  // kernels/dense.cpp. Here and below, d_input is the gradient through the weights before the update.
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

  // Like dense_backward_update_packed, but leaves weights and biases unchanged, and adds their gradients to d_packed
  // and d_biases.
  void (*dense_backward_packed)(T* d_input, T* d_packed, T* d_biases, const T* packed, const T* d_totals,
                                const T* input, const DenseShape&) noexcept;

  // Both passes for several samples, at most dense_block. The totals equal those of dense_forward_packed to the bit.
  // If d_inputs is null, the inputs' gradients are not computed.
  void (*dense_forward_block)(T* const* totals, const T* const* inputs, int samples, const T* packed, const T* biases,
                              const DenseShape&) noexcept;
  void (*dense_backward_block)(T* const* d_inputs, T* d_packed, T* d_biases, const T* packed, const T* const* d_totals,
                               const T* const* inputs, int samples, const DenseShape&) noexcept;

  // kernels/dense_gradient.cpp: sets the inputs' gradients, as dense_backward_block does, and a part of the gradient of
  // packed weights and biases, which the last function returns. It is the factor times the sum over the batch, and has
  // the bits that add_as_tree gives for shards.
  void (*dense_backward_inputs)(T* const* d_inputs, const T* packed, const T* const* d_totals, int samples,
                                const DenseShape&) noexcept;
  int (*dense_gradient_parts)(const DenseShape&) noexcept;
  Range (*dense_set_gradient)(T* d_packed, int part, const T* const* inputs, const T* const* d_totals,
                              const ShardedBatch&, T factor, const DenseShape&) noexcept;

  // kernels/conv_pool_dense.cpp. `folded` says that row D of the weights is 0, as it is from dense_fold until the first
  // update in place. d_pooled is scratch, (patches + 1, stride). The first backward kernel updates filters, weights and
  // biases in place. The second adds their gradients to d_filters, d_packed and d_biases.
  void (*conv_pool_dense_forward)(T* totals, const PooledImage<T>&, const T* filters, const T* packed, const T* biases,
                                  bool folded, const ConvPoolShape&, const DenseShape&) noexcept;
  void (*conv_pool_dense_backward_update)(T* filters, T* d_pooled, T* packed, T* biases, const T* d_totals,
                                          T learn_rate, const PooledImage<T>&, const ConvPoolShape&,
                                          const DenseShape&) noexcept;
  void (*conv_pool_dense_backward)(T* d_filters, T* d_pooled, T* d_packed, T* d_biases, const T* packed,
                                   const T* d_totals, const PooledImage<T>&, const ConvPoolShape&,
                                   const DenseShape&) noexcept;

  // kernels/batch_norm.cpp. In training, samples leave their moments, the batch takes them, and samples go forward.
  // Then samples leave their sums, the batch takes their gradient, and samples go back.
  void (*batch_norm_moments)(T* mean, T* squares, const T* input, const BatchNormShape&) noexcept;
  void (*batch_norm_take_running)(const BatchNormValues<T>&, const BatchNormLimits&, int channels) noexcept;
  void (*batch_norm_take_batch)(const BatchNormValues<T>&, const T* moments, Index stride, const ShardedBatch&,
                                const BatchNormLimits&, const BatchNormShape&) noexcept;
  void (*batch_norm_take_gradient)(const BatchNormValues<T>&, const T* const* shards, Index at, const ShardedBatch&,
                                   const BatchNormShape&) noexcept;
  void (*batch_norm_pool)(const PooledNorm<T>&, const T* input, const T* scale, const BatchNormShape&) noexcept;
  void (*batch_norm_forward)(T* output, const T* input, const BatchNormValues<T>&, const BatchNormShape&) noexcept;
  // Sets sums to a sample's d_scale, and from sums[padded_channels] on to its d_offset. After pooling, `input` are its
  // values; otherwise `winners` is null.
  void (*batch_norm_sums)(T* sums, const T* d_output, const T* input, const T* winners, const BatchNormValues<T>&,
                          const BatchNormShape&) noexcept;
  void (*batch_norm_backward)(T* d_input, const T* d_output, const T* input, const PooledNorm<T>&,
                              const BatchNormValues<T>&, const BatchNormShape&) noexcept;

  // kernels/conv_pool_norm.cpp. The last two add to a gradient, of the biases only with s.bias.
  void (*window_moments)(WindowMoments&, double* scratch, const T* image, const Conv3x3Shape&) noexcept;
  void (*output_moments)(T* mean, T* squares, const WindowMoments&, const T* packed, int filters) noexcept;
  void (*fold_norm)(T* folded, const T* packed, const BatchNormValues<T>&, int filters) noexcept;
  void (*unfold_gradient)(T* d_packed, T* d_norm, const T* d_folded, const T* packed, const BatchNormValues<T>&,
                          const Conv3x3Shape&) noexcept;
  void (*subtract_through_statistics)(T* d_packed, const T* mean, const WindowMoments&, const T* packed,
                                      const BatchNormValues<T>&, const Conv3x3Shape&) noexcept;

  // kernels/elementwise.cpp
  void (*relu_forward)(T* output, const T* input, Index count) noexcept;
  // d_input may be d_output.
  void (*relu_backward)(T* d_input, const T* d_output, const T* input, Index count) noexcept;
  void (*dropout)(T* output, const T* input, T rate, std::uint64_t key, Index count) noexcept;
  void (*add)(T* sum, const T* addend, Index count) noexcept;
  // Sets the first array to the sum, and the others to 0.
  void (*add_as_tree)(T* const* sums, int arrays, T factor, Index count) noexcept;
  Index (*count_nonzero)(const T* values, Index count) noexcept;
  void (*scale)(T* values, T factor, Index count) noexcept;
  // The next three set the gradient to 0. Meanwhile they fetch `others`, unless it is null: `count` parameters that
  // another thread has just updated.
  void (*sgd_update)(T* parameters, T* gradient, T learn_rate, Index count, const T* others) noexcept;
  void (*sgd_momentum_update)(T* parameters, T* velocity, T* gradient, T learn_rate, const SgdSettings&, Index count,
                              const T* others) noexcept;
  void (*adam_update)(T* parameters, T* first_moment, T* second_moment, T* gradient, T learn_rate, Index step,
                      const AdamSettings&, Index count, const T* others) noexcept;
  void (*average_update)(T* average, const T* parameters, T share, Index count) noexcept;

  // kernels/softmax.cpp
  void (*softmax_forward)(T* probabilities, const T* totals, int nodes) noexcept;
  void (*softmax_backward)(T* d_totals, const T* d_probabilities, const T* totals, int nodes) noexcept;
  Outcome (*softmax_loss)(T* probabilities, T* d_totals, const T* totals, int label, int nodes) noexcept;
  Outcome (*softmax_loss_of_row)(T* probabilities, T* d_totals, const T* totals, const T* row, int nodes) noexcept;

  // kernels/losses.cpp
  double (*mean_squared_error)(T* d_outputs, const T* outputs, const T* targets, int nodes) noexcept;

  // No kernel: whether steps may defer an update of a dense layer's weights, and continue after one that was deferred.
  bool defers = false;
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
