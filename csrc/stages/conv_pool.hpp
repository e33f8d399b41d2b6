// An image's Conv3x3 with the MaxPool2 behind it, and a ReLU between or behind them: always the first stage. A dense
// layer right behind takes the background as such; for others it is spread over all its places.
#pragma once

#include "stage.hpp"

namespace cnnx {

template <class T>
class ConvPoolStage final : public Stage<T> {
 public:
  ConvPoolStage(const Conv3x3Layer<T>& layer, const ConvPoolShape& shape, Ties ties, bool spread)
      : layer_(layer),
        shape_(shape),
        conv_{shape.height, shape.width, 1, shape.filters},
        ties_(ties),
        spread_(spread),
        packed_(new_buffer<T>(gradient_size())) {
    for (int y = 0; y < shape.out_height(); ++y)
      for (int x = 0; x < shape.out_width(); ++x) first_pixel_.push_back(2 * (y * shape.width + x));
  }

  Index outputs() const override { return Index{shape_.patches()} * shape_.stride; }
  Index scratch_size() const override { return conv_pool_windows_size<T>(shape_) + gradient_size(); }
  void prepare(Workspace<T>& w) const override {
    w.foreground_patches.resize(static_cast<std::size_t>(shape_.patches()) + 4);
    w.patch_scratch.resize(2 * static_cast<std::size_t>(shape_.height) * static_cast<std::size_t>(shape_.width) + 256);
    w.foreground = {w.foreground_patches.data(), 0, first_pixel_.data()};
    w.background = new_buffer<T>(padded_channels<T>(shape_.filters));
    w.d_background = new_buffer<T>(padded_channels<T>(shape_.filters));
  }

  std::vector<Slice<T>> parameters() const override { return layer_.parameters(); }
  Index gradient_size() const override { return packed_filters_size<T>(conv_); }
  void unpack_gradient(T* flat, const T* gradient) const override {
    this->kernels().unpack_filters(flat, layer_.biases_of(flat), gradient, conv_);
  }
  void pack(Index, bool) override {
    this->kernels().pack_filters(packed_.get(), layer_.filters, layer_.biases, conv_);
    filters_are_small_ = this->kernels().are_small(packed_.get(), gradient_size());
  }

  void forward(Workspace<T>& w) const override {
    const auto& k = this->kernels();
    const T* const image = this->input(w);
    int* const patches = w.foreground_patches.data();
    std::uint8_t* const scratch = w.patch_scratch.data();
    w.foreground.count = w.bytes != nullptr ? k.find_foreground_in_bytes(patches, scratch, w.bytes, shape_)
                                            : k.find_foreground(patches, scratch, image, shape_);
    // Filters that grow without bounds in a run of updates bring a loss that is no number, with or without care.
    const bool careful =
        !filters_are_small_ || (w.bytes == nullptr && !k.are_small(image, Index{shape_.height} * shape_.width));
    k.conv_pool_forward(this->output(w), w.background.get(), w.training ? this->scratch(w) : nullptr, image,
                        packed_.get(), w.foreground, shape_, careful);
    if (spread_) k.spread_background(this->output(w), w.background.get(), w.foreground, shape_);
  }
  void backward(Workspace<T>& w, T* gradient) const override {
    this->kernels().add(gradient, sample_gradient(w), gradient_size());
  }

  bool can_update() const override { return !shape_.bias && !shape_.relu; }
  void backward_update(Workspace<T>& w, T learn_rate) override {
    this->kernels().sgd_update(packed_.get(), sample_gradient(w), learn_rate, gradient_size());
  }
  void end_updates() override { this->kernels().unpack_filters(layer_.filters, layer_.biases, packed_.get(), conv_); }

 private:
  const T* sample_gradient(Workspace<T>& w) const {
    const auto& k = this->kernels();
    T *const windows = this->scratch(w), *const d_packed = windows + conv_pool_windows_size<T>(shape_);
    if (spread_) k.sum_background(w.d_background.get(), this->d_output(w), w.foreground, shape_);
    k.conv_pool_backward(d_packed, this->d_output(w), w.d_background.get(), this->output(w), w.background.get(),
                         windows, this->input(w), w.foreground, shape_, ties_);
    return d_packed;
  }

  Conv3x3Layer<T> layer_;
  ConvPoolShape shape_;
  Conv3x3Shape conv_;
  Ties ties_;
  bool spread_;
  bool filters_are_small_ = false;
  std::vector<int> first_pixel_;  // of each patch
  Buffer<T> packed_;
};

}  // namespace cnnx
