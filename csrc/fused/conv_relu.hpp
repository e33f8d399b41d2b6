// Conv3x3, and the ReLU after it if there is one, which is applied to the convolution's outputs while they are in
// registers. Without a MaxPool2, most of the gradient of the outputs is nonzero. So the backward pass uses the dense
// kernels, and adds to the filters' gradient in the layout that they compute.
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
  // Winograd's algorithm spreads an infinity over a whole tile.
  bool needs_small() const override { return conv_.packed()->is_winograd_gradient(); }
  std::unique_ptr<Memory> new_scratch() const override {
    auto scratch = std::make_unique<Scratch>();
    conv_.make_dense(*scratch);
    return scratch;
  }

  void forward(const Pass<T>& pass) const override {
    conv_.forward(pass.output, pass.input, *pass.parameters, pass.desk);
  }
  // The ReLU's output is above 0 exactly where its input was, so relu_backward can read the output instead.
  void backward(const Pass<T>& pass, T* gradient) const override {
    T* const d_values = pass.d_output;
    if (conv_.shape().relu) this->kernels().relu_backward(d_values, d_values, pass.output, outputs());
    conv_.backward_dense(pass.is_first ? nullptr : pass.d_input, gradient + conv_.packed()->offset, d_values,
                         pass.input, *pass.parameters, static_cast<Scratch&>(*pass.scratch), pass.desk);
  }

 private:
  struct Scratch : Memory, Convolution<T>::Scratch {};

  Convolution<T> conv_;
};

// Replaces a Conv3x3, and a ReLU after it.
template <class T>
Fusion<T> fuse_conv_relu(const Stages<T>& stages, std::size_t at) {
  const auto* const conv = stage_at<Conv3x3Stage<T>>(stages, at);
  if (conv == nullptr) return {};
  const auto& plain = *conv->convolution().packed();
  if (plain.readers > 1) return {};
  Conv3x3Shape shape = conv->convolution().shape();
  shape.relu = stage_at<ReLUStage<T>>(stages, at + 1) != nullptr;
  const Convolution<T> dense(plain.in(PackedConv<T>::Layout::by_tap_to_train), shape);
  return {std::make_unique<ConvReLUStage<T>>(dense), shape.relu ? 2U : 1U};
}

}  // namespace cnnx
