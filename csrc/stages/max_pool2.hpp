// The plain stage of MaxPool2. kernels/max_pool2.hpp has the formulas.
#pragma once

#include "stage.hpp"

namespace cnnx {

template <class T>
class MaxPool2Stage final : public Stage<T> {
 public:
  MaxPool2Stage(const MaxPool2Layer& layer, const Shape& in)
      : shape_{in.height, in.width, in.channels}, ties_(layer.ties) {}

  const MaxPool2Shape& shape() const noexcept { return shape_; }
  Ties ties() const noexcept { return ties_; }

  Index outputs() const override { return Index{shape_.out_height()} * shape_.out_width() * shape_.channels; }
  std::unique_ptr<Memory> new_memory() const override {
    auto kept = std::make_unique<Kept>();
    kept->winners = new_buffer<T>(outputs());
    return kept;
  }
  void forward(const Pass<T>& pass) const override {
    this->kernels().max_pool2_choose(pass.output, winners(pass), pass.input, shape_, ties_, false);
  }
  void backward(const Pass<T>& pass, T*) const override {
    if (!pass.is_first) this->kernels().max_pool2_hand_out(pass.d_input, pass.d_output, winners(pass), shape_);
  }

 private:
  struct Kept : Memory {
    Buffer<T> winners;
  };
  static T* winners(const Pass<T>& pass) { return static_cast<Kept&>(*pass.memory).winners.get(); }

  MaxPool2Shape shape_;
  Ties ties_;
};

}  // namespace cnnx
