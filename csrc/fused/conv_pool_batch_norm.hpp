// Conv3x3 on an image with one channel, BatchNorm, MaxPool2, and a ReLU between or after the last two. The statistics
// come from the image, and then the normalisation is folded into the filters; kernels/conv_pool_norm.cpp has the
// formulas. So a batch takes little more time than without a normalisation. Nothing but the statistics is kept of a
// sample: to compute the rest again takes less time than to read it, since a whole batch does not fit into the caches.
#pragma once

#include "../stages/batch_norm.hpp"
#include "conv_pool.hpp"

namespace cnnx {

// Only training runs this stage: for predictions, the filters are folded once.
template <class T>
class ConvPoolBatchNormStage final : public BatchStage<T> {
 public:
  ConvPoolBatchNormStage(std::shared_ptr<PackedConv<T>> packed, std::shared_ptr<PackedBatchNorm<T>> norm,
                         const ConvPoolShape& shape)
      : BatchStage<T>({packed, norm}),
        conv_(std::move(packed), shape),
        norm_(std::move(norm), BatchNormShape{shape.height - 2, shape.width - 2, shape.filters}) {}

  const Packed<T>& packed() const override { return norm_.packed(); }
  Index statistics_size() const override { return norm_.statistics_size(); }
  Index values_of_a_channel() const override { return norm_.values_of_a_channel(); }
  void put_statistics(Index offset) override {
    BatchStage<T>::put_statistics(offset);
    norm_.put_statistics(offset);
  }
  Index outputs() const override { return conv_.pooled_size(); }
  Index work() const override { return conv_.work(); }
  bool needs_small() const override { return true; }
  std::unique_ptr<Memory> new_memory() const override { return std::make_unique<Kept>(); }
  std::unique_ptr<Memory> new_scratch() const override {
    auto scratch = std::make_unique<Scratch>();
    conv_.make(*scratch);
    scratch->values = new_buffer<T>(outputs());
    scratch->folded = new_buffer<T>(conv_.packed()->by_tap_size());
    scratch->d_filters = new_buffer<T>(conv_.packed()->by_tap_size());
    scratch->d_background = new_buffer<T>(padded_channels<T>(conv_.shape().filters));
    scratch->moments = new_buffer<double>(window_moments_scratch(conv_shape()));
    return scratch;
  }

  void look_at_input(const Pass<T>& pass) const override {
    const T* const image = conv_.in_ring(pass, scratch(pass));
    T* const mean = this->statistics_of(pass);
    this->kernels().window_moments(kept(pass).windows, scratch(pass).moments.get(), image, conv_shape());
    this->kernels().output_moments(mean, mean + padded_channels<T>(conv_.shape().filters), kept(pass).windows,
                                   filters(pass), conv_.shape().filters);
  }
  void meet_forward(const MetBatch<T>& batch) const override { norm_.meet_forward(batch); }
  void forward(const Pass<T>& pass) const override {
    const auto& image = convolve(pass, pass.output, false);
    this->kernels().spread_background(image, conv_.shape());
  }

  void look_at_gradient(const Pass<T>& pass, T* gradient) const override {
    Scratch& s = scratch(pass);
    const auto& image = convolve(pass, s.values.get(), true);
    this->kernels().sum_background(s.d_background.get(), pass.d_output, image, conv_.shape());
    this->kernels().conv_pool_backward(s.d_filters.get(), pass.d_output, s.d_background.get(), image, conv_.shape());
    this->kernels().unfold_gradient(gradient + conv_.packed()->offset, gradient + packed().offset, s.d_filters.get(),
                                    filters(pass), norm_values(pass), conv_shape());
  }
  void meet_backward(const MetBatch<T>& batch) const override { norm_.meet_backward(batch); }
  void backward(const Pass<T>& pass, T* gradient) const override {
    this->kernels().subtract_through_statistics(gradient + conv_.packed()->offset, this->statistics_of(pass),
                                                kept(pass).windows, filters(pass), norm_values(pass), conv_shape());
  }

 private:
  struct Kept : Memory {
    WindowMoments windows;
  };
  struct Scratch : Memory, PooledConvolution<T>::Scratch {
    Buffer<T> values, folded, d_background, d_filters;
    Buffer<double> moments;
  };
  static Kept& kept(const Pass<T>& pass) { return static_cast<Kept&>(*pass.memory); }
  static Scratch& scratch(const Pass<T>& pass) { return static_cast<Scratch&>(*pass.scratch); }

  const T* filters(const Pass<T>& pass) const { return pass.parameters->of(*conv_.packed()); }
  BatchNormValues<T> norm_values(const Pass<T>& pass) const {
    return norm_.packed_batch_norm()->values(*pass.parameters);
  }
  Conv3x3Shape conv_shape() const noexcept {
    const ConvPoolShape& s = conv_.shape();
    Conv3x3Shape shape{s.height, s.width, 1, s.filters};
    shape.bias = conv_.packed()->has_biases();
    return shape;
  }
  // The pooled values of the image's foreground and of its background.
  const PooledImage<T>& convolve(const Pass<T>& pass, T* values, bool keeps) const {
    Scratch& s = scratch(pass);
    conv_.look_at(pass, values, s);
    if (!keeps) s.pooled.kept = nullptr;
    this->kernels().fold_norm(s.folded.get(), filters(pass), norm_values(pass), conv_.shape().filters);
    this->kernels().conv_pool_forward(s.pooled, s.folded.get(), conv_.shape());
    return s.pooled;
  }

  PooledConvolution<T> conv_;
  BatchNormStage<T> norm_;
};

// Replaces a Conv3x3 on an image with one channel, and the stage of a BatchNorm and a MaxPool2.
template <class T>
Fusion<T> fuse_conv_pool_batch_norm(const Stages<T>& stages, std::size_t at) {
  const auto* const conv = stage_at<Conv3x3Stage<T>>(stages, at);
  const auto* const norm = stage_at<BatchNormStage<T>>(stages, at + 1);
  if (at != 0 || conv == nullptr || norm == nullptr || !norm->shape().pool || conv->is_frozen()) return {};
  const auto& plain = *conv->convolution().packed();
  const auto& shape = conv->convolution().shape();
  if (shape.channels != 1 || plain.readers > 1) return {};
  // The folded filters always have biases.
  const ConvPoolShape pooled{shape.height, shape.width,        shape.filters,     shape.filters,
                             true,         norm->shape().relu, norm->shape().ties};
  return {std::make_unique<ConvPoolBatchNormStage<T>>(plain.in(PackedConv<T>::Layout::by_tap),
                                                      norm->packed_batch_norm(), pooled),
          2};
}

}  // namespace cnnx
