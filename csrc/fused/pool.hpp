// Finds a MaxPool2 and the ReLUs before and after it, for fusion rules that begin with a convolution.
//
// A ReLU before the pooling gives the same results as one after it. The largest of max(0, x) is max(0, the largest x).
// In the backward pass, a window passes its gradient to the same values, or to none if its largest value is not above
// 0.
#pragma once

#include "../stages/max_pool2.hpp"
#include "../stages/relu.hpp"

namespace cnnx {

struct PoolRun {
  bool relu = false;
  Ties ties = Ties::all;
  std::size_t length = 0;  // in stages; 0 if there is no pooling
};

template <class T>
PoolRun pool_run(const Stages<T>& stages, std::size_t at) {
  const auto is_relu = [&](std::size_t position) { return stage_at<ReLUStage<T>>(stages, position) != nullptr; };
  const bool before = is_relu(at);
  const std::size_t pool_at = at + (before ? 1 : 0);
  const auto* const pool = stage_at<MaxPool2Stage<T>>(stages, pool_at);
  if (pool == nullptr) return {};
  const bool after = is_relu(pool_at + 1);
  return {before || after, pool->ties(), pool_at - at + (after ? 2 : 1)};
}

}  // namespace cnnx
