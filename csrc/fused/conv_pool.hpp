// An image's Conv3x3 with the MaxPool2 behind it, and a ReLU between or behind them: always the first stage.
#pragma once

#include "../stages/stage.hpp"

namespace cnnx {

// The convolution's filters as conv_pool.hpp has them, and the way to an image's foreground.
template <class T>
class PooledConv {
 public:
  PooledConv(const Conv3x3Layer<T>& layer, const ConvPoolShape& shape)
      : layer_(layer),
        shape_(shape),
        conv_{shape.height, shape.width, 1, shape.filters},
        packed_(new_buffer<T>(packed_size())) {
    for (int y = 0; y < shape.out_height(); ++y)
      for (int x = 0; x < shape.out_width(); ++x) first_pixel_.push_back(2 * (y * shape.width + x));
  }

  const Conv3x3Layer<T>& layer() const { return layer_; }
  const ConvPoolShape& shape() const { return shape_; }
  Index pooled_size() const { return Index{shape_.patches()} * shape_.stride; }
  Index kept_size() const { return conv_pool_kept_size<T>(shape_); }

  T* packed() const { return packed_.get(); }
  Index packed_size() const { return packed_filters_size<T>(conv_); }
  void pack() {
    kernels().pack_filters(packed_.get(), layer_.filters, layer_.biases, conv_);
    filters_are_small_ = kernels().are_small(packed_.get(), packed_size());
  }
  // From the layout of `packed`.
  void unpack(T* filters, T* biases, const T* from) const { kernels().unpack_filters(filters, biases, from, conv_); }
  void unpack() const { unpack(layer_.filters, layer_.biases, packed_.get()); }

  void prepare(Workspace<T>& w) const {
    w.foreground_patches.resize(static_cast<std::size_t>(shape_.patches() + list_room));
    w.foreground_scratch.resize(static_cast<std::size_t>(shape_.height) *
                                static_cast<std::size_t>(shape_.width / 64 + 1));
    w.foreground = {w.foreground_patches.data(), 0, first_pixel_.data()};
    w.background = new_buffer<T>(padded_channels<T>(shape_.filters));
  }
  void find_foreground(Workspace<T>& w, const T* image) const {
    int* const patches = w.foreground_patches.data();
    std::uint64_t* const scratch = w.foreground_scratch.data();
    w.foreground.count = w.bytes != nullptr ? kernels().find_foreground_in_bytes(patches, scratch, w.bytes, shape_)
                                            : kernels().find_foreground(patches, scratch, image, shape_);
  }
  // Whether an output may come to a NaN. Filters that grow without bounds in a run of updates bring a loss that is no
  // number, with or without care.
  bool needs_care(const Workspace<T>& w, const T* image) const {
    return !filters_are_small_ ||
           (w.bytes == nullptr && !kernels().are_small(image, Index{shape_.height} * shape_.width));
  }

 private:
  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }

  Conv3x3Layer<T> layer_;
  ConvPoolShape shape_;
  Conv3x3Shape conv_;
  bool filters_are_small_ = false;
  std::vector<int> first_pixel_;  // of each patch
  Buffer<T> packed_;
};

// The background is spread over all its places, since the layers behind know of none.
template <class T>
class ConvPoolStage final : public Stage<T> {
 public:
  ConvPoolStage(const Conv3x3Layer<T>& layer, const ConvPoolShape& shape) : conv_(layer, shape) {}

  Index outputs() const override { return conv_.pooled_size(); }
  Index scratch_size() const override { return conv_.kept_size() + conv_.packed_size(); }
  void prepare(Workspace<T>& w) const override {
    conv_.prepare(w);
    w.d_background = new_buffer<T>(padded_channels<T>(conv_.shape().filters));
  }

  std::vector<Slice<T>> parameters() const override { return conv_.layer().parameters(); }
  Index gradient_size() const override { return conv_.packed_size(); }
  void unpack_gradient(T* flat, const T* gradient) const override {
    conv_.unpack(flat, conv_.layer().biases_of(flat), gradient);
  }
  void pack(Index, bool) override { conv_.pack(); }

  void forward(Workspace<T>& w) const override {
    const T* const image = this->input(w);
    conv_.find_foreground(w, image);
    this->kernels().conv_pool_forward(pooled(w), image, conv_.packed(), w.foreground, conv_.shape(),
                                      conv_.needs_care(w, image));
    this->kernels().spread_background(this->output(w), w.background.get(), w.foreground, conv_.shape());
  }
  void backward(Workspace<T>& w, T* gradient) const override {
    this->kernels().add(gradient, sample_gradient(w), gradient_size());
  }

  bool can_update() const override { return !conv_.shape().bias && !conv_.shape().relu; }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    this->kernels().sgd_update(conv_.packed(), sample_gradient(w), learn_rate, gradient_size());
  }
  void end_updates() override { conv_.unpack(); }

 private:
  Pooled<T> pooled(const Workspace<T>& w) const {
    return {this->output(w), w.background.get(), w.training ? this->scratch(w) : nullptr};
  }
  const T* sample_gradient(Workspace<T>& w) const {
    T* const d_packed = this->scratch(w) + conv_.kept_size();
    this->kernels().sum_background(w.d_background.get(), this->d_output(w), w.foreground, conv_.shape());
    this->kernels().conv_pool_backward(d_packed, this->d_output(w), w.d_background.get(), pooled(w), this->input(w),
                                       w.foreground, conv_.shape());
    return d_packed;
  }

  PooledConv<T> conv_;
};

}  // namespace cnnx
