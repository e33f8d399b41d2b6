// The plain stage of Conv3x3, for any number of channels. kernels/conv3x3.cpp has the formulas.
#pragma once

#include <algorithm>
#include <vector>

#include "convolve.hpp"
#include "stage.hpp"

namespace cnnx {

// The convolution itself, for every stage that has one.
template <class T>
class Convolution {
 public:
  struct Scratch {
    Buffer<T> padded, d_padded;                       // the input with "same" padding, and its gradient
    Buffer<T> d_packed, flipped, transformed, tiles;  // for a dense output gradient
    // For a sparse output gradient.
    std::vector<int> end, start;
    std::vector<Entry<T>> by_filter, by_output;

    SparseGradient<T> entries() { return {end.data(), by_filter.data(), start.data(), by_output.data()}; }
  };

  // `shape` is the shape of the padded input.
  Convolution(std::shared_ptr<PackedConv<T>> packed, const Conv3x3Shape& shape)
      : packed_(std::move(packed)), shape_(shape) {}

  const std::shared_ptr<PackedConv<T>>& packed() const noexcept { return packed_; }
  const Conv3x3Shape& shape() const noexcept { return shape_; }
  Index outputs() const noexcept { return Index{shape_.out_height()} * shape_.out_width() * shape_.filters; }
  Index work() const noexcept { return outputs() * shape_.taps(); }
  Index desk_size() const noexcept {
    return std::max(cnnx::desk_size<T>(shape_), cnnx::desk_size<T>(backward_shape()));
  }

  void make(Scratch& scratch) const {
    if (same()) {
      scratch.padded = new_buffer<T>(shape_.padded_size());
      scratch.d_padded = new_buffer<T>(shape_.padded_size());
    }
    scratch.d_packed = new_buffer<T>(packed_->by_tap_size());
    scratch.flipped = new_buffer<T>(packed_filters_size<T>(backward_shape()));
    scratch.transformed = new_buffer<T>(winograd_filters_size<T>(backward_shape()));
    const auto entries = static_cast<std::size_t>(outputs() + 1);
    scratch.end.resize(static_cast<std::size_t>(shape_.filters));
    scratch.by_filter.resize(entries);
    scratch.start.resize(entries / static_cast<std::size_t>(shape_.filters) + 1);
    scratch.by_output.resize(entries);
  }

  // What backward_dense needs.
  void make_dense(Scratch& scratch) const {
    if (packed_->is_winograd_gradient())
      scratch.tiles = new_buffer<T>(winograd_scratch<T>(shape_));
    else if (same())
      scratch.padded = new_buffer<T>(shape_.padded_size());
  }

  void forward(T* output, const T* input, const PackedValues<T>& parameters, T* desk) const {
    convolve(output, input, packed_->filters(parameters), desk, shape_);
  }
  // Adds to the gradient of filters and biases. Sets d_input unless it is null.
  void backward(T* d_input, T* gradient, const T* d_output, const T* input, const PackedValues<T>& parameters,
                Scratch& scratch, T* desk) const {
    const auto& k = kernels();
    const bool is_dense = k.count_nonzero(d_output, outputs()) > outputs() * least_dense_percent(d_input) / 100;
    const auto entries = scratch.entries();
    if (!is_dense) {
      k.conv3x3_gather(entries, d_output, shape_);
      backward_sparse(d_input, gradient, input, parameters, scratch);
      return;
    }
    std::fill_n(scratch.d_packed.get(), packed_->by_tap_size(), T{0});
    k.conv3x3_backward_filters(scratch.d_packed.get(), d_output, padded(input, scratch), shape_);
    k.add_unpacked_filters(gradient, scratch.d_packed.get(), shape_);
    if (d_input == nullptr) return;
    if (!has_wide_input()) {
      k.conv3x3_gather(entries, d_output, shape_);
      backward_input_sparse(d_input, parameters, scratch);
      return;
    }
    T *const flipped = scratch.flipped.get(), *const transformed = scratch.transformed.get();
    k.pack_flipped_filters(flipped, parameters.of(*packed_), shape_);
    if (uses_winograd<T>(backward_shape())) k.winograd_transform_filters(transformed, flipped, backward_shape());
    backward_input(d_input, d_output, {flipped, transformed}, desk);
  }
  // The same for the output gradient that scratch.entries() lists.
  void backward_sparse(T* d_input, T* gradient, const T* input, const PackedValues<T>& parameters,
                       Scratch& scratch) const {
    kernels().conv3x3_backward_filters_sparse(gradient, scratch.entries(), padded(input, scratch), shape_);
    if (d_input != nullptr) backward_input_sparse(d_input, parameters, scratch);
  }
  // Whether that takes less time, when the input's gradient is wanted.
  bool are_few(Index entries) const noexcept { return entries <= outputs() * most_sparse_percent / 100; }
  // The same for packed parameters in the layout by_tap_to_train, when most of d_output is not zero.
  void backward_dense(T* d_input, T* gradient, const T* d_output, const T* input, const PackedValues<T>& parameters,
                      Scratch& scratch, T* desk) const {
    const auto flipped = packed_->flipped_filters(parameters);
    if (!packed_->is_winograd_gradient()) {
      kernels().conv3x3_backward_filters(gradient, d_output, padded(input, scratch), shape_);
      if (d_input != nullptr) backward_input(d_input, d_output, flipped, desk);
      return;
    }
    const bool both = d_input != nullptr && has_winograd<T>(backward_shape());
    kernels().winograd_backward(both ? d_input : nullptr, gradient, d_output, input, flipped.transformed,
                                scratch.tiles.get(), shape_);
    if (!both && d_input != nullptr) backward_input(d_input, d_output, flipped, desk);
  }

