// The plain stage of Dense, and of the dense layer in Softmax. kernels/dense.cpp has the formulas. Packed and unpacked
// weights give the same results to the bit.
#pragma once

#include "stage.hpp"

namespace cnnx {

template <class T>
class DenseStage final : public Stage<T> {
 public:
  explicit DenseStage(std::shared_ptr<PackedDense<T>> packed)
      : Stage<T>({packed}), packed_(std::move(packed)), shape_(packed_->shape()) {}

  const std::shared_ptr<PackedDense<T>>& packed() const noexcept { return packed_; }

  Index outputs() const override { return shape_.nodes; }
  Index work() const override { return packed_->weights_size; }

  void forward(const Pass<T>& pass) const override {
    const auto& k = this->kernels();
    const auto& p = *pass.parameters;
    if (p.are_packed)
      k.dense_forward_packed(pass.output, pass.input, p.of(*packed_), p.of(*packed_) + packed_->biases_offset(),
                             shape_);
    else
      k.dense_forward(pass.output, {pass.input}, packed_->arrays.weights, packed_->arrays.biases, shape_);
  }
  void backward(const Pass<T>& pass, T* gradient) const override {
    T* const d_packed = gradient + packed_->offset;
    this->kernels().dense_backward_packed(pass.d_input, d_packed, d_packed + packed_->biases_offset(),
                                          pass.parameters->of(*packed_), pass.d_output, pass.input, shape_);
  }
  int samples_at_once() const override { return dense_block; }
  void forward_block(const Passes<T>& passes) const override {
    const auto& p = *passes.front()->parameters;
    if (!p.are_packed) return Stage<T>::forward_block(passes);
    T* totals[dense_block];
    const T* inputs[dense_block];
    for (std::size_t i = 0; i < passes.size(); ++i) totals[i] = passes[i]->output, inputs[i] = passes[i]->input;
    this->kernels().dense_forward_block(totals, inputs, static_cast<int>(passes.size()), p.of(*packed_),
                                        p.of(*packed_) + packed_->biases_offset(), shape_);
  }
  void backward_block(const Passes<T>& passes, T* gradient) const override {
    T* d_inputs[dense_block];
    const T *d_totals[dense_block], *inputs[dense_block];
    for (std::size_t i = 0; i < passes.size(); ++i)
      d_inputs[i] = passes[i]->d_input, d_totals[i] = passes[i]->d_output, inputs[i] = passes[i]->input;
    const Pass<T>& first = *passes.front();
    if (has_gradient_parts && gradient == nullptr) {
      if (!first.is_first)
        this->kernels().dense_backward_inputs(d_inputs, first.parameters->of(*packed_), d_totals,
                                              static_cast<int>(passes.size()), shape_);
      return;
    }
    T* const d_packed = gradient + packed_->offset;
    this->kernels().dense_backward_block(first.is_first ? nullptr : d_inputs, d_packed,
                                         d_packed + packed_->biases_offset(), first.parameters->of(*packed_), d_totals,
                                         inputs, static_cast<int>(passes.size()), shape_);
  }
  int gradient_parts() const override { return has_gradient_parts ? this->kernels().dense_gradient_parts(shape_) : 0; }
  Range set_gradient(int part, const Passes<T>& passes, const ShardedBatch& batch, T factor,
                     T* gradient) const override {
    if constexpr (!has_gradient_parts) return {0, 0};
    const T *inputs[dense_batch], *d_totals[dense_batch];
    for (std::size_t i = 0; i < passes.size(); ++i) inputs[i] = passes[i]->input, d_totals[i] = passes[i]->d_output;
    const Range range =
        this->kernels().dense_set_gradient(gradient + packed_->offset, part, inputs, d_totals, batch, factor, shape_);
    return {packed_->offset + range.first, packed_->offset + range.end};
  }
  void backward_update(const Pass<T>& pass, T learn_rate, T*) const override {
    T* const values = pass.parameters->of(*packed_);
    this->kernels().dense_backward_update_packed(pass.d_input, values, values + packed_->biases_offset(), pass.d_output,
                                                 pass.input, learn_rate, shape_);
  }

 private:
  std::shared_ptr<PackedDense<T>> packed_;
  DenseShape shape_;
};

}  // namespace cnnx
