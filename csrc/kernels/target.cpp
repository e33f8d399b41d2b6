#include "target.hpp"

namespace cnnx {

void CNNX_TARGET::fill(Kernels<float>& float32, Kernels<double>& float64) {
  fill_conv3x3(float32, float64);
  fill_conv3x3_sparse(float32, float64);
  fill_winograd_forward(float32, float64);
  fill_max_pool2(float32, float64);
  fill_foreground(float32, float64);
  fill_conv_pool(float32, float64);
  fill_dense(float32, float64);
  fill_dense_packed(float32, float64);
  fill_conv_pool_dense(float32, float64);
  fill_elementwise(float32, float64);
  fill_softmax(float32, float64);
  fill_losses(float32, float64);
  fill_winograd_backward(float32, float64);
  if constexpr (has_gradient_parts) fill_dense_gradient(float32, float64);
  if constexpr (has_batch_norm) {
    fill_batch_norm(float32, float64);
    fill_conv_pool_norm(float32, float64);
  }
}

}  // namespace cnnx
