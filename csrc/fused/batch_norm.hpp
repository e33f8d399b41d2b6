// BatchNorm, and the ReLU and the MaxPool2 after it, in one pass over its input. The normalised values are not stored.
#pragma once

#include "../stages/batch_norm.hpp"
#include "pool.hpp"

namespace cnnx {

// Replaces a BatchNorm, a MaxPool2, and a ReLU between or after them; or a BatchNorm and a ReLU.
template <class T>
Fusion<T> fuse_batch_norm(const Stages<T>& stages, std::size_t at) {
  const auto* const norm = stage_at<BatchNormStage<T>>(stages, at);
  if (norm == nullptr) return {};
  const auto run = pool_run(stages, at + 1);
  const bool pool = run.length > 0, relu = pool ? run.relu : stage_at<ReLUStage<T>>(stages, at + 1) != nullptr;
  if (!pool && !relu) return {};
  const auto& s = norm->shape();
  const BatchNormShape shape{s.height, s.width, s.channels, relu, pool, run.ties};
  return {std::make_unique<BatchNormStage<T>>(norm->packed_batch_norm(), shape), 1 + (pool ? run.length : 1)};
}

}  // namespace cnnx
