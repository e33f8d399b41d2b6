// Conv3x3, MaxPool2, and a ReLU between or after them. An odd last row or column of the convolution is not computed,
// because no pooling window reads it. The ReLU is applied to the pooled values, which are a quarter as many.
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
  std::unique_ptr<Memory> new_memory() const override {
    auto memory = std::make_unique<Scratch>();
    conv_.make(*memory);
    memory->values = new_buffer<T>(conv_.outputs());
    memory->d_values = new_buffer<T>(conv_.outputs());
    memory->pooled = new_buffer<T>(outputs());
    memory->d_pooled = new_buffer<T>(outputs());
    return memory;
  }

  void forward(const Pass<T>& pass) const override {
    Scratch& s = scratch(pass);
    T* const pooled = run_.relu ? s.pooled.get() : pass.output;
    conv_.forward(s.values.get(), pass.input, *pass.parameters, s);
    this->kernels().max_pool2_forward(pooled, s.values.get(), pool_);
    if (run_.relu) this->kernels().relu_forward(pass.output, pooled, outputs());
  }
  void backward(const Pass<T>& pass, T* gradient) const override {
    Scratch& s = scratch(pass);
    const T* d_pooled = pass.d_output;
    if (run_.relu) {
      this->kernels().relu_backward(s.d_pooled.get(), d_pooled, s.pooled.get(), outputs());
      d_pooled = s.d_pooled.get();
    }
    this->kernels().max_pool2_backward(s.d_values.get(), d_pooled, s.values.get(), pool_, run_.ties);
    conv_.backward(pass.is_first ? nullptr : pass.d_input, gradient + conv_.packed()->offset, s.d_values.get(),
                   pass.input, *pass.parameters, s);
  }

 private:
  struct Scratch : Memory, Convolution<T>::Scratch {
    Buffer<T> values, d_values, pooled, d_pooled;
  };
  static Scratch& scratch(const Pass<T>& pass) { return static_cast<Scratch&>(*pass.memory); }

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
