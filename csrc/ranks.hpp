// Training in several processes. Each of them is a rank: it has all images and all parameters, takes every step, and
// computes its own shards of each batch. Then the ranks exchange what they have computed, and each has the bits of one
// process that has computed the whole batch.
//
// The core decides what is exchanged, and does all arithmetic. A class that inherits from Ranks brings bytes to other
// processes.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "samples.hpp"

namespace cnnx {

// Rows of bytes, which begin `stride` bytes apart.
struct Rows {
  void* first;
  Index count, size, stride;

  // `size` and `stride` count numbers.
  template <class T>
  static Rows of(T* first, Index count, Index size, Index stride) noexcept {
    constexpr auto bytes = static_cast<Index>(sizeof(T));
    return {first, count, size * bytes, stride * bytes};
  }
};

class Ranks {
 public:
  const int rank, count;

  Ranks(int rank, int count) : rank(rank), count(count) {}
  virtual ~Ranks() = default;
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  // Where a rank's part of `whole` things begins, and for the number of ranks the end of the last part; and how many
  // things the largest part has.
  Index start(Index whole, int of_rank) const noexcept { return whole * of_rank / count; }
  Index most(Index whole) const noexcept { return (whole + count - 1) / count; }
  // The starts of all parts, and the end, in things of `size`.
  std::vector<Index> starts(Index whole, Index size = 1) const {
    std::vector<Index> found;
    for (int r = 0; r <= count; ++r) found.push_back(start(whole, r) * size);
    return found;
  }

  // Rank r has the rows from starts[r] to starts[r + 1] - 1. Afterwards each rank has all rows. May throw.
  virtual void gather(const Rows& rows, const std::vector<Index>& starts) = 0;
  // The same, but afterwards rank r has the bytes from columns[r] to columns[r + 1] - 1 of each row.
  virtual void scatter(const Rows& rows, const std::vector<Index>& starts, const std::vector<Index>& columns) = 0;
};

// Sets gradients[0] to factor * the sum of all shards' gradients, on each rank. They begin `size` numbers apart, which
// are whole cache lines. The sum has the bits of add_as_tree over all shards:
//
//   rank 0 adds   (0 + 1) + (2 + 3)                       a subtree: a power of two of shards, all of one rank
//   rank 1 adds                       (4 + 5) + (6 + 7)
//   rank 0 adds the subtrees for the first half of all numbers, and rank 1 for the second half
//   the ranks exchange the halves
//
// The subtrees are smaller if the ranks have unequal parts.
template <class T>
void add_over_ranks(Ranks& ranks, T* const* gradients, Index shards, T factor, Index size) {
  const auto& k = active_target().kernels<T>();
  Index width = shards;  // of a subtree
  for (int r = 0; r < ranks.count; ++r)
    while (ranks.start(shards, r) % width != 0) width /= 2;
  const Index subtrees = shards / width, end = ranks.start(shards, ranks.rank + 1);
  for (Index shard = ranks.start(shards, ranks.rank); shard < end; shard += width)
    k.add_as_tree(gradients + shard, static_cast<int>(width), T{1}, size);

  std::vector<Index> owners;
  for (const Index start : ranks.starts(shards)) owners.push_back(start / width);
  constexpr Index line = lanes_of<T>, bytes = line * static_cast<Index>(sizeof(T));
  ranks.scatter(Rows::of(gradients[0], subtrees, size, width * size), owners, ranks.starts(size / line, bytes));

  const Index first = ranks.start(size / line, ranks.rank) * line;
  std::array<T*, most_shards> own{};
  for (Index i = 0; i < subtrees; ++i) own[static_cast<std::size_t>(i)] = gradients[i * width] + first;
  k.add_as_tree(own.data(), static_cast<int>(subtrees), factor,
                ranks.start(size / line, ranks.rank + 1) * line - first);
  ranks.gather(Rows::of(gradients[0], size / line, line, line), ranks.starts(size / line));
}

// Which samples of a batch each rank computes: those from [rank] to [rank + 1] - 1.
inline std::vector<Index> samples_of(const Ranks& ranks, const ShardedBatch& batch) {
  auto starts = ranks.starts(batch.shards);
  for (Index& start : starts) start = batch.start(start);
  return starts;
}

// What each sample has left for a stage that needs statistics of the whole batch.
template <class T>
void gather_statistics(Ranks& ranks, const BatchStage<T>& stage, const PackedValues<T>& values,
                       const ShardedBatch& batch) {
  ranks.gather(Rows::of(values.statistics_of(0) + stage.statistics_offset(), batch.samples, stage.statistics_size(),
                        values.statistics_stride),
               samples_of(ranks, batch));
}

// The gradient of such a stage's parameters in each shard. `size` is that of a shard.
template <class T>
void gather_gradients(Ranks& ranks, const BatchStage<T>& stage, T* const* gradients, Index shards, Index size) {
  const Packed<T>& packed = stage.packed();
  ranks.gather(Rows::of(gradients[0] + packed.offset, shards, packed.size(), size), ranks.starts(shards));
}

// The losses of a window's samples, and whether these were recognised. All memory is made before the first step.
template <class T>
class SharedResults {
 public:
  // `shards_of` gives the number of shards of a batch with so many samples.
  template <class ShardsOf>
  SharedResults(const Ranks& ranks, const Batches<T>& batches, const ShardsOf& shards_of) {
    const auto last = batches.samples % batches.batch_size;
    const auto parts = [&](Index samples) { return samples_of(ranks, {samples, shards_of(samples)}); };
    const auto of_full = parts(std::min(batches.batch_size, batches.samples)), of_last = parts(last);
    for (std::size_t rank = 0; rank < static_cast<std::size_t>(ranks.count); ++rank) {
      starts_.push_back(std::ssize(samples_));
      for (Index first = 0; first < batches.samples; first += batches.batch_size) {
        const auto& part = batches.samples - first < batches.batch_size ? of_last : of_full;
        for (Index i = part[rank]; i < part[rank + 1]; ++i) samples_.push_back(first + i);
      }
    }
    starts_.push_back(std::ssize(samples_));
    rows_.resize(samples_.size());
  }

  void gather(Ranks& ranks, const Results<T>& results) {
    const auto rank = static_cast<std::size_t>(ranks.rank);
    for (auto row = static_cast<std::size_t>(starts_[rank]); row < static_cast<std::size_t>(starts_[rank + 1]); ++row)
      rows_[row] = {results.losses != nullptr ? results.losses[samples_[row]] : 0.0,
                    results.correct != nullptr && results.correct[samples_[row]] ? 1.0 : 0.0};
    ranks.gather(Rows::of(rows_.data()->data(), std::ssize(rows_), 2, 2), starts_);
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (results.losses != nullptr) results.losses[samples_[row]] = rows_[row][0];
      if (results.correct != nullptr) results.correct[samples_[row]] = rows_[row][1] != 0;
    }
  }

 private:
  std::vector<Index> samples_, starts_;  // each rank's samples, one rank after another, and where they begin
  std::vector<std::array<double, 2>> rows_;
};

}  // namespace cnnx
