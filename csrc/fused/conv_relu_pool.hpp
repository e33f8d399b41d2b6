// Conv3x3, MaxPool2, and a ReLU between or after them. An odd last row or column of the convolution is not computed,
// because no pooling window reads it. The ReLU is applied to the pooled values, which are a quarter as many. Of the
// convolution's outputs, a sample keeps only which of them won.
#pragma once

#include "../stages/conv3x3.hpp"
#include "pool.hpp"

namespace cnnx {

template <class T>
class ConvReLUPoolStage final : public Stage<T> {
 public:
  ConvReLUPoolStage(const Convolution<T>& conv, const PoolRun& run)
      : Stage<T>({conv.packed()}),
        conv_(conv),
        pool_{conv.shape().out_height(), conv.shape().out_width(), conv.shape().filters},
        run_(run) {}

  Index outputs() const override { return Index{pool_.out_height()} * pool_.out_width() * pool_.channels; }
  Index work() const override { return conv_.work(); }
  Index desk_size() const override { return std::max(conv_.desk_size(), desk_size_with_pool<T>(conv_.shape())); }
  std::unique_ptr<Memory> new_memory() const override {
    auto kept = std::make_unique<Kept>();
    kept->winners = new_buffer<T>(outputs());
    return kept;
  }
  std::unique_ptr<Memory> new_scratch() const override {
    auto scratch = std::make_unique<Scratch>();
    conv_.make(*scratch);
    scratch->d_values = new_buffer<T>(conv_.outputs());
    return scratch;
  }

  void forward(const Pass<T>& pass) const override {
    convolve_and_pool(pass.output, kept(pass).winners.get(), pass.input, conv_.packed()->filters(*pass.parameters),
                      pass.desk, conv_.shape(), run_.ties, run_.relu);
  }
  void backward(const Pass<T>& pass, T* gradient) const override {
    const Kept& k = kept(pass);
    Scratch& s = scratch(pass);
    T *const d_input = pass.is_first ? nullptr : pass.d_input, *const d_conv = gradient + conv_.packed()->offset;
    if (d_input != nullptr) {
      const auto entries = s.entries();
      this->kernels().conv3x3_gather_pooled(entries, pass.d_output, k.winners.get(), conv_.shape());
      if (conv_.are_few(entries.start[pool_.height * pool_.width])) {
        conv_.backward_sparse(d_input, d_conv, pass.input, *pass.parameters, s);
        return;
      }
    }
    this->kernels().max_pool2_hand_out(s.d_values.get(), pass.d_output, k.winners.get(), pool_);
    conv_.backward(d_input, d_conv, s.d_values.get(), pass.input, *pass.parameters, s, pass.desk);
  }

 private:
  struct Kept : Memory {
    Buffer<T> winners;
  };
  struct Scratch : Memory, Convolution<T>::Scratch {
    Buffer<T> d_values;
  };
  static Kept& kept(const Pass<T>& pass) { return static_cast<Kept&>(*pass.memory); }
  static Scratch& scratch(const Pass<T>& pass) { return static_cast<Scratch&>(*pass.scratch); }

  Convolution<T> conv_;
  MaxPool2Shape pool_;
  PoolRun run_;
};

// Replaces a Conv3x3, a MaxPool2, and a ReLU before or after it.
template <class T>
Fusion<T> fuse_conv_relu_pool(const Stages<T>& stages, std::size_t at) {
  const auto* const conv = stage_at<Conv3x3Stage<T>>(stages, at);
  const auto run = pool_run(stages, at + 1);
  if (conv == nullptr || run.length == 0) return {};
  Conv3x3Shape shape = conv->convolution().shape();
  shape.unread_rows = shape.out_height() % 2;
  shape.unread_columns = shape.out_width() % 2;
  const Convolution<T> read(conv->convolution().packed(), shape);
  return {std::make_unique<ConvReLUPoolStage<T>>(read, run), 1 + run.length};
}

}  // namespace cnnx
