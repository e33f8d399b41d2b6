// The kernels for one CPU target. CMake compiles this file once per target with that target's flags and with
// CNNX_TARGET as its name. Everything but the table has internal linkage.
#include "kernels.hpp"
#include "kernels/conv3x3.hpp"
#include "kernels/conv3x3_sparse.hpp"
#include "kernels/conv_pool.hpp"
#include "kernels/conv_pool_dense.hpp"
#include "kernels/dense.hpp"
#include "kernels/dense_packed.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/max_pool2.hpp"
#include "kernels/softmax.hpp"

#define CNNX_STRING_(x) #x
#define CNNX_STRING(x) CNNX_STRING_(x)
#define CNNX_JOIN_(a, b) a##b
#define CNNX_JOIN(a, b) CNNX_JOIN_(a, b)

namespace cnnx {
namespace {

bool supported() noexcept {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
#else
  return true;
#endif
}

template <class T>
constexpr Kernels<T> kernels() {
  return {
      .pack_filters = pack_filters<T>,
      .unpack_filters = unpack_filters<T>,
      .conv3x3_forward = conv3x3_forward<T>,
      .conv3x3_backward_filters = conv3x3_backward_filters<T>,
      .conv3x3_backward_input = conv3x3_backward_input<T>,
      .conv3x3_gather = conv3x3_gather<T>,
      .conv3x3_backward_filters_sparse = conv3x3_backward_filters_sparse<T>,
      .conv3x3_backward_input_sparse = conv3x3_backward_input_sparse<T>,
      .max_pool2_forward = max_pool2_forward<T>,
      .max_pool2_backward = max_pool2_backward<T>,
      .scale_pixels = scale_pixels<T>,
      .find_foreground_in_bytes = find_foreground<std::uint8_t>,
      .find_foreground = find_foreground<T>,
      .are_small = are_small<T>,
      .conv_pool_forward = conv_pool_forward<T>,
      .conv_pool_backward = conv_pool_backward<T>,
      .spread_background = spread_background<T>,
      .sum_background = sum_background<T>,
      .dense_forward = dense_forward<T>,
      .dense_backward_update = dense_backward_update<T>,
      .dense_pack = dense_pack<T>,
      .dense_unpack = dense_unpack<T>,
      .dense_fold = dense_fold<T>,
      .dense_forward_packed = dense_forward_packed<T>,
      .dense_backward_update_packed = dense_backward_update_packed<T>,
      .dense_backward_packed = dense_backward_packed<T>,
      .conv_pool_dense_forward = conv_pool_dense_forward<T>,
      .conv_pool_dense_backward_update = conv_pool_dense_backward_update<T>,
      .conv_pool_dense_backward = conv_pool_dense_backward<T>,
      .relu_forward = relu_forward<T>,
      .relu_backward = relu_backward<T>,
      .dropout = dropout<T>,
      .add = add<T>,
      .scale = scale<T>,
      .sgd_update = sgd_update<T>,
      .sgd_momentum_update = sgd_momentum_update<T>,
      .adam_update = adam_update<T>,
      .softmax_forward = softmax_forward<T>,
      .softmax_backward = softmax_backward<T>,
      .softmax_loss = softmax_loss<T>,
  };
}

}  // namespace

extern const Target CNNX_JOIN(target_, CNNX_TARGET);
const Target CNNX_JOIN(target_, CNNX_TARGET) = {
    .name = CNNX_STRING(CNNX_TARGET),
    .supported = supported,
    .kernels_float32 = kernels<float>(),
    .kernels_float64 = kernels<double>(),
};

}  // namespace cnnx
