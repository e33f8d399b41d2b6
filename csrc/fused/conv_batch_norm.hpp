// Conv3x3 and the BatchNorm after it, with a ReLU and a MaxPool2 if they follow. Nearly all of the gradient of the
// convolution's outputs is nonzero, because each output moves the batch's statistics. So the backward pass uses the
// dense kernels, and adds to the filters' gradient in the layout that they compute.
//
// A convolution of one channel is computed again for each pass over its outputs. This takes less time than to read
// them: those of a whole batch take up more memory than the CPU's caches hold.
#pragma once

#include "../stages/batch_norm.hpp"
#include "../stages/conv3x3.hpp"

namespace cnnx {

// Only training runs this stage: for predictions, the normalisation is folded into the convolution.
template <class T>
class ConvBatchNormStage final : public BatchStage<T> {
 public:
  ConvBatchNormStage(const Convolution<T>& conv, std::shared_ptr<PackedBatchNorm<T>> norm, const BatchNormShape& shape)
      : BatchStage<T>({conv.packed(), norm}), conv_(conv), norm_(std::move(norm), shape) {}

  const Packed<T>& packed() const override { return norm_.packed(); }
  Index statistics_size() const override { return norm_.statistics_size(); }
  Index values_of_a_channel() const override { return norm_.values_of_a_channel(); }
  void put_statistics(Index offset) override {
    BatchStage<T>::put_statistics(offset);
    norm_.put_statistics(offset);
  }
  Index outputs() const override { return norm_.outputs(); }
  Index work() const override { return conv_.work(); }
  Index desk_size() const override { return conv_.desk_size(); }
  std::unique_ptr<Memory> new_memory() const override {
    auto kept = std::make_unique<Kept>();
    if (!computes_again()) kept->values = new_buffer<T>(whole_lines<T>(conv_.outputs()));
    kept->norm = norm_.new_memory();
    return kept;
  }
  std::unique_ptr<Memory> new_scratch() const override {
    auto scratch = std::make_unique<Scratch>();
    conv_.make_dense(*scratch);
    if (computes_again()) scratch->values = new_buffer<T>(whole_lines<T>(conv_.outputs()));
    scratch->d_values = new_buffer<T>(whole_lines<T>(conv_.outputs()));
    scratch->norm = norm_.new_scratch();
    return scratch;
  }

  void look_at_input(const Pass<T>& pass) const override {
    compute(pass);
    norm_.look_at_input(of_norm(pass));
  }
  void meet_forward(const MetBatch<T>& batch) const override { norm_.meet_forward(batch); }
  void forward(const Pass<T>& pass) const override {
    if (computes_again()) compute(pass);
    norm_.forward(of_norm(pass));
  }
  void look_at_gradient(const Pass<T>& pass, T* gradient) const override {
    if (computes_again()) compute(pass);
    norm_.look_at_gradient(of_norm(pass), gradient);
  }
  void meet_backward(const MetBatch<T>& batch) const override { norm_.meet_backward(batch); }
  void backward(const Pass<T>& pass, T* gradient) const override {
    if (computes_again()) compute(pass);
    const Pass<T> inner = of_norm(pass);
    norm_.backward(inner, gradient);
    conv_.backward_dense(pass.is_first ? nullptr : pass.d_input, gradient + conv_.packed()->offset, inner.d_input,
                         pass.input, *pass.parameters, scratch(pass), pass.desk);
  }

 private:
  struct Kept : Memory {
    Buffer<T> values;
    std::unique_ptr<Memory> norm;
  };
  struct Scratch : Memory, Convolution<T>::Scratch {
    Buffer<T> values, d_values;
    std::unique_ptr<Memory> norm;
  };
  static Kept& kept(const Pass<T>& pass) { return static_cast<Kept&>(*pass.memory); }
  static Scratch& scratch(const Pass<T>& pass) { return static_cast<Scratch&>(*pass.scratch); }

  bool computes_again() const noexcept { return conv_.shape().channels == 1; }
  T* values(const Pass<T>& pass) const { return (computes_again() ? scratch(pass).values : kept(pass).values).get(); }
  void compute(const Pass<T>& pass) const { conv_.forward(values(pass), pass.input, *pass.parameters, pass.desk); }
  // The pass of the normalisation, which begins at the convolution's outputs.
  Pass<T> of_norm(const Pass<T>& pass) const {
    return {values(pass),   pass.output,           scratch(pass).d_values.get(), pass.d_output,
            false,          kept(pass).norm.get(), scratch(pass).norm.get(),     pass.sample,
            pass.parameters};
  }

  Convolution<T> conv_;
  BatchNormStage<T> norm_;
};

// Replaces a Conv3x3 and the stage of a BatchNorm, which may be fused with what follows it.
template <class T>
Fusion<T> fuse_conv_batch_norm(const Stages<T>& stages, std::size_t at) {
  const auto* const conv = stage_at<Conv3x3Stage<T>>(stages, at);
  const auto* const norm = stage_at<BatchNormStage<T>>(stages, at + 1);
  if (conv == nullptr || norm == nullptr || conv->is_frozen()) return {};
  const auto& plain = *conv->convolution().packed();
  if (plain.readers > 1 || plain.is_folded()) return {};
  const Convolution<T> dense(plain.in(PackedConv<T>::Layout::by_tap_to_train), conv->convolution().shape());
  return {std::make_unique<ConvBatchNormStage<T>>(dense, norm->packed_batch_norm(), norm->shape()), 2};
}

}  // namespace cnnx
