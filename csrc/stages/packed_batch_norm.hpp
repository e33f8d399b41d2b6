// The parameters of a BatchNorm, what follows from them, and its running statistics.
#pragma once

#include "packed.hpp"

namespace cnnx {

// Packed are scale and offset. Derived are the six numbers that BatchNormValues has of each channel, and then the
// running mean and variance, which are buffers. Each is padded with zeros to whole cache lines.
template <class T>
class PackedBatchNorm final : public Packed<T> {
 public:
  PackedBatchNorm(const BatchNormLayer<T>& layer, Index flat_offset)
      : Packed<T>({layer.scale, layer.offset}, layer.channels, layer.channels, flat_offset, layer.frozen),
        layer_(layer) {}

  const BatchNormLayer<T>& layer() const noexcept { return layer_; }
  BatchNormValues<T> values(const PackedValues<T>& p) const noexcept {
    return values(p.of(*this), p.derived_of(*this));
  }

  std::vector<std::span<const T>> memory() const override {
    const auto channels = static_cast<std::size_t>(layer_.channels);
    return {{layer_.scale, channels},
            {layer_.offset, channels},
            {layer_.running_mean, channels},
            {layer_.running_var, channels}};
  }
  Index size() const override { return 2 * padded(); }
  void pack(T* packed, const Arrays<T>& from) const override {
    copy(packed, from.weights, layer_.channels);
    copy(packed + padded(), from.biases, layer_.channels);
  }
  void unpack(const Arrays<T>& to, const T* packed) const override {
    copy(to.weights, packed, layer_.channels);
    copy(to.biases, packed + padded(), layer_.channels);
  }

  Index derived_size() const override { return 8 * padded(); }
  void derive(T* packed, T* derived) const override {
    this->kernels().batch_norm_take_running(values(packed, derived), layer_.limits(), layer_.channels);
  }
  void read_buffers(T* derived) const override {
    copy(derived + 6 * padded(), layer_.running_mean, layer_.channels);
    copy(derived + 7 * padded(), layer_.running_var, layer_.channels);
  }
  void write_buffers(const T* derived) const override {
    copy(layer_.running_mean, derived + 6 * padded(), layer_.channels);
    copy(layer_.running_var, derived + 7 * padded(), layer_.channels);
  }
  Index buffers_size() const override { return 2 * Index{layer_.channels}; }
  void average_buffers(T* average, const T* derived, T share) const override {
    this->kernels().average_update(average, derived + 6 * padded(), share, layer_.channels);
    this->kernels().average_update(average + layer_.channels, derived + 7 * padded(), share, layer_.channels);
  }

 private:
  Index padded() const noexcept { return padded_channels<T>(layer_.channels); }
  BatchNormValues<T> values(const T* packed, T* derived) const noexcept {
    const auto at = [&](Index number) { return derived + number * padded(); };
    return {packed, packed + padded(), at(6), at(7), at(0), at(1), at(2), at(3), at(4), at(5)};
  }

  BatchNormLayer<T> layer_;
};

}  // namespace cnnx
