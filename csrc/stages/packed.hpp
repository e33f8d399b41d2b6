// A layer's parameters in the layout that the kernels read.
//
// Training works on packed parameters. A call packs them from the caller's arrays, updates them in the packed layout,
// and unpacks them when it ends. Gradients and an optimizer's memory have the same layout, so an update is one loop
// over all of a plan's numbers. Some kernels also read values that are derived from the parameters after each update.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "../kernels/dispatch.hpp"
#include "../layers.hpp"
#include "buffer.hpp"
#include "convolve.hpp"

namespace cnnx {

// Weights (a convolution's filters) and biases, which may be null.
template <class T>
struct Arrays {
  T *weights, *biases;
};

template <class T>
class Packed {
 public:
  Packed(const Arrays<T>& arrays, Index weights_size, Index biases_size, Index flat_offset, bool frozen)
      : arrays(arrays),
        weights_size(weights_size),
        biases_size(biases_size),
        flat_offset(flat_offset),
        frozen(frozen) {}
  virtual ~Packed() = default;

  const Arrays<T> arrays;  // the caller's
  const Index weights_size, biases_size;
  const Index flat_offset;               // where they begin in a flat array of all parameters
  const bool frozen;                     // whether training leaves them as they are
  Index offset = 0, derived_offset = 0;  // where they begin in PackedValues; set by the plan
  int readers = 0;                       // how many layers of the network have these parameters

  Index count() const noexcept { return weights_size + biases_size; }
  // All of the caller's arrays that belong to the layer.
  virtual std::vector<std::span<const T>> memory() const {
    const auto biases = static_cast<std::size_t>(this->arrays.biases != nullptr ? biases_size : 0);
    return {{arrays.weights, static_cast<std::size_t>(weights_size)}, {arrays.biases, biases}};
  }
  // Whether an array of this layer shares memory with one of the other layer.
  bool overlaps(const Packed& other) const {
    for (const auto mine : memory())
      for (const auto theirs : other.memory())
        if (overlap(mine.data(), std::ssize(mine), theirs.data(), std::ssize(theirs))) return true;
    return false;
  }
  // The layer's arrays in a flat array of all parameters.
  Arrays<T> in(T* flat) const noexcept {
    return {flat + flat_offset, arrays.biases != nullptr ? flat + flat_offset + weights_size : nullptr};
  }

  virtual Index size() const = 0;
  // Whether stages can read the caller's arrays instead of packed ones.
  virtual bool may_stay_unpacked() const { return false; }
  // Whether the filters are small enough for stages that need it. Other parameters may be of any size.
  virtual bool is_small() const { return true; }
  virtual void pack(T* packed, const Arrays<T>& from) const = 0;
  virtual void unpack(const Arrays<T>& to, const T* packed) const = 0;

  // Whether steps on this CPU target can continue with packed values of another one.
  virtual bool can_continue([[maybe_unused]] const T* packed) const { return true; }

  // Completes the gradient after all samples have added to it.
  virtual void complete_gradient([[maybe_unused]] T* gradient) const {}

  // Buffers are numbers of the layer that training changes and that are no parameters. They are kept beside what is
  // derived.
  virtual void read_buffers([[maybe_unused]] T* derived) const {}
  virtual void write_buffers([[maybe_unused]] const T* derived) const {}
  virtual Index buffers_size() const { return 0; }
  // Moves an average of all buffers, one after another, by a share of the way to those in `derived`.
  virtual void average_buffers([[maybe_unused]] T* average, [[maybe_unused]] const T* derived,
                               [[maybe_unused]] T share) const {}

  // Computes what is derived from the parameters. Called after packing and after an update. Backward passes read more
  // than forward passes.
  virtual Index derived_size() const { return 0; }
  virtual void derive([[maybe_unused]] T* packed, [[maybe_unused]] T* derived) const {}
  virtual void derive_for_backward([[maybe_unused]] const T* packed, [[maybe_unused]] T* derived) const {}

 protected:
  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }
};

// All packed parameters of a plan, and what its stages have to know of a batch.
template <class T>
struct PackedValues {
  Buffer<T> values, derived;
  Buffer<T> statistics;  // a row for each sample of a batch (stages/batch_stage.hpp)
  Index statistics_stride = 0, statistics_rows = 0;
  bool for_backward = false;  // whether backward passes read them
  bool are_packed = true;     // if false, stages read the caller's arrays of all parameters that may stay unpacked
  bool in_place = false;      // if true, stages update them in place, and they are derived only now and then

  T* of(const Packed<T>& p) const noexcept { return values.get() + p.offset; }
  T* derived_of(const Packed<T>& p) const noexcept { return derived.get() + p.derived_offset; }
  void derive(const Packed<T>& p) const {
    p.derive(of(p), derived_of(p));
    if (for_backward) p.derive_for_backward(of(p), derived_of(p));
  }
  T* statistics_of(Index sample) const noexcept { return statistics.get() + sample * statistics_stride; }
};

