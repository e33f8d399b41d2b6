// Conv3x3 and the ReLU after it, which is applied to the convolution's outputs while they are in registers.
#pragma once

#include "../stages/conv3x3.hpp"
#include "../stages/relu.hpp"

namespace cnnx {

template <class T>
class ConvReLUStage final : public Stage<T> {
 public:
  explicit ConvReLUStage(const Convolution<T>& conv) : Stage<T>({conv.packed()}), conv_(conv) {}

  Index outputs() const override { return conv_.outputs(); }
  Index work() const override { return conv_.work(); }
  Index desk_size() const override { return conv_.desk_size(); }
  std::unique_ptr<Memory> new_memory() const override {
    auto kept = std::make_unique<Kept>();
    conv_.make(*kept);
    return kept;
  }
  std::unique_ptr<Memory> new_scratch() const override {
    auto scratch = std::make_unique<Scratch>();
    conv_.make(*scratch);
    scratch->d_values = new_buffer<T>(conv_.outputs());
    return scratch;
  }

  void forward(const Pass<T>& pass) const override {
    conv_.forward(pass.output, pass.input, *pass.parameters, kept(pass), pass.desk);
  }
  // The ReLU's output is above 0 exactly where its input was, so relu_backward can read the output instead.
  void backward(const Pass<T>& pass, T* gradient) const override {
    Scratch& s = scratch(pass);
    this->kernels().relu_backward(s.d_values.get(), pass.d_output, pass.output, outputs());
    conv_.backward(pass.is_first ? nullptr : pass.d_input, gradient + conv_.packed()->offset, s.d_values.get(),
                   pass.input, *pass.parameters, kept(pass), s, pass.desk);
  }

 private:
  struct Kept : Memory, Convolution<T>::Kept {};
  struct Scratch : Memory, Convolution<T>::Scratch {
    Buffer<T> d_values;
  };
  static Kept& kept(const Pass<T>& pass) { return static_cast<Kept&>(*pass.memory); }
  static Scratch& scratch(const Pass<T>& pass) { return static_cast<Scratch&>(*pass.scratch); }

  Convolution<T> conv_;
};

// Replaces a Conv3x3 and a ReLU.
template <class T>
Fusion<T> fuse_conv_relu(const Stages<T>& stages, std::size_t at) {
  const auto* const conv = stage_at<Conv3x3Stage<T>>(stages, at);
  if (conv == nullptr || stage_at<ReLUStage<T>>(stages, at + 1) == nullptr) return {};
  Conv3x3Shape shape = conv->convolution().shape();
  shape.relu = true;
  return {std::make_unique<ConvReLUStage<T>>(Convolution<T>(conv->convolution().packed(), shape)), 2};
}

}  // namespace cnnx
