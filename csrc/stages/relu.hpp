// The plain stage of ReLU: output = max(0, input).
#pragma once

#include "stage.hpp"

namespace cnnx {

template <class T>
class ReLUStage final : public Stage<T> {
 public:
  explicit ReLUStage(const Shape& in) : count_(in.count()) {}

  Index outputs() const override { return count_; }
  void forward(const Pass<T>& pass) const override { this->kernels().relu_forward(pass.output, pass.input, count_); }
  void backward(const Pass<T>& pass, T*) const override {
    if (!pass.is_first) this->kernels().relu_backward(pass.d_input, pass.d_output, pass.input, count_);
  }

 private:
  Index count_;
};

}  // namespace cnnx