// A convolution's filters and biases, and their gradient, in one of these layouts:
//
//   by_tap            (taps + 1, padded filters), with the biases in the last row: the layout of conv3x3.cpp
//   by_tap_to_train   the same. The filters (filters, taps) and then the flipped ones, which compute the input's
//                     gradient, are derived from it. Where has_winograd, the gradient is larger until it is
//                     complete: it has the layout of winograd_backward.cpp.
//   by_filter         (filters, taps) as in the caller's arrays, then the biases (filters,): the layout of
//                     conv3x3_sparse.cpp. The layout by_tap is derived from it, for the forward pass.
//
// Where has_winograd, transformed filters are derived too: in the last two layouts those of the forward pass,
// and in by_tap_to_train those of the flipped filters.
template <class T>
class PackedConv final : public Packed<T> {
 public:
  enum class Layout { by_tap, by_tap_to_train, by_filter };

  PackedConv(const Conv3x3Layer<T>& layer, Layout layout, Index flat_offset)
      : Packed<T>({layer.filters, layer.biases}, layer.filters_size(), layer.biases != nullptr ? layer.count : 0,
                  flat_offset, layer.frozen),
        layer_(layer),
        layout_(layout),
        shape_{3, 3, layer.channels, layer.count},
        turned_{3, 3, layer.count, layer.channels} {}

  const Conv3x3Layer<T>& layer() const noexcept { return layer_; }
  std::shared_ptr<PackedConv> in(Layout layout) const {
    auto packed = std::make_shared<PackedConv>(layer_, layout, this->flat_offset);
    packed->norm_ = norm_;
    return packed;
  }
  // Makes the packed filters and biases those of the convolution and of the batch normalisation after it, with its
  // running statistics. Only for prediction.
  void fold(const BatchNormLayer<T>& norm) { norm_ = norm; }
  bool is_folded() const noexcept { return norm_.has_value(); }
  bool has_biases() const noexcept { return layer_.biases != nullptr || norm_.has_value(); }

  Index by_tap_size() const noexcept { return packed_filters_size<T>(shape_); }
  Index size() const override {
    if (is_winograd_gradient()) return winograd_gradient_size<T>(shape_);
    return is_by_tap() ? by_tap_size() : this->weights_size + layer_.count;
  }
  bool is_winograd_gradient() const noexcept { return layout_ == Layout::by_tap_to_train && has_winograd<T>(shape_); }
  bool is_small() const override {
    const auto& k = this->kernels();
    if (!norm_.has_value())
      return k.are_small(layer_.filters, this->weights_size) &&
             (layer_.biases == nullptr || k.are_small(layer_.biases, layer_.count));
    const Folded folded(*this, this->arrays);
    return k.are_small(folded.filters.data(), this->weights_size) && k.are_small(folded.biases.data(), layer_.count);
  }
  void pack(T* packed, const Arrays<T>& from) const override {
    if (!norm_.has_value()) return pack_as_is(packed, from);
    Folded folded(*this, from);
    pack_as_is(packed, {folded.filters.data(), folded.biases.data()});
  }
  void unpack(const Arrays<T>& to, const T* packed) const override {
    if (is_by_tap()) {
      this->kernels().unpack_filters(to.weights, to.biases, packed, shape_);
      return;
    }
    copy(to.weights, packed, this->weights_size);
    if (to.biases != nullptr) copy(to.biases, packed + this->weights_size, layer_.count);
  }
  // A layer without biases has biases of 0, which must not change.
  void complete_gradient(T* gradient) const override {
    if (is_winograd_gradient()) this->kernels().winograd_finish_filters(gradient, shape_);
    if (layout_ == Layout::by_filter && layer_.biases == nullptr)
      for (int f = 0; f < layer_.count; ++f) gradient[this->weights_size + f] = 0;
  }

  Index derived_size() const override {
    if (layout_ == Layout::by_tap) return 0;
    if (layout_ == Layout::by_filter) return turned_offset();
    return turned_offset() + winograd_filters_size<T>(turned_);
  }
  void derive(T* packed, T* derived) const override {
    const auto& k = this->kernels();
    if (layout_ == Layout::by_tap) return;
    if (layout_ == Layout::by_filter) k.pack_filters(derived, packed, packed + this->weights_size, shape_);
    const T* const by_tap = is_by_tap() ? packed : derived;
    if (has_winograd<T>(shape_)) k.winograd_transform_filters(derived + transformed_offset(), by_tap, shape_);
  }
  void derive_for_backward(const T* packed, T* derived) const override {
    if (layout_ != Layout::by_tap_to_train) return;
    const auto& k = this->kernels();
    T* const flipped = derived + flipped_offset();
    k.unpack_filters(derived, nullptr, packed, shape_);
    k.pack_flipped_filters(flipped, derived, shape_);
    if (has_winograd<T>(turned_)) k.winograd_transform_filters(derived + turned_offset(), flipped, turned_);
  }
  // The parameters as the forward kernels read them.
  PackedFilters<T> filters(const PackedValues<T>& p) const noexcept {
    return {is_by_tap() ? p.of(*this) : p.derived_of(*this), p.derived_of(*this) + transformed_offset()};
  }
  PackedFilters<T> flipped_filters(const PackedValues<T>& p) const noexcept {
    return {p.derived_of(*this) + flipped_offset(), p.derived_of(*this) + turned_offset()};
  }

