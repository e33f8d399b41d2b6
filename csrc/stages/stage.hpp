// What a network's plan is made of: a layer, or two that are computed as one, with its shape, its parameters and its
// place. Stage i reads boundary i of a workspace and writes boundary i + 1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "dispatch.hpp"
#include "network.hpp"

namespace cnnx {

inline constexpr std::align_val_t cache_line{64};

template <class T>
struct FreeAligned {
  void operator()(T* buffer) const noexcept { ::operator delete[](buffer, cache_line); }
};

template <class T>
using Buffer = std::unique_ptr<T[], FreeAligned<T>>;

// Zeros, from a cache line's start on.
template <class T>
Buffer<T> new_buffer(Index count) {
  const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(count);
  Buffer<T> buffer(static_cast<T*>(::operator new[](bytes, cache_line)));
  std::memset(buffer.get(), 0, bytes);
  return buffer;
}

// What one thread computes for one sample. Activations and gradients end in zeros up to a whole block of lanes.
template <class T>
struct Workspace {
  const std::uint8_t* bytes = nullptr;       // the sample's pixels, if they are bytes
  std::vector<Buffer<T>> values, gradients;  // one a boundary
  std::vector<Buffer<T>> scratch;            // one a stage
  std::vector<Patch> varied, constant;
  std::vector<std::uint8_t> patch_scratch;
  PatchSet patches{};
};

template <class T>
class Stage {
 public:
  virtual ~Stage() = default;

  std::size_t place = 0;
  virtual Index outputs() const = 0;
  virtual Index scratch() const { return 0; }
  virtual void prepare([[maybe_unused]] Workspace<T>& workspace) const {}

  // Around a call: parameters come from numpy's arrays, and go back after training.
  virtual void begin([[maybe_unused]] Index samples, [[maybe_unused]] bool training) {}
  virtual void end_training() {}

  virtual void forward(Workspace<T>&, bool training) const = 0;
  virtual void backward_update(Workspace<T>&, T learn_rate) = 0;

 protected:
  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }
  T* input(const Workspace<T>& w) const { return w.values[place].get(); }
  T* output(const Workspace<T>& w) const { return w.values[place + 1].get(); }
  T* d_input(const Workspace<T>& w) const { return w.gradients[place].get(); }
  T* d_output(const Workspace<T>& w) const { return w.gradients[place + 1].get(); }
  T* scratch(const Workspace<T>& w) const { return w.scratch[place].get(); }
};

// A Conv3x3 and the MaxPool2 behind it; always the first stage.
template <class T>
class ConvPoolStage final : public Stage<T> {
 public:
  ConvPoolStage(T* filters, const ConvPoolShape& shape, Ties ties)
      : filters_(filters), shape_(shape), ties_(ties), packed_(new_buffer<T>(packed_count())) {}

  Index outputs() const override { return Index{shape_.patches()} * shape_.filters; }
  Index scratch() const override { return windows_count() + packed_count(); }
  void prepare(Workspace<T>& w) const override {
    w.varied.resize(static_cast<std::size_t>(shape_.patches()) + 1);
    w.constant.resize(w.varied.size());
    w.patch_scratch.resize(2 * static_cast<std::size_t>(shape_.height) * static_cast<std::size_t>(shape_.width));
    w.patches = {w.varied.data(), w.constant.data(), {}};
  }

  void begin(Index, bool) override { this->kernels().pack_filters(packed_.get(), filters_, conv_shape()); }
  void end_training() override {
    const int padded = padded_channels<T>(shape_.filters);
    for (int f = 0; f < shape_.filters; ++f)
      for (int tap = 0; tap < 9; ++tap) filters_[9 * f + tap] = packed_[tap * padded + f];
  }

