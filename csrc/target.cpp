// The kernels for one CPU target. CMake compiles this file once per target with that target's flags and with
// CNNX_TARGET as its name. Everything but the table has internal linkage.
#include "kernels.hpp"
#include "kernels/conv3x3.hpp"
#include "kernels/max_pool2.hpp"
#include "kernels/softmax.hpp"

#define CNNX_STRING_(x) #x
#define CNNX_STRING(x) CNNX_STRING_(x)
#define CNNX_JOIN_(a, b) a##b
#define CNNX_JOIN(a, b) CNNX_JOIN_(a, b)

namespace cnnx {
namespace {

template <class T>
void sgd_update(T* __restrict parameters, const T* __restrict gradient, T learn_rate, Index count) noexcept {
  for (Index i = 0; i < count; ++i) parameters[i] -= learn_rate * gradient[i];
}

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
      .conv3x3_forward = conv3x3_forward<T>,
      .conv3x3_backward = conv3x3_backward<T>,
      .max_pool2_forward = max_pool2_forward<T>,
      .max_pool2_backward = max_pool2_backward<T>,
      .dense_forward = dense_forward<T>,
      .dense_backward_update = dense_backward_update<T>,
      .softmax_forward = softmax_forward<T>,
      .softmax_backward = softmax_backward<T>,
      .sgd_update = sgd_update<T>,
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
