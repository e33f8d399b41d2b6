// A Dense layer, or the dense half of a Softmax. For a few samples packing the weights costs more than it saves; the
// results are the same to the bit.
#pragma once

#include "stage.hpp"

namespace cnnx {

template <class T>
class DenseStage final : public Stage<T> {
 public:
  explicit DenseStage(const DenseLayer<T>& layer) : layer_(layer), shape_(layer.shape) {}

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
    is_packed_ = training || samples >= worth_packing;
    if (!is_packed_) return;
    if (packed_ == nullptr) packed_ = new_buffer<T>(packed_size());
    this->kernels().dense_pack(packed_.get(), layer_.weights, shape_);
  }

  void forward(Workspace<T>& w) const override {
    const auto& k = this->kernels();
    if (is_packed_)
      k.dense_forward_packed(this->output(w), this->input(w), packed_.get(), layer_.biases, shape_);
    else
      k.dense_forward(this->output(w), {this->input(w)}, layer_.weights, layer_.biases, shape_);
  }
  void backward(Workspace<T>& w, T* gradient) const override {
    this->kernels().dense_backward_packed(this->d_input(w), gradient, gradient + packed_size(), packed_.get(),
                                          this->d_output(w), this->input(w), shape_);
  }

  bool can_update() const override { return true; }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    this->kernels().dense_backward_update_packed(this->d_input(w), packed_.get(), layer_.biases, this->d_output(w),
                                                 this->input(w), learn_rate, shape_);
  }
  void end_updates() override { this->kernels().dense_unpack(layer_.weights, packed_.get(), shape_); }

 private:
  Index weights_size() const { return Index{shape_.inputs()} * shape_.nodes; }
  Index packed_size() const { return shape_.template packed_size<T>(); }

  DenseLayer<T> layer_;
  DenseShape shape_;
  Buffer<T> packed_;
  bool is_packed_ = false;
};

}  // namespace cnnx
