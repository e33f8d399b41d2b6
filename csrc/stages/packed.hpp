// A layer's parameters in the layout that the kernels read.
//
// Training happens on packed parameters: they are packed from the caller's arrays when a call begins, follow their
// gradient in their own layout, and are unpacked when the call ends. A gradient and an optimizer's memory have that
// layout too, so that an update is one loop over all of a plan's numbers. What kernels read besides is derived from the
// parameters after each update.
#pragma once

#include <vector>

#include "../kernels/dispatch.hpp"
#include "../layers.hpp"
#include "buffer.hpp"

namespace cnnx {

// Weights (a convolution's filters) and biases, which may be null.
template <class T>
struct Arrays {
  T *weights, *biases;
};

template <class T>
class Packed {
 public:
  Packed(const Arrays<T>& arrays, Index weights_size, Index biases_size, Index flat_offset)
      : arrays(arrays), weights_size(weights_size), biases_size(biases_size), flat_offset(flat_offset) {}
  virtual ~Packed() = default;

  const Arrays<T> arrays;  // the caller's
  const Index weights_size, biases_size;
  const Index flat_offset;               // among all parameters, one array after the other
  Index offset = 0, derived_offset = 0;  // in a plan's PackedValues, which the plan sets
  int readers = 0;                       // how many stages have these parameters

  Index count() const noexcept { return weights_size + biases_size; }
  // Whether the caller's arrays lie in one another.
  bool overlaps(const Packed& other) const {
    const auto overlap = [](const T* a, Index a_count, const T* b, Index b_count) {
      return a != nullptr && b != nullptr && cnnx::overlap(a, a_count, b, b_count);
    };
    const auto& theirs = other.arrays;
    return overlap(arrays.weights, weights_size, theirs.weights, other.weights_size) ||
           overlap(arrays.weights, weights_size, theirs.biases, other.biases_size) ||
           overlap(arrays.biases, biases_size, theirs.weights, other.weights_size) ||
           overlap(arrays.biases, biases_size, theirs.biases, other.biases_size);
  }
  // Where the layer's arrays are in a flat array of all parameters.
  Arrays<T> in(T* flat) const noexcept {
    return {flat + flat_offset, arrays.biases != nullptr ? flat + flat_offset + weights_size : nullptr};
  }

  virtual Index size() const = 0;
  // Whether stages can read the caller's arrays in place of packed ones.
  virtual bool may_stay_unpacked() const { return false; }
  virtual void pack(T* packed, const Arrays<T>& from) const = 0;
  virtual void unpack(const Arrays<T>& to, const T* packed) const = 0;

  // Makes of what the samples have added up each parameter's own gradient.
  virtual void complete_gradient([[maybe_unused]] T* gradient) const {}

  // Computes what follows from the parameters: after packing, and after each update.
  virtual Index derived_size() const { return 0; }
  virtual void derive([[maybe_unused]] T* packed, [[maybe_unused]] T* derived) const {}

 protected:
  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }
};

// All packed parameters of a plan.
template <class T>
struct PackedValues {
  Buffer<T> values, derived;
  bool are_packed = true;  // or those that may stay unpacked are: packing costs more than a few samples gain
  bool in_place = false;   // they are updated in place, and derived only now and then

  T* of(const Packed<T>& p) const noexcept { return values.get() + p.offset; }
  T* derived_of(const Packed<T>& p) const noexcept { return derived.get() + p.derived_offset; }
};

// A convolution's filters and biases. `by_tap`: packed (taps + 1, padded filters) as conv3x3.cpp reads them, the biases
// in the last row; the gradient likewise. `by_filter`: (filters, taps) as the caller has them, then the biases, as
// conv3x3_sparse.cpp reads them and adds their gradient; the other layout is derived.
template <class T>
class PackedConv final : public Packed<T> {
 public:
  enum class Layout { by_tap, by_filter };

  PackedConv(const Conv3x3Layer<T>& layer, Layout layout, Index flat_offset)
      : Packed<T>({layer.filters, layer.biases}, layer.filters_size(), layer.biases != nullptr ? layer.count : 0,
                  flat_offset),
        layer_(layer),
        layout_(layout),
        shape_{3, 3, layer.channels, layer.count} {}

  const Conv3x3Layer<T>& layer() const noexcept { return layer_; }

  Index by_tap_size() const noexcept { return packed_filters_size<T>(shape_); }
  Index size() const override { return layout_ == Layout::by_tap ? by_tap_size() : this->weights_size + layer_.count; }
  void pack(T* packed, const Arrays<T>& from) const override {
    if (layout_ == Layout::by_tap) {
      this->kernels().pack_filters(packed, from.weights, from.biases, shape_);
      return;
    }
    copy(packed, from.weights, this->weights_size);
    if (from.biases != nullptr) copy(packed + this->weights_size, from.biases, layer_.count);
  }
  void unpack(const Arrays<T>& to, const T* packed) const override {
    if (layout_ == Layout::by_tap) {
      this->kernels().unpack_filters(to.weights, to.biases, packed, shape_);
      return;
    }
    copy(to.weights, packed, this->weights_size);
    if (to.biases != nullptr) copy(to.biases, packed + this->weights_size, layer_.count);
  }
  // Biases that do not exist stay 0.
  void complete_gradient(T* gradient) const override {
    if (layout_ == Layout::by_filter && layer_.biases == nullptr)
      for (int f = 0; f < layer_.count; ++f) gradient[this->weights_size + f] = 0;
  }

  Index derived_size() const override { return layout_ == Layout::by_filter ? by_tap_size() : 0; }
  void derive(T* packed, T* derived) const override {
    if (layout_ == Layout::by_filter)
      this->kernels().pack_filters(derived, packed, packed + this->weights_size, shape_);
  }
  // As the forward kernels read them.
  const T* by_tap(const PackedValues<T>& p) const noexcept {
    return layout_ == Layout::by_tap ? p.of(*this) : p.derived_of(*this);
  }

 private:
  Conv3x3Layer<T> layer_;
  Layout layout_;
  Conv3x3Shape shape_;  // of which only filters and channels count here
};

// A dense layer's weights, as kernels/dense_packed.hpp has them, and its biases after them. After an image's pooling
// they have a row for each place, and rows D and S, which dense_packed.hpp explains.
template <class T>
class PackedDense final : public Packed<T> {
 public:
  PackedDense(const DenseLayer<T>& layer, const DenseShape& shape, Index flat_offset)
      : Packed<T>({layer.weights, layer.biases}, layer.weights_size(), layer.nodes, flat_offset),
        layer_(layer),
        shape_(shape) {}

  const DenseLayer<T>& layer() const noexcept { return layer_; }
  const DenseShape& shape() const noexcept { return shape_; }

  Index biases_offset() const noexcept { return shape_.template packed_size<T>(); }
  Index size() const override { return biases_offset() + layer_.nodes; }
  bool may_stay_unpacked() const override { return true; }
  void pack(T* packed, const Arrays<T>& from) const override {
    this->kernels().dense_pack(packed, from.weights, shape_);
    copy(packed + biases_offset(), from.biases, layer_.nodes);
  }
  void unpack(const Arrays<T>& to, const T* packed) const override {
    this->kernels().dense_unpack(to.weights, packed, shape_);
    copy(to.biases, packed + biases_offset(), layer_.nodes);
  }
  void complete_gradient(T* gradient) const override { this->kernels().dense_fold(gradient, shape_); }
  void derive(T* packed, T*) const override { this->kernels().dense_fold(packed, shape_); }

 private:
  DenseLayer<T> layer_;
  DenseShape shape_;
};

}  // namespace cnnx
