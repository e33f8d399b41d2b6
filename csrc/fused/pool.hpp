// A MaxPool2 and the ReLUs around it, as fusion rules look for them after a convolution.
//
// A ReLU before the pooling is the same as one after it: the largest of max(0, x) is max(0, the largest x), and a
// window passes gradient to the same values, or to none if its largest is not above 0.
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
  const auto is_relu = [&](std::size_t place) { return stage_at<ReLUStage<T>>(stages, place) != nullptr; };
  const bool before = is_relu(at);
  const std::size_t place = at + (before ? 1 : 0);
  const auto* const pool = stage_at<MaxPool2Stage<T>>(stages, place);
  if (pool == nullptr) return {};
  const bool after = is_relu(place + 1);
  return {before || after, pool->ties(), place - at + (after ? 2 : 1)};
}

}  // namespace cnnx
