// A Dense layer, or the dense half of a Softmax. For a few samples packing the weights costs more than it saves; the
// results are the same to the bit.
#pragma once

#include "stage.hpp"

namespace cnnx {

template <class T>
class DenseStage final : public Stage<T> {
 public:
  explicit DenseStage(const DenseLayer<T>& layer) : layer_(layer) {}

  Index outputs() const override { return layer_.shape.nodes; }

  std::vector<Slice<T>> parameters() const override {
    return {{layer_.weights, Index{layer_.shape.inputs} * layer_.shape.nodes}, {layer_.biases, layer_.shape.nodes}};
  }
  Index gradient_size() const override { return packed_size() + layer_.shape.nodes; }
  void unpack_gradient(T* flat, const T* gradient) const override {
    this->kernels().dense_unpack(flat, gradient, layer_.shape);
    std::memcpy(flat + Index{layer_.shape.inputs} * layer_.shape.nodes, gradient + packed_size(),
                sizeof(T) * static_cast<std::size_t>(layer_.shape.nodes));
  }
  void pack(Index samples, bool training) override {
    is_packed_ = training || samples >= worth_packing;
    if (!is_packed_) return;
    if (packed_ == nullptr) packed_ = new_buffer<T>(packed_size());
    this->kernels().dense_pack(packed_.get(), layer_.weights, layer_.shape);
  }

  void forward(Workspace<T>& w) const override {
    const auto& k = this->kernels();
    if (is_packed_)
      k.dense_forward_packed(this->output(w), this->input(w), packed_.get(), layer_.biases, layer_.shape);
    else
      k.dense_forward(this->output(w), this->input(w), layer_.weights, layer_.biases, layer_.shape);
  }
  void backward(Workspace<T>& w, T* gradient) const override {
    this->kernels().dense_backward_packed(this->d_input(w), gradient, gradient + packed_size(), packed_.get(),
                                          this->d_output(w), this->input(w), layer_.shape);
  }

  bool can_update() const override { return true; }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    this->kernels().dense_backward_update_packed(this->d_input(w), packed_.get(), layer_.biases, this->d_output(w),
                                                 this->input(w), learn_rate, layer_.shape);
  }
  void unpack() override { this->kernels().dense_unpack(layer_.weights, packed_.get(), layer_.shape); }

 private:
  static constexpr Index worth_packing = 8;
  Index packed_size() const { return layer_.shape.template padded_inputs<T>() * layer_.shape.nodes; }

  DenseLayer<T> layer_;
  Buffer<T> packed_;
  bool is_packed_ = false;
};

}  // namespace cnnx
