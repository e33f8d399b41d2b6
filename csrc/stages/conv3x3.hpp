// A Conv3x3 by itself, on any number of channels. With "same" padding it works on a copy of its input in a ring of
// zeros, and its input's gradient has that ring too, which is dropped.
#pragma once

#include "padding.hpp"
#include "stage.hpp"

namespace cnnx {

template <class T>
class Conv3x3Stage final : public Stage<T> {
 public:
  // `shape` is that of the padded input.
  Conv3x3Stage(const Conv3x3Layer<T>& layer, const Conv3x3Shape& shape)
      : layer_(layer), shape_(shape), packed_(new_buffer<T>(packed_filters_size<T>(shape))) {}

  Index outputs() const override { return Index{shape_.out_height()} * shape_.out_width() * shape_.filters; }
  Index scratch_size() const override { return 2 * padded_size(); }
  void prepare(Workspace<T>& w) const override {
    const auto most = [](auto& values, Index size) { values.resize(std::max(values.size(), std::size_t(size))); };
    most(w.entry_count, shape_.filters);
    most(w.entry_offset, outputs() + 1);
    most(w.entry_gradient, outputs() + 1);
    most(w.entry_start, outputs() / shape_.filters + 1);
    most(w.entry_filter, outputs() + 1);
    most(w.entry_value, outputs() + 1);
  }

  std::vector<Slice<T>> parameters() const override { return layer_.parameters(); }
  Index gradient_size() const override { return layer_.filters_size() + layer_.count; }
  void unpack_gradient(T* flat, const T* gradient) const override {
    std::memcpy(flat, gradient, sizeof(T) * static_cast<std::size_t>(layer_.filters_size()));
    if (T* const d_biases = layer_.biases_of(flat); d_biases != nullptr)
      std::memcpy(d_biases, gradient + layer_.filters_size(), sizeof(T) * static_cast<std::size_t>(layer_.count));
  }
  void pack(Index, bool) override {
    this->kernels().pack_filters(packed_.get(), layer_.filters, layer_.biases, shape_);
  }

  void forward(Workspace<T>& w) const override {
    if (layer_.same) pad(padded(w), this->input(w), shape_);
    this->kernels().conv3x3_forward(this->output(w), layer_.same ? padded(w) : this->input(w), packed_.get(), shape_);
  }
  void backward(Workspace<T>& w, T* gradient) const override {
    const auto& k = this->kernels();
    const SparseGradient<T> entries{w.entry_count.data(), w.entry_offset.data(), w.entry_gradient.data(),
                                    w.entry_start.data(), w.entry_filter.data(), w.entry_value.data()};
    k.conv3x3_gather(entries, this->d_output(w), shape_);
    k.conv3x3_backward_filters_sparse(gradient, entries, layer_.same ? padded(w) : this->input(w), shape_);
    if (this->is_first()) return;
    T* const d_padded = layer_.same ? padded(w) + padded_size() : this->d_input(w);
    k.conv3x3_backward_input_sparse(d_padded, entries, layer_.filters, shape_);
    if (layer_.same) crop(this->d_input(w), d_padded, shape_);
  }

 private:
  Index padded_size() const { return layer_.same ? Index{shape_.height} * shape_.width * shape_.channels : 0; }
  T* padded(Workspace<T>& w) const { return this->scratch(w); }

  Conv3x3Layer<T> layer_;
  Conv3x3Shape shape_;
  Buffer<T> packed_;
};

}  // namespace cnnx
