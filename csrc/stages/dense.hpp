// A Dense layer, or the dense half of a Softmax. For a few samples packing the weights costs more than it saves; the
// results are the same to the bit.
#pragma once

#include "stage.hpp"

namespace cnnx {

template <class T>
class DenseStage final : public Stage<T> {
 public:
  // `shape` is the layer's, or tells the places behind a ConvPoolStage apart.
  DenseStage(const DenseLayer<T>& layer, const DenseShape& shape) : layer_(layer), shape_(shape) {}

  Index outputs() const override { return shape_.nodes; }

  std::vector<Slice<T>> parameters() const override {
    return {{layer_.weights, weights_size()}, {layer_.biases, shape_.nodes}};
  }
  Index gradient_size() const override { return packed_size() + shape_.nodes; }
  void unpack_gradient(T* flat, const T* gradient) const override {
    this->kernels().dense_unpack(flat, gradient, shape_);
    std::memcpy(flat + weights_size(), gradient + packed_size(), sizeof(T) * static_cast<std::size_t>(shape_.nodes));
  }
  void pack(Index samples, bool training) override {
    current_ = training || samples >= worth_packing ? packed(packed_) : nullptr;
  }

  void forward(Workspace<T>& w) const override {
    const auto& k = this->kernels();
    if (current_ != nullptr)
      k.dense_forward_packed(this->output(w), rows(w), current_, layer_.biases, shape_);
    else
      k.dense_forward(this->output(w), rows(w), layer_.weights, layer_.biases, shape_);
  }
  void backward(Workspace<T>& w, T* gradient) const override {
    this->kernels().dense_backward_packed(d_rows(w), gradient, gradient + packed_size(), current_, this->d_output(w),
                                          rows(w), shape_);
  }

  bool can_update() const override { return true; }
  // Packed weights behind a background are sums, which packing them anew would round: a run goes on with those that it
  // has, unless somebody has changed numpy's.
  void begin_updates(bool anew) override {
    if (anew || running_ == nullptr || !holds(running_.get())) {
      packed(running_);
      steps_ = 0;
    }
    current_ = running_.get();
  }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    const auto& k = this->kernels();
    k.dense_backward_update_packed(d_rows(w), running_.get(), layer_.biases, this->d_output(w), rows(w), learn_rate,
                                   shape_);
    if (++steps_ % steps_a_fold == 0) k.dense_fold(running_.get(), shape_);
  }
  void end_updates() override { this->kernels().dense_unpack(layer_.weights, running_.get(), shape_); }

 private:
  static constexpr Index worth_packing = 8;
  static constexpr Index steps_a_fold = 1024;  // often enough for rounding, seldom enough for time

  Index weights_size() const { return Index{shape_.inputs()} * shape_.nodes; }
  Index packed_size() const { return shape_.template packed_size<T>(); }

  DenseInput<T> rows(const Workspace<T>& w) const {
    if (shape_.has_background()) return {this->input(w), w.background.get(), w.foreground.patch, w.foreground.count};
    return {this->input(w)};
  }
  DenseInputGradient<T> d_rows(const Workspace<T>& w) const { return {this->d_input(w), w.d_background.get()}; }

  const T* packed(Buffer<T>& buffer) const {
    if (buffer == nullptr) buffer = new_buffer<T>(packed_size());
    this->kernels().dense_pack(buffer.get(), layer_.weights, shape_);
    return buffer.get();
  }
  bool holds(const T* packed) {
    unpacked_.resize(static_cast<std::size_t>(weights_size()));
    this->kernels().dense_unpack(unpacked_.data(), packed, shape_);
    return std::memcmp(unpacked_.data(), layer_.weights, sizeof(T) * unpacked_.size()) == 0;
  }

  DenseLayer<T> layer_;
  DenseShape shape_;
  Buffer<T> packed_, running_;  // for samples as they come, and for a run of updates
  const T* current_ = nullptr;
  Index steps_ = 0;  // of the run
  std::vector<T> unpacked_;
};

}  // namespace cnnx
