// The plain stage of Dropout. In training it drops values as kernels/elementwise.cpp says; otherwise it copies its
// input.
#pragma once

#include <algorithm>
#include <cmath>

#include "stage.hpp"

namespace cnnx {

template <class T>
class DropoutStage final : public Stage<T> {
 public:
  // The random numbers depend on the layer's position in the network, so fusion does not change them.
  DropoutStage(const DropoutLayer& layer, const Shape& in, std::size_t position)
      : count_(in.count()),
        rate_(std::min(static_cast<T>(layer.rate), std::nextafter(T{1}, T{0}))),
        position_(position) {}

  Index outputs() const override { return count_; }
  void forward(const Pass<T>& pass) const override {
    if (pass.sample->training)
      this->kernels().dropout(pass.output, pass.input, rate_, key(pass), count_);
    else
      copy(pass.output, pass.input, count_);
  }
  void backward(const Pass<T>& pass, T*) const override {
    if (!pass.is_first) this->kernels().dropout(pass.d_input, pass.d_output, rate_, key(pass), count_);
  }

 private:
  std::uint64_t key(const Pass<T>& pass) const { return random_key(pass.sample->key, position_); }

  Index count_;
  T rate_;
  std::size_t position_;
};

}  // namespace cnnx
