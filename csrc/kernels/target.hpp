// The functions that enter a target's kernels into its table, one for each kernel file. CMake compiles these files once
// per CPU target, with that target's flags and with CNNX_TARGET defined as its name.
#pragma once

#include "kernels.hpp"

namespace cnnx::CNNX_TARGET {

// A web page has no float64 networks, no BatchNorm and no checkpoints, and should be small.
#if defined(__wasm__)
inline constexpr bool has_float64 = false, has_batch_norm = false, reads_checkpoints = false;
#else
inline constexpr bool has_float64 = true, has_batch_norm = true, reads_checkpoints = true;
#endif

// Calls all functions below.
void fill(Kernels<float>&, Kernels<double>&);

void fill_conv3x3(Kernels<float>&, Kernels<double>&);
void fill_conv3x3_sparse(Kernels<float>&, Kernels<double>&);
void fill_winograd_forward(Kernels<float>&, Kernels<double>&);
void fill_max_pool2(Kernels<float>&, Kernels<double>&);
void fill_foreground(Kernels<float>&, Kernels<double>&);
void fill_conv_pool(Kernels<float>&, Kernels<double>&);
void fill_dense(Kernels<float>&, Kernels<double>&);
void fill_dense_packed(Kernels<float>&, Kernels<double>&);
void fill_dense_gradient(Kernels<float>&, Kernels<double>&);
void fill_conv_pool_norm(Kernels<float>&, Kernels<double>&);
void fill_conv_pool_dense(Kernels<float>&, Kernels<double>&);
void fill_elementwise(Kernels<float>&, Kernels<double>&);
void fill_batch_norm(Kernels<float>&, Kernels<double>&);
void fill_softmax(Kernels<float>&, Kernels<double>&);
void fill_winograd_backward(Kernels<float>&, Kernels<double>&);
void fill_losses(Kernels<float>&, Kernels<double>&);

}  // namespace cnnx::CNNX_TARGET
