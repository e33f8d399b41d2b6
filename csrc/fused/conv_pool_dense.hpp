// Conv3x3 on an image, MaxPool2 and the dense layer after them, in one pass over the patches that are not background.
// kernels/conv_pool_dense.cpp has the formulas.
#pragma once

#include <numeric>

#include "../stages/dense.hpp"
#include "conv_pool.hpp"

namespace cnnx {

template <class T>
class ConvPoolDenseStage final : public Stage<T> {
 public:
  ConvPoolDenseStage(const PooledConvolution<T>& conv, std::shared_ptr<PackedDense<T>> dense)
      : Stage<T>({conv.packed(), dense}),
        conv_(conv),
        dense_(std::move(dense)),
        shape_(dense_->shape()),
        in_order_(static_cast<std::size_t>(shape_.plane_rows)) {
    std::iota(in_order_.begin(), in_order_.end(), 0);
  }

  Index outputs() const override { return shape_.nodes; }
  Index work() const override { return conv_.work() + dense_->weights_size; }
  bool needs_small() const override { return true; }
  std::unique_ptr<Memory> new_memory() const override {
    auto memory = std::make_unique<Scratch>();
    conv_.make(*memory);
    memory->values = new_buffer<T>(conv_.pooled_size());
    memory->d_pooled = new_buffer<T>(conv_.pooled_size() + conv_.shape().stride);
    memory->planes = new_buffer<T>(shape_.planes_size());
    return memory;
  }

  void forward(const Pass<T>& pass) const override {
    const auto& k = this->kernels();
    const auto& p = *pass.parameters;
    const T* const filters = p.of(*conv_.packed());
    Scratch& s = scratch(pass);
    conv_.look_at(pass, s.values.get(), s);
    PooledImage<T>& image = s.pooled;
    image.planes = s.planes.get();
    image.in_order = in_order_.data();
    if (p.are_packed) {
      k.conv_pool_dense_forward(pass.output, image, filters, weights(pass), biases(pass), !p.in_place, conv_.shape(),
                                shape_);
    } else {
      k.conv_pool_forward(image, filters, conv_.shape());
      if (shape_.planes > 0) k.spread_background(image, conv_.shape());  // planes read all patches
      k.dense_forward(pass.output, {image.values, image.background, image.foreground, image.count},
                      dense_->arrays.weights, dense_->arrays.biases, shape_);
    }
  }
  void backward(const Pass<T>& pass, T* gradient) const override {
    Scratch& s = scratch(pass);
    T* const d_packed = gradient + dense_->offset;
    this->kernels().conv_pool_dense_backward(gradient + conv_.packed()->offset, s.d_pooled.get(), d_packed,
                                             d_packed + dense_->biases_offset(), weights(pass), pass.d_output, s.pooled,
                                             conv_.shape(), shape_);
  }
  // Changes rows of V, now or in the next step, D and S. D is added to all rows only from time to time, by
  // PackedDense::derive.
  void backward_update(const Pass<T>& pass, T learn_rate, T*) const override {
    Scratch& s = scratch(pass);
    this->kernels().conv_pool_dense_backward_update(pass.parameters->of(*conv_.packed()), s.d_pooled.get(),
                                                    weights(pass), biases(pass), pass.d_output, learn_rate, s.pooled,
                                                    conv_.shape(), shape_);
  }

 private:
  struct Scratch : Memory, PooledConvolution<T>::Scratch {
    Buffer<T> values, d_pooled, planes;
  };
  static Scratch& scratch(const Pass<T>& pass) { return static_cast<Scratch&>(*pass.memory); }
  T* weights(const Pass<T>& pass) const { return pass.parameters->of(*dense_); }
  T* biases(const Pass<T>& pass) const { return weights(pass) + dense_->biases_offset(); }

  PooledConvolution<T> conv_;
  std::shared_ptr<PackedDense<T>> dense_;
  DenseShape shape_;
  std::vector<int> in_order_;
};

// Replaces the stage of conv_pool.hpp and a dense layer. It leaves an image with a single patch alone: the packed
// weights of a dense layer with one row have no D and S.
template <class T>
Fusion<T> fuse_conv_pool_dense(const Stages<T>& stages, std::size_t at) {
  const auto* const pooled = stage_at<ConvPoolStage<T>>(stages, at);
  const auto* const dense = stage_at<DenseStage<T>>(stages, at + 1);
  if (pooled == nullptr || dense == nullptr || dense->packed()->readers > 1) return {};
  if (pooled->is_frozen() != dense->is_frozen()) return {};
  auto shape = pooled->convolution().shape();
  if (shape.patches() == 1) return {};
  shape.stride = rounded_up(shape.filters, row_lanes);
  const auto& layer = dense->packed()->layer();
  auto packed = std::make_shared<PackedDense<T>>(
      layer, DenseShape::of_patches(shape.patches(), shape.out_width(), shape.filters, layer.nodes),
      dense->packed()->flat_offset);
  const PooledConvolution<T> conv(pooled->convolution().packed(), shape);
  return {std::make_unique<ConvPoolDenseStage<T>>(conv, std::move(packed)), 2};
}

}  // namespace cnnx