 private:
  // If more than this percentage of the output gradient is nonzero, the dense kernels are faster: they compute all
  // products, but each takes less time. Without a gradient for the input, an entry is listed for its taps alone, which
  // takes as long as the products of many taps.
  Index least_dense_percent(const T* d_input) const noexcept {
    constexpr Index taps_a_listing = 130;
    return d_input != nullptr ? most_sparse_percent
                              : most_sparse_percent * shape_.taps() / (shape_.taps() + taps_a_listing);
  }
  static constexpr Index most_sparse_percent = 35;

  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }
  bool same() const noexcept { return packed_->layer().same; }
  // Whether the input's gradient, which has channels in its lanes, fills at least one 16-byte register.
  bool has_wide_input() const noexcept { return shape_.channels * sizeof(T) >= 16; }
  // The input's gradient is itself a convolution of the output's gradient. A ring of zeros around the output's gradient
  // makes the result as large as the input: one pixel thick for "same" padding, otherwise two.
  Conv3x3Shape backward_shape() const noexcept {
    const int ring = same() ? 0 : 2;
    Conv3x3Shape turned{shape_.height + ring, shape_.width + ring, shape_.filters, shape_.channels};
    turned.padding = same() ? 1 : 2;
    turned.missing_rows = shape_.unread_rows;
    turned.missing_columns = shape_.unread_columns;
    turned.skips_ring = true;
    return turned;
  }
  void backward_input_sparse(T* d_input, const PackedValues<T>& parameters, Scratch& scratch) const {
    T* const d_padded = same() ? scratch.d_padded.get() : d_input;
    kernels().conv3x3_backward_input_sparse(d_padded, scratch.entries(), parameters.of(*packed_), shape_);
    if (same()) crop(d_input, d_padded, shape_);
  }
  void backward_input(T* d_input, const T* d_output, const PackedFilters<T>& flipped, T* desk) const {
    convolve(d_input, d_output, flipped, desk, backward_shape());
  }
  const T* padded(const T* input, Scratch& scratch) const noexcept {
    if (!same()) return input;
    pad(scratch.padded.get(), input, shape_);
    return scratch.padded.get();
  }

  std::shared_ptr<PackedConv<T>> packed_;
  Conv3x3Shape shape_;
};

template <class T>
class Conv3x3Stage final : public Stage<T> {
 public:
  Conv3x3Stage(std::shared_ptr<PackedConv<T>> packed, const Shape& in)
      : Stage<T>({packed}), conv_(packed, packed->layer().shape(in)) {}

  const Convolution<T>& convolution() const noexcept { return conv_; }

  Index outputs() const override { return conv_.outputs(); }
  Index work() const override { return conv_.work(); }
  Index desk_size() const override { return conv_.desk_size(); }
  std::unique_ptr<Memory> new_scratch() const override {
    auto scratch = std::make_unique<Scratch>();
    conv_.make(*scratch);
    return scratch;
  }
  void forward(const Pass<T>& pass) const override {
    conv_.forward(pass.output, pass.input, *pass.parameters, pass.desk);
  }
  void backward(const Pass<T>& pass, T* gradient) const override {
    conv_.backward(pass.is_first ? nullptr : pass.d_input, gradient + conv_.packed()->offset, pass.d_output, pass.input,
                   *pass.parameters, scratch(pass), pass.desk);
  }

 private:
  struct Scratch : Memory, Convolution<T>::Scratch {};
  static Scratch& scratch(const Pass<T>& pass) { return static_cast<Scratch&>(*pass.scratch); }

  Convolution<T> conv_;
};

}  // namespace cnnx
