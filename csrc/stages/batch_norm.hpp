// The stage of BatchNorm: the plain one, and with a ReLU and a MaxPool2 after it. kernels/batch_norm.cpp has the
// formulas.
#pragma once

#include "batch_stage.hpp"
#include "packed_batch_norm.hpp"

namespace cnnx {

template <class T>
class BatchNormStage final : public BatchStage<T> {
 public:
  BatchNormStage(std::shared_ptr<PackedBatchNorm<T>> packed, const BatchNormShape& shape)
      : BatchStage<T>({packed}), packed_(std::move(packed)), shape_(shape) {}

  const std::shared_ptr<PackedBatchNorm<T>>& packed_batch_norm() const noexcept { return packed_; }
  const BatchNormShape& shape() const noexcept { return shape_; }

  const Packed<T>& packed() const override { return *packed_; }
  Index statistics_size() const override { return 2 * padded(); }
  Index values_of_a_channel() const override { return Index{shape_.height} * shape_.width; }
  Index outputs() const override {
    const auto normalised = shape_.normalised();
    return Index{normalised.height} * normalised.width * normalised.channels;
  }
  std::unique_ptr<Memory> new_memory() const override {
    auto kept = std::make_unique<Kept>();
    if (shape_.pool) {
      kept->values = new_buffer<T>(whole_lines<T>(outputs()));
      kept->winners = new_buffer<T>(whole_lines<T>(outputs()));
    }
    return kept;
  }
  std::unique_ptr<Memory> new_scratch() const override {
    auto scratch = std::make_unique<Scratch>();
    scratch->sums = new_buffer<T>(2 * padded());
    return scratch;
  }

  void look_at_input(const Pass<T>& pass) const override {
    T* const moments = this->statistics_of(pass);
    this->kernels().batch_norm_moments(moments, moments + padded(), pass.input, shape_);
    pool(pass);
  }
  void meet_forward(const MetBatch<T>& batch) const override {
    const auto& p = batch.parameters;
    this->kernels().batch_norm_take_batch(packed_->values(p), p.statistics_of(0) + this->statistics_offset(),
                                          p.statistics_stride, batch.samples, packed_->layer().limits(), shape_);
  }
  void forward(const Pass<T>& pass) const override {
    if (!pass.sample->training) pool(pass);  // in training, look_at_input did
    this->kernels().batch_norm_forward(pass.output, normalised(pass), packed_->values(*pass.parameters),
                                       shape_.normalised());
  }

  void look_at_gradient(const Pass<T>& pass, T* gradient) const override {
    T* const sums = static_cast<Scratch&>(*pass.scratch).sums.get();
    this->kernels().batch_norm_sums(sums, pass.d_output, normalised(pass), pooled(pass).winners,
                                    packed_->values(*pass.parameters), shape_.normalised());
    this->kernels().add(gradient + packed_->offset, sums, packed_->size());
  }
  void meet_backward(const MetBatch<T>& batch) const override {
    this->kernels().batch_norm_take_gradient(packed_->values(batch.parameters), batch.gradients, packed_->offset,
                                             batch.samples, shape_);
  }
  void backward(const Pass<T>& pass, T*) const override {
    if (pass.is_first) return;
    this->kernels().batch_norm_backward(pass.d_input, pass.d_output, pass.input, pooled(pass),
                                        packed_->values(*pass.parameters), shape_);
  }

 private:
  struct Kept : Memory {
    Buffer<T> values, winners;
  };
  struct Scratch : Memory {
    Buffer<T> sums;
  };
  static PooledNorm<T> pooled(const Pass<T>& pass) {
    const auto& kept = static_cast<Kept&>(*pass.memory);
    return {kept.values.get(), kept.winners.get()};
  }
  void pool(const Pass<T>& pass) const {
    if (shape_.pool)
      this->kernels().batch_norm_pool(pooled(pass), pass.input, packed_->values(*pass.parameters).scale, shape_);
  }
  const T* normalised(const Pass<T>& pass) const { return shape_.pool ? pooled(pass).values : pass.input; }
  Index padded() const noexcept { return padded_channels<T>(shape_.channels); }

  std::shared_ptr<PackedBatchNorm<T>> packed_;
  BatchNormShape shape_;
};

// The stage of a frozen BatchNorm: its statistics are constants.
template <class T>
class FrozenBatchNormStage final : public Stage<T> {
 public:
  FrozenBatchNormStage(std::shared_ptr<PackedBatchNorm<T>> packed, const BatchNormShape& shape)
      : Stage<T>({packed}), packed_(std::move(packed)), shape_(shape) {}

  Index outputs() const override { return Index{shape_.height} * shape_.width * shape_.channels; }
  void forward(const Pass<T>& pass) const override {
    this->kernels().batch_norm_forward(pass.output, pass.input, packed_->values(*pass.parameters), shape_);
  }
  // The same as forward, with a shift of 0.
  void backward(const Pass<T>& pass, T*) const override {
    if (pass.is_first) return;
    auto values = packed_->values(*pass.parameters);
    values.shift = values.d_mean;  // which stays 0
    this->kernels().batch_norm_forward(pass.d_input, pass.d_output, values, shape_);
  }

 private:
  std::shared_ptr<PackedBatchNorm<T>> packed_;
  BatchNormShape shape_;
};

}  // namespace cnnx
