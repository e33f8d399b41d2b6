#include "network.hpp"

#include <stdexcept>
#include <thread>

#include "stages.hpp"

namespace cnnx {

template <class T>
Network<T>::Network(const std::vector<Layer<T>>& layers, int height, int width)
    : height_(height), width_(width), nodes_(0) {
  const auto refuse = [](const char* what) { throw std::invalid_argument(what); };
  int channels = 0;  // 0: an image, which has no axis of channels
  const auto add = [&](auto stage) {
    stage->place = stages_.size();
    stages_.push_back(std::move(stage));
  };
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (nodes_ != 0) refuse("layers: expected nothing behind Softmax");
    if (const auto* conv = std::get_if<Conv3x3Layer<T>>(&layers[i])) {
      if (channels != 0 || height < 3 || width < 3) refuse("layers: expected Conv3x3 on an image of at least 3x3");
      channels = conv->count;
      const auto* const pool = i + 1 < layers.size() ? std::get_if<MaxPool2Layer>(&layers[i + 1]) : nullptr;
      if (pool != nullptr) {
        add(std::make_unique<ConvPoolStage<T>>(conv->filters, ConvPoolShape{height, width, channels}, pool->ties));
        ++i;
        height = (height - 2) / 2, width = (width - 2) / 2;
      } else {
        add(std::make_unique<Conv3x3Stage<T>>(conv->filters, Conv3x3Shape{height, width, 1, channels}));
        height -= 2, width -= 2;
      }
    } else if (const auto* pool = std::get_if<MaxPool2Layer>(&layers[i])) {
      if (channels == 0) refuse("layers: expected MaxPool2 behind Conv3x3");
      add(std::make_unique<MaxPool2Stage<T>>(MaxPool2Shape{height, width, channels}, pool->ties));
      height /= 2, width /= 2;
    } else {
      const auto& softmax = std::get<SoftmaxLayer<T>>(layers[i]);
      if (softmax.shape.inputs != height * width * std::max(channels, 1))
        refuse("layers: expected Softmax to have as many inputs as the layer before it has outputs");
      nodes_ = softmax.shape.nodes;
      add(std::make_unique<DenseStage<T>>(softmax));
    }
  }
  if (nodes_ == 0) refuse("layers: expected Softmax at the end");
}

template <class T>
Network<T>::~Network() = default;

template <class T>
Workspace<T>& Network<T>::workspace(std::size_t thread) {
  while (workspaces_.size() <= thread) {
    auto w = std::make_unique<Workspace<T>>();
    const auto add_boundary = [&](Index count) {
      const Index padded = (count + lanes_of<T> - 1) / lanes_of<T> * lanes_of<T>;
      w->values.push_back(new_buffer<T>(padded));
      w->gradients.push_back(new_buffer<T>(padded));
    };
    add_boundary(Index{height_} * width_);
    for (const auto& stage : stages_) {
      add_boundary(stage->outputs());
      w->scratch.push_back(new_buffer<T>(stage->scratch()));
      stage->prepare(*w);
    }
    workspaces_.push_back(std::move(w));
  }
  return *workspaces_[thread];
}

template <class T>
void Network<T>::load(Workspace<T>& w, const Images<T>& images, Index sample) const {
  const Index pixels = Index{height_} * width_;
  T* const image = w.values.front().get();
  if (images.bytes != nullptr) {
    w.bytes = images.bytes + sample * pixels;
    active_target().kernels<T>().scale_pixels(image, w.bytes, pixels);
  } else {
    w.bytes = nullptr;
    std::memcpy(image, images.values + sample * pixels, sizeof(T) * static_cast<std::size_t>(pixels));
  }
}

// Turns the totals at the last boundary's values into probabilities, in its gradients.
template <class T>
Outcome Network<T>::outcome(Workspace<T>& w, int label) const {
  return active_target().kernels<T>().softmax_loss(w.gradients.back().get(), w.values.back().get(), label, nodes_);
}

template <class T>
void Network<T>::train(const Images<T>& images, const std::int32_t* labels, const std::int64_t* order, Index steps,
                       T learn_rate, const Results<T>& results) {
  Workspace<T>& w = workspace(0);
  for (const auto& stage : stages_) stage->begin(steps, true);
  for (Index step = 0; step < steps; ++step) {
    const Index sample = order[step];
    load(w, images, sample);
    for (const auto& stage : stages_) stage->forward(w, true);
    const Outcome result = outcome(w, labels[sample]);
    results.losses[step] = result.loss;
    results.correct[step] = result.correct;
    w.gradients.back()[static_cast<std::size_t>(labels[sample])] -= 1;  // d_totals = p - 1 at the label
    for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) (*stage)->backward_update(w, learn_rate);
  }
  for (const auto& stage : stages_) stage->end_training();
}

template <class T>
void Network<T>::predict(const Images<T>& images, const std::int32_t* labels, int threads, const Results<T>& results) {
  for (const auto& stage : stages_) stage->begin(images.count, false);
  workspace(static_cast<std::size_t>(threads) - 1);  // all memory before the first thread: none can fail

  const auto run = [&](int thread) {
    Workspace<T>& w = *workspaces_[static_cast<std::size_t>(thread)];
    for (Index i = images.count * thread / threads; i < images.count * (thread + 1) / threads; ++i) {
      load(w, images, i);
      for (const auto& stage : stages_) stage->forward(w, false);
      const Outcome result = outcome(w, labels != nullptr ? labels[i] : 0);
      if (results.probabilities != nullptr)
        std::memcpy(results.probabilities + i * nodes_, w.gradients.back().get(),
                    sizeof(T) * static_cast<std::size_t>(nodes_));
      if (results.losses != nullptr) results.losses[i] = result.loss;
      if (results.correct != nullptr) results.correct[i] = result.correct;
    }
  };
  std::vector<std::jthread> others;  // joined at the end of the call, whatever happens
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
}

template class Network<float>;
template class Network<double>;

}  // namespace cnnx
