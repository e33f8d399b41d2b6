// The stages without parameters.
#pragma once

#include <cmath>

#include "stage.hpp"

namespace cnnx {

template <class T>
class MaxPool2Stage final : public Stage<T> {
 public:
  MaxPool2Stage(const MaxPool2Shape& shape, Ties ties) : shape_(shape), ties_(ties) {}

  Index outputs() const override { return Index{shape_.out_height()} * shape_.out_width() * shape_.channels; }
  void forward(Workspace<T>& w) const override {
    this->kernels().max_pool2_forward(this->output(w), this->input(w), shape_);
  }
  void backward(Workspace<T>& w, T*) const override {
    this->kernels().max_pool2_backward(this->d_input(w), this->d_output(w), this->input(w), shape_, ties_);
  }
  bool can_update() const override { return true; }
  void backward_update(Workspace<T>& w, T) override { backward(w, nullptr); }

 private:
  MaxPool2Shape shape_;
  Ties ties_;
};

template <class T>
class ReLUStage final : public Stage<T> {
 public:
  explicit ReLUStage(Index count) : count_(count) {}

  Index outputs() const override { return count_; }
  void forward(Workspace<T>& w) const override {
    this->kernels().relu_forward(this->output(w), this->input(w), count_);
  }
  void backward(Workspace<T>& w, T*) const override {
    this->kernels().relu_backward(this->d_input(w), this->d_output(w), this->input(w), count_);
  }

 private:
  Index count_;
};

// Only training drops anything.
template <class T>
class DropoutStage final : public Stage<T> {
 public:
  DropoutStage(Index count, double rate)
      : count_(count), rate_(std::min(static_cast<T>(rate), std::nextafter(T{1}, T{0}))) {}

  Index outputs() const override { return count_; }
  void forward(Workspace<T>& w) const override {
    if (w.training)
      this->kernels().dropout(this->output(w), this->input(w), rate_, key(w), count_);
    else
      std::memcpy(this->output(w), this->input(w), sizeof(T) * static_cast<std::size_t>(count_));
  }
  void backward(Workspace<T>& w, T*) const override {
    this->kernels().dropout(this->d_input(w), this->d_output(w), rate_, key(w), count_);
  }

 private:
  std::uint64_t key(const Workspace<T>& w) const { return random_key(w.key, this->place); }

  Index count_;
  T rate_;
};

}  // namespace cnnx
