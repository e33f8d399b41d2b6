// Losses of a network's outputs y (nodes,) that do not need the softmax function, and their gradients.
#include "../simd/registers.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

//   loss = 1 / nodes * (sum over n of (y[n] - t[n])^2),   d_y[n] = 2 / nodes * (y[n] - t[n])
//
// The terms are added in order, so that the sum does not depend on the number of lanes.
template <class T>
double mean_squared_error(T* __restrict d_outputs, const T* __restrict outputs, const T* __restrict targets,
                          int nodes) noexcept {
  const T factor = T{2} / static_cast<T>(nodes);
  double sum = 0;
  for (int n = 0; n < nodes; ++n) {
    const T difference = outputs[n] - targets[n];
    sum += static_cast<double>(difference) * static_cast<double>(difference);
    d_outputs[n] = factor * difference;
  }
  return sum / nodes;
}

template <class T>
void enter(Kernels<T>& k) {
  k.mean_squared_error = mean_squared_error<T>;
}

}  // namespace

void CNNX_TARGET::fill_losses(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