 private:
  bool is_by_tap() const noexcept { return layout_ != Layout::by_filter; }
  // Where they begin in what is derived.
  Index flipped_offset() const noexcept { return whole_lines<T>(this->weights_size); }
  Index transformed_offset() const noexcept {
    return is_by_tap() ? flipped_offset() + packed_filters_size<T>(turned_) : by_tap_size();
  }
  Index turned_offset() const noexcept { return transformed_offset() + winograd_filters_size<T>(shape_); }

  struct Folded {
    Folded(const PackedConv& conv, const Arrays<T>& from)
        : filters(from.weights, from.weights + conv.weights_size), biases(static_cast<std::size_t>(conv.layer_.count)) {
      const auto& k = active_target().kernels<T>();
      const BatchNormLayer<T>& norm = *conv.norm_;
      const int count = norm.channels;
      std::vector<T> numbers(static_cast<std::size_t>(5 * count));
      T* const at = numbers.data();
      T* const unused = at + 4 * count;
      const BatchNormValues<T> values{norm.scale, norm.offset,    norm.running_mean, norm.running_var, at,
                                      at + count, at + 2 * count, at + 3 * count,    unused,           unused};
      k.batch_norm_take_running(values, norm.limits(), count);
      if (from.biases != nullptr)
        k.batch_norm_forward(biases.data(), from.biases, values, {1, 1, count});
      else
        copy(biases.data(), values.shift, count);
      for (int f = 0; f < count; ++f)
        k.scale(filters.data() + f * conv.shape_.taps(), values.factor[f], conv.shape_.taps());
    }
    std::vector<T> filters, biases;
  };
  void pack_as_is(T* packed, const Arrays<T>& from) const {
    if (is_by_tap()) {
      this->kernels().pack_filters(packed, from.weights, from.biases, shape_);
      return;
    }
    copy(packed, from.weights, this->weights_size);
    if (from.biases != nullptr) copy(packed + this->weights_size, from.biases, layer_.count);
  }

  Conv3x3Layer<T> layer_;
  Layout layout_;
  std::optional<BatchNormLayer<T>> norm_;
  Conv3x3Shape shape_;   // only its filters and channels matter here
  Conv3x3Shape turned_;  // the same of the convolution that computes the input's gradient
};

// A dense layer's weights in the layout of kernels/dense_packed.hpp, and then its biases. In a stage that begins with a
// Conv3x3 and a MaxPool2, the weights have a row for each patch, and rows D and S.
template <class T>
class PackedDense final : public Packed<T> {
 public:
  PackedDense(const DenseLayer<T>& layer, const DenseShape& shape, Index flat_offset)
      : Packed<T>({layer.weights, layer.biases}, layer.weights_size(), layer.nodes, flat_offset, layer.frozen),
        layer_(layer),
        shape_(shape),
        biases_offset_(shape.packed_size<T>()) {}

  const DenseLayer<T>& layer() const noexcept { return layer_; }
  const DenseShape& shape() const noexcept { return shape_; }

  Index biases_offset() const noexcept { return biases_offset_; }
  Index size() const override { return biases_offset_ + layer_.nodes; }
  bool may_stay_unpacked() const override { return true; }
  void pack(T* packed, const Arrays<T>& from) const override {
    this->kernels().dense_pack(packed, from.weights, shape_);
    copy(packed + biases_offset(), from.biases, layer_.nodes);
  }
  void unpack(const Arrays<T>& to, const T* packed) const override {
    this->kernels().dense_unpack(to.weights, packed, shape_);
    copy(to.biases, packed + biases_offset(), layer_.nodes);
  }
  bool can_continue(const T* packed) const override {
    return this->kernels().defers || !shape_.has_deferred<T>() || packed[shape_.packed_weights_size<T>()] == 0;
  }
  void complete_gradient(T* gradient) const override { this->kernels().dense_fold(gradient, shape_); }
  void derive(T* packed, T*) const override { this->kernels().dense_fold(packed, shape_); }

 private:
  DenseLayer<T> layer_;
  DenseShape shape_;
  Index biases_offset_;
};

}  // namespace cnnx