  void forward(Workspace<T>& w, bool training) const override {
    const auto& k = this->kernels();
    const T* const image = this->input(w);
    w.patches.counts =
        w.bytes != nullptr
            ? k.find_patches_in_bytes(w.varied.data(), w.constant.data(), w.patch_scratch.data(), w.bytes, shape_)
            : k.find_patches(w.varied.data(), w.constant.data(), w.patch_scratch.data(), image, shape_);
    k.conv_pool_forward(this->output(w), training ? this->Stage<T>::scratch(w) : nullptr, image, packed_.get(),
                        w.patches, shape_);
  }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    T* const windows = this->Stage<T>::scratch(w);
    T* const d_packed = windows + windows_count();
    this->kernels().conv_pool_backward(d_packed, this->d_output(w), this->output(w), windows, this->input(w), w.patches,
                                       shape_, ties_);
    this->kernels().sgd_update(packed_.get(), d_packed, learn_rate, packed_count());
  }

 private:
  Conv3x3Shape conv_shape() const { return {shape_.height, shape_.width, 1, shape_.filters}; }
  Index packed_count() const { return Index{9} * padded_channels<T>(shape_.filters); }
  Index windows_count() const { return 4 * outputs(); }

  T* filters_;
  ConvPoolShape shape_;
  Ties ties_;
  Buffer<T> packed_;
};

// A Conv3x3 without pooling behind it; always the first stage.
template <class T>
class Conv3x3Stage final : public Stage<T> {
 public:
  Conv3x3Stage(T* filters, const Conv3x3Shape& shape) : filters_(filters), shape_(shape) {}

  Index outputs() const override { return Index{shape_.out_height()} * shape_.out_width() * shape_.filters; }
  Index scratch() const override { return conv3x3_forward_scratch<T>(shape_); }  // or the filters' gradient

  void forward(Workspace<T>& w, bool) const override {
    this->kernels().conv3x3_forward(this->output(w), this->input(w), filters_, this->Stage<T>::scratch(w), shape_);
  }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    T* const d_filters = this->Stage<T>::scratch(w);
    this->kernels().conv3x3_backward_filters(d_filters, this->d_output(w), this->input(w), shape_);
    this->kernels().sgd_update(filters_, d_filters, learn_rate, Index{shape_.filters} * shape_.taps());
  }

 private:
  T* filters_;
  Conv3x3Shape shape_;
};

template <class T>
class MaxPool2Stage final : public Stage<T> {
 public:
  MaxPool2Stage(const MaxPool2Shape& shape, Ties ties) : shape_(shape), ties_(ties) {}

  Index outputs() const override { return Index{shape_.out_height()} * shape_.out_width() * shape_.channels; }

  void forward(Workspace<T>& w, bool) const override {
    this->kernels().max_pool2_forward(this->output(w), this->input(w), shape_);
  }
  void backward_update(Workspace<T>& w, T) override {
    this->kernels().max_pool2_backward(this->d_input(w), this->d_output(w), this->input(w), shape_, ties_);
  }

 private:
  MaxPool2Shape shape_;
  Ties ties_;
};

// The dense half of a Softmax. For a few samples packing the weights costs more than it saves; the results are the
// same to the bit.
template <class T>
class DenseStage final : public Stage<T> {
 public:
  explicit DenseStage(const SoftmaxLayer<T>& layer) : layer_(layer) {}

  Index outputs() const override { return layer_.shape.nodes; }

  void begin(Index samples, bool training) override {
    is_packed_ = training || samples >= worth_packing;
    if (!is_packed_) return;
    if (packed_ == nullptr) packed_ = new_buffer<T>(layer_.shape.template padded_inputs<T>() * layer_.shape.nodes);
    this->kernels().dense_pack(packed_.get(), layer_.weights, layer_.shape);
  }
  void end_training() override { this->kernels().dense_unpack(layer_.weights, packed_.get(), layer_.shape); }

  void forward(Workspace<T>& w, bool) const override {
    if (is_packed_)
      this->kernels().dense_forward_packed(this->output(w), this->input(w), packed_.get(), layer_.biases, layer_.shape);
    else
      this->kernels().dense_forward(this->output(w), this->input(w), layer_.weights, layer_.biases, layer_.shape);
  }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    this->kernels().dense_backward_update_packed(this->d_input(w), packed_.get(), layer_.biases, this->d_output(w),
                                                 this->input(w), learn_rate, layer_.shape);
  }

 private:
  static constexpr Index worth_packing = 8;

  SoftmaxLayer<T> layer_;
  Buffer<T> packed_;
  bool is_packed_ = false;
};

}  // namespace cnnx
