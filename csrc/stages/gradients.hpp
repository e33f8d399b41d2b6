// Where a batch's gradient comes together. A batch is cut into the same shards whatever the number of threads; each
// has a gradient of its own, and they are added in their order.
#pragma once

#include "stage.hpp"

namespace cnnx {

inline constexpr Index most_shards = 8;

template <class T>
struct Gradients {
  explicit Gradients(const std::vector<std::unique_ptr<Stage<T>>>& stages, Index parameter_count)
      : flat(new_buffer<T>(parameter_count)) {
    for (const auto& stage : stages) {
      offset.push_back(size);
      size += (stage->gradient_size() + lanes_of<T> - 1) / lanes_of<T> * lanes_of<T>;
    }
    for (auto& shard : shards) shard = new_buffer<T>(size);
  }

  Index size = 0;
  std::vector<Index> offset;      // of each stage, in a shard
  Buffer<T> shards[most_shards];  // the stages' gradients in their own layouts; in the end the first has the mean
  Buffer<T> flat;                 // the mean, as numpy has the parameters
};

}  // namespace cnnx
