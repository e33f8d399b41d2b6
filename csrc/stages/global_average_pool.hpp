// The plain stage of GlobalAveragePool: the mean over height and width, (h, w, c) -> (c,).
//
//   output[c] = sum over y, x of  input[y, x, c] / (h * w)
//   d_input[y, x, c] = d_output[c] / (h * w)
#pragma once

#include "stage.hpp"

namespace cnnx {

// Pixels are added one after the other, with channels in the lanes, so no sum depends on the number of lanes.
template <class T>
void global_average_pool_forward(T* output, const T* input, const Shape& in) {
  const auto& k = active_target().kernels<T>();
  const Index pixels = Index{in.height} * in.width;
  std::memset(static_cast<void*>(output), 0, sizeof(T) * static_cast<std::size_t>(in.channels));
  for (Index pixel = 0; pixel < pixels; ++pixel) k.add(output, input + pixel * in.channels, in.channels);
  k.scale(output, T{1} / static_cast<T>(pixels), in.channels);
}

template <class T>
void global_average_pool_backward(T* d_input, const T* d_output, const Shape& in) {
  const Index pixels = Index{in.height} * in.width;
  copy(d_input, d_output, in.channels);
  active_target().kernels<T>().scale(d_input, T{1} / static_cast<T>(pixels), in.channels);
  for (Index pixel = 1; pixel < pixels; ++pixel) copy(d_input + pixel * in.channels, d_input, in.channels);
}

template <class T>
class GlobalAveragePoolStage final : public Stage<T> {
 public:
  explicit GlobalAveragePoolStage(const Shape& in) : in_(in) {}

  Index outputs() const override { return in_.channels; }
  void forward(const Pass<T>& pass) const override { global_average_pool_forward(pass.output, pass.input, in_); }
  void backward(const Pass<T>& pass, T*) const override {
    if (!pass.is_first) global_average_pool_backward(pass.d_input, pass.d_output, in_);
  }

 private:
  Shape in_;
};

}  // namespace cnnx
