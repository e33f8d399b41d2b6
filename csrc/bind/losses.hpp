// Losses and their targets. Arrays have an entry for each image, and `weights` multiply the losses. stages/loss.hpp
// says what the losses are.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "../stages/loss.hpp"
#include "arrays.hpp"

namespace cnnx {

// `targets` are int32 labels (images,), or probabilities (images, nodes) in the network's dtype.
struct BoundCrossEntropy {
  py::array targets;
  std::optional<py::array> weights;
};

struct BoundMeanSquaredError {
  py::array rows;
  std::optional<py::array> weights;
};

// `rows` (samples, nodes) are in the order of the call's samples.
struct BoundGivenGradient {
  py::array rows;
};

using BoundLoss = std::variant<BoundCrossEntropy, BoundMeanSquaredError, BoundGivenGradient>;

// A loss and its targets in the order of a call's samples. The targets are copies, because another thread may write to
// the caller's arrays while the lock is released.
template <class T>
class OrderedLoss {
 public:
  // `order` (samples,) has indices of images; null is the images' own order.
  OrderedLoss(const BoundLoss& bound, Index images, int nodes, const std::int64_t* order, Index samples)
      : images_(static_cast<int>(images)), nodes_(nodes), order_(order), samples_(samples) {
    std::visit([&](const auto& loss) { take(loss); }, bound);
  }
  OrderedLoss(const OrderedLoss&) = delete;
  OrderedLoss& operator=(const OrderedLoss&) = delete;

  const Loss<T>& loss() const noexcept { return loss_; }

 private:
  void take(const BoundCrossEntropy& given) {
    loss_.kind = CrossEntropy{};
    take_weights(given.weights);
    if (given.targets.dtype().num() != py::dtype::num_of<std::int32_t>()) {
      take_rows(given.targets);
      return;
    }
    put_in_order(labels_, checked<std::int32_t>(given.targets, "labels", {images_}), 1);
    for (const auto label : labels_)
      if (label < 0 || label >= nodes_)
        throw py::value_error("labels: expected 0 to " + std::to_string(nodes_ - 1) + ", got " + std::to_string(label));
    loss_.targets.labels = labels_.data();
  }
  void take(const BoundMeanSquaredError& given) {
    loss_.kind = MeanSquaredError{};
    take_weights(given.weights);
    take_rows(given.rows);
  }
  void take(const BoundGivenGradient& given) {
    loss_.kind = GivenGradient{};
    images_ = static_cast<int>(samples_);
    order_ = nullptr;
    take_rows(given.rows);
  }

  void take_rows(const py::array& rows) {
    put_in_order(rows_, checked<T>(rows, "rows", {images_, nodes_}), nodes_);
    loss_.targets.rows = rows_.data();
  }
  void take_weights(const std::optional<py::array>& weights) {
    if (!weights.has_value()) return;
    put_in_order(weights_, checked<double>(*weights, "weights", {images_}), 1);
    loss_.targets.weights = weights_.data();
  }
  template <class V>
  void put_in_order(std::vector<V>& ordered, const V* given, Index size) const {
    ordered.resize(static_cast<std::size_t>(samples_ * size));
    for (Index i = 0; i < samples_; ++i)
      std::copy_n(given + (order_ != nullptr ? order_[i] : i) * size, size, ordered.data() + i * size);
  }

  int images_, nodes_;
  const std::int64_t* order_;
  Index samples_;
  std::vector<std::int32_t> labels_;
  std::vector<T> rows_;
  std::vector<double> weights_;
  Loss<T> loss_{OutputsOnly{}, {}};
};

}  // namespace cnnx
