// Conv3x3 on an image, MaxPool2, and a ReLU between or after them, in one pass over the patches that are not
// background. kernels/conv_pool.hpp has the formulas and the layouts.
#pragma once

#include "../stages/conv3x3.hpp"
#include "pool.hpp"

namespace cnnx {

// The layers themselves, for every fused stage that begins with them.
template <class T>
class PooledConvolution {
 public:
  // One thread's memory for one image.
  struct Scratch {
    Buffer<T> padded;  // the image with a ring of zeros around it, for "same" padding
    std::vector<int> foreground;
    std::vector<std::uint64_t> stripes;
    Buffer<T> background, kept;
    PooledImage<T> pooled{};
  };

  PooledConvolution(std::shared_ptr<PackedConv<T>> packed, const ConvPoolShape& shape)
      : packed_(std::move(packed)), shape_(shape) {
    for (int y = 0; y < shape.out_height(); ++y)
      for (int x = 0; x < shape.out_width(); ++x) first_pixel_.push_back(2 * (y * shape.width + x));
  }

  const std::shared_ptr<PackedConv<T>>& packed() const noexcept { return packed_; }
  // The shape of the padded image.
  const ConvPoolShape& shape() const noexcept { return shape_; }
  Index pooled_size() const noexcept { return Index{shape_.patches()} * shape_.stride; }
  Index work() const noexcept { return Index{36} * shape_.patches() * shape_.filters; }

  void make(Scratch& scratch) const {
    if (same()) scratch.padded = new_buffer<T>(Index{shape_.height} * shape_.width);
    scratch.foreground.resize(static_cast<std::size_t>(shape_.patches() + list_room));
    scratch.stripes.resize(static_cast<std::size_t>(shape_.height) * static_cast<std::size_t>(shape_.width / 64 + 1));
    scratch.background = new_buffer<T>(padded_channels<T>(shape_.filters));
    scratch.kept = new_buffer<T>(conv_pool_kept_size<T>(shape_));
  }

  // The image with a ring of zeros around it, for "same" padding.
  const T* in_ring(const Pass<T>& pass, Scratch& scratch) const {
    if (!same()) return pass.input;
    Conv3x3Shape padded{shape_.height, shape_.width, 1, shape_.filters};
    padded.padding = 1;
    pad(scratch.padded.get(), pass.input, padded);
    return scratch.padded.get();
  }

  // Finds an image's foreground. The background's value is that of the image's first pixel. The kernels will write the
  // pooled values to `values`.
  const PooledImage<T>& look_at(const Pass<T>& pass, T* values, Scratch& scratch) const {
    PooledImage<T>& image = scratch.pooled;
    image = {in_ring(pass, scratch),    *pass.input,
             scratch.foreground.data(), 0,
             first_pixel_.data(),       values,
             scratch.background.get(),  pass.sample->training ? scratch.kept.get() : nullptr};
    int* const foreground = scratch.foreground.data();
    std::uint64_t* const stripes = scratch.stripes.data();
    if (pass.sample->bytes != nullptr && !same()) {
      const std::uint8_t* const bytes = pass.sample->bytes;
      image.count = kernels().find_foreground_in_bytes(foreground, stripes, bytes, *bytes, shape_);
    } else {
      image.count = kernels().find_foreground(foreground, stripes, image.pixels, image.background_pixel, shape_);
    }
    return image;
  }

 private:
  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }
  bool same() const noexcept { return packed_->layer().same; }

  std::shared_ptr<PackedConv<T>> packed_;
  ConvPoolShape shape_;
  std::vector<int> first_pixel_;  // of each patch
};

// Writes the background's values to every background patch, because later stages read all patches.
template <class T>
class ConvPoolStage final : public Stage<T> {
 public:
  ConvPoolStage(std::shared_ptr<PackedConv<T>> packed, const ConvPoolShape& shape)
      : Stage<T>({packed}), conv_(std::move(packed), shape) {}

  const PooledConvolution<T>& convolution() const noexcept { return conv_; }

  Index outputs() const override { return conv_.pooled_size(); }
  Index work() const override { return conv_.work(); }
  bool needs_small() const override { return true; }
  std::unique_ptr<Memory> new_memory() const override {
    auto memory = std::make_unique<Scratch>();
    conv_.make(*memory);
    memory->d_background = new_buffer<T>(padded_channels<T>(conv_.shape().filters));
    memory->d_filters = new_buffer<T>(conv_.packed()->by_tap_size());
    return memory;
  }

  void forward(const Pass<T>& pass) const override {
    const auto& image = conv_.look_at(pass, pass.output, scratch(pass));
    this->kernels().conv_pool_forward(image, pass.parameters->of(*conv_.packed()), conv_.shape());
    this->kernels().spread_background(image, conv_.shape());
  }
  void backward(const Pass<T>& pass, T* gradient) const override {
    this->kernels().add(gradient + conv_.packed()->offset, d_filters(pass), conv_.packed()->size());
  }
  void backward_update(const Pass<T>& pass, T learn_rate, T*) const override {
    this->kernels().sgd_update(pass.parameters->of(*conv_.packed()), d_filters(pass), learn_rate,
                               conv_.packed()->size(), nullptr);
  }

 private:
  struct Scratch : Memory, PooledConvolution<T>::Scratch {
    Buffer<T> d_background, d_filters;
  };
  static Scratch& scratch(const Pass<T>& pass) { return static_cast<Scratch&>(*pass.memory); }

  T* d_filters(const Pass<T>& pass) const {
    Scratch& s = scratch(pass);
    this->kernels().sum_background(s.d_background.get(), pass.d_output, s.pooled, conv_.shape());
    this->kernels().conv_pool_backward(s.d_filters.get(), pass.d_output, s.d_background.get(), s.pooled, conv_.shape());
    return s.d_filters.get();
  }

  PooledConvolution<T> conv_;
};

// Replaces a Conv3x3 on an image with one channel, a MaxPool2, and a ReLU before or after it.
template <class T>
Fusion<T> fuse_conv_pool(const Stages<T>& stages, std::size_t at) {
  const auto* const conv = stage_at<Conv3x3Stage<T>>(stages, at);
  const auto run = pool_run(stages, at + 1);
  if (at != 0 || conv == nullptr || run.length == 0) return {};
  const auto& plain = *conv->convolution().packed();
  const auto& shape = conv->convolution().shape();
  if (shape.channels != 1 || plain.readers > 1) return {};
  auto packed = plain.in(PackedConv<T>::Layout::by_tap);
  const bool bias = plain.has_biases();
  const ConvPoolShape pooled{shape.height, shape.width, shape.filters, shape.filters, bias, run.relu, run.ties};
  return {std::make_unique<ConvPoolStage<T>>(std::move(packed), pooled), 1 + run.length};
}

}  // namespace cnnx
