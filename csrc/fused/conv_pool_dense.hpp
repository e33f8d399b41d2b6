// An image's Conv3x3 and MaxPool2 and the dense layer right behind them, which never needs to have the background in
// all its places.
#pragma once

#include "../stages/stage.hpp"
#include "conv_pool.hpp"

namespace cnnx {

template <class T>
class ConvPoolDenseStage final : public Stage<T> {
 public:
  ConvPoolDenseStage(const Conv3x3Layer<T>& conv, const ConvPoolShape& shape, const DenseLayer<T>& dense)
      : conv_(conv, shape), dense_(dense), shape_{shape.patches(), shape.filters, dense.shape.nodes} {}

  Index outputs() const override { return shape_.nodes; }
  Index scratch_size() const override { return 2 * rows_size() + conv_.kept_size() + conv_.packed_size(); }
  void prepare(Workspace<T>& w) const override { conv_.prepare(w); }

  std::vector<Slice<T>> parameters() const override {
    auto slices = conv_.layer().parameters();
    slices.insert(slices.end(), {{dense_.weights, weights_size()}, {dense_.biases, shape_.nodes}});
    return slices;
  }
  // The filters' gradient, the weights' and the biases', the first two packed.
  Index gradient_size() const override { return conv_.packed_size() + packed_size() + shape_.nodes; }
  void unpack_gradient(T* flat, const T* gradient) const override {
    conv_.unpack(flat, conv_.layer().biases_of(flat), gradient);
    for (const auto& slice : conv_.layer().parameters()) flat += slice.count;
    gradient += conv_.packed_size();
    this->kernels().dense_unpack(flat, gradient, shape_);
    std::memcpy(flat + weights_size(), gradient + packed_size(), sizeof(T) * static_cast<std::size_t>(shape_.nodes));
  }
  void pack(Index samples, bool training) override {
    conv_.pack();
    current_ = training || samples >= worth_packing ? packed(packed_) : nullptr;
  }

  void forward(Workspace<T>& w) const override {
    const auto& k = this->kernels();
    const T* const image = this->input(w);
    const Memory m = memory(w);
    conv_.find_foreground(w, image);
    const bool careful = conv_.needs_care(w, image);
    if (current_ != nullptr) {
      k.conv_pool_dense_forward(this->output(w), m.pooled, image, conv_.packed(), w.foreground, current_, dense_.biases,
                                current_ == packed_.get(), conv_.shape(), shape_, careful);
    } else {
      k.conv_pool_forward(m.pooled, image, conv_.packed(), w.foreground, conv_.shape(), careful);
      k.dense_forward(this->output(w), {m.pooled.values, m.pooled.background, w.foreground.patch, w.foreground.count},
                      dense_.weights, dense_.biases, shape_);
    }
  }
  void backward(Workspace<T>& w, T* gradient) const override {
    const auto& k = this->kernels();
    const Memory m = memory(w);
    T* const d_packed = gradient + conv_.packed_size();
    k.conv_pool_dense_backward(m.d_filters, m.d_pooled, d_packed, d_packed + packed_size(), current_, this->d_output(w),
                               m.pooled, this->input(w), w.foreground, conv_.shape(), shape_);
    k.add(gradient, m.d_filters, conv_.packed_size());
  }

  bool can_update() const override { return !conv_.shape().bias && !conv_.shape().relu; }
  // Packed weights behind a background are sums, which packing them anew would round: a run goes on with those that it
  // has, unless somebody has changed numpy's.
  void begin_updates(bool anew) override {
    conv_.pack();
    if (anew || running_ == nullptr || !holds(running_.get())) {
      packed(running_);
      steps_ = 0;
    }
    current_ = running_.get();
  }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    const auto& k = this->kernels();
    const Memory m = memory(w);
    k.conv_pool_dense_backward_update(m.d_filters, m.d_pooled, running_.get(), dense_.biases, this->d_output(w),
                                      learn_rate, m.pooled, this->input(w), w.foreground, conv_.shape(), shape_);
    k.sgd_update(conv_.packed(), m.d_filters, learn_rate, conv_.packed_size());
    if (++steps_ % steps_a_fold == 0) k.dense_fold(running_.get(), shape_);
  }
  void end_updates() override {
    conv_.unpack();
    this->kernels().dense_unpack(dense_.weights, running_.get(), shape_);
  }

 private:
  static constexpr Index steps_a_fold = 1024;  // often enough for rounding, seldom enough for time

  // What a sample needs between its forward and backward pass, and in the latter.
  struct Memory {
    Pooled<T> pooled;
    T *d_pooled, *d_filters;
  };
  Memory memory(const Workspace<T>& w) const {
    T *const values = this->scratch(w), *const kept = values + 2 * rows_size(), *const d_pooled = values + rows_size();
    return {{values, w.background.get(), w.training ? kept : nullptr}, d_pooled, kept + conv_.kept_size()};
  }

  Index rows_size() const { return conv_.pooled_size() + conv_.shape().stride; }
  Index weights_size() const { return Index{shape_.inputs()} * shape_.nodes; }
  Index packed_size() const { return shape_.template packed_size<T>(); }

  const T* packed(Buffer<T>& buffer) const {
    if (buffer == nullptr) buffer = new_buffer<T>(packed_size());
    this->kernels().dense_pack(buffer.get(), dense_.weights, shape_);
    return buffer.get();
  }
  bool holds(const T* packed) {
    unpacked_.resize(static_cast<std::size_t>(weights_size()));
    this->kernels().dense_unpack(unpacked_.data(), packed, shape_);
    return std::memcmp(unpacked_.data(), dense_.weights, sizeof(T) * unpacked_.size()) == 0;
  }

  PooledConv<T> conv_;
  DenseLayer<T> dense_;
  DenseShape shape_;
  Buffer<T> packed_, running_;  // for samples as they come, and for a run of updates
  const T* current_ = nullptr;
  Index steps_ = 0;  // of the run
  std::vector<T> unpacked_;
};

}  // namespace cnnx
