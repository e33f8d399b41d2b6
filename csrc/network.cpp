// The plan, and the forward pass over many images; training.cpp has the loops that train.
#include "network.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>

#include "fused/conv_pool.hpp"
#include "fused/conv_pool_dense.hpp"
#include "stages/affine.hpp"
#include "stages/conv3x3.hpp"
#include "stages/dense.hpp"
#include "stages/gradients.hpp"
#include "stages/small.hpp"

namespace cnnx {
namespace {

// Turns layers into stages, from the first to the last. Python has checked what it reports; this keeps memory safe.
template <class T>
class Planner {
 public:
  Planner(const std::vector<Layer<T>>& layers, int height, int width)
      : layers_(layers), height_(height), width_(width) {}

  std::vector<std::unique_ptr<Stage<T>>> plan() {
    while (at_ < layers_.size()) std::visit([&](const auto& layer) { add(layer); }, layers_[at_++]);
    if (nodes_ == 0) refuse("expected Softmax at the end");
    return std::move(stages_);
  }
  int nodes() const { return nodes_; }

 private:
  static void refuse(const char* what) { throw std::invalid_argument(std::string("layers: ") + what); }

  template <class L>
  const L* next(std::size_t ahead) const {
    return at_ + ahead < layers_.size() ? std::get_if<L>(&layers_[at_ + ahead]) : nullptr;
  }
  void push(std::unique_ptr<Stage<T>> stage) {
    if (nodes_ != 0) refuse("expected nothing behind Softmax");
    stage->place = stages_.size();
    stages_.push_back(std::move(stage));
  }
  Index count() const { return Index{height_} * width_ * channels_; }

  void add(const Conv3x3Layer<T>& conv) {
    if (channels_ != conv.channels || is_flat_) refuse("expected a convolution to have its input's channels");
    // The pooling that follows, perhaps behind a ReLU, is computed in the same pass on an image, and so is a dense
    // layer behind that. No pooling ever reads an odd last row or column.
    const bool relu_first = next<ReLULayer>(0) != nullptr;
    const auto* const pool = next<MaxPool2Layer>(relu_first ? 1 : 0);
    const int ring = conv.same ? 2 : 0;
    Conv3x3Shape shape{height_ + ring, width_ + ring, conv.channels, conv.count};
    if (shape.height < 3 || shape.width < 3) refuse("expected a convolution on at least 3x3 pixels");
    if (stages_.empty() && conv.channels == 1 && !conv.same && pool != nullptr) {
      at_ += relu_first ? 2 : 1;
      const bool relu_behind = !relu_first && next<ReLULayer>(0) != nullptr;
      at_ += relu_behind ? 1 : 0;
      add_pooled(conv, {height_, width_, conv.count, conv.count, conv.biases != nullptr, relu_first || relu_behind,
                        pool->ties});
      return;
    }
    if (pool != nullptr) {
      shape.unread_rows = shape.out_height() % 2;
      shape.unread_columns = shape.out_width() % 2;
    }
    push(std::make_unique<Conv3x3Stage<T>>(conv, shape));
    become(shape.out_height(), shape.out_width(), conv.count);
  }
  void add_pooled(const Conv3x3Layer<T>& conv, ConvPoolShape shape) {
    const int height = shape.out_height(), width = shape.out_width();
    become(height, width, conv.count);
    const auto* const dense = next<DenseLayer<T>>(0);
    if (dense == nullptr || shape.patches() == 1) {
      push(std::make_unique<ConvPoolStage<T>>(conv, shape));
      return;
    }
    ++at_;
    check(*dense);
    shape.stride = rounded_up(conv.count, row_lanes);
    push(std::make_unique<ConvPoolDenseStage<T>>(conv, shape, *dense));
    become_flat(*dense);
  }
  void add(const MaxPool2Layer& pool) {
    if (is_flat_) refuse("expected MaxPool2 on (height, width, channels)");
    push(std::make_unique<MaxPool2Stage<T>>(MaxPool2Shape{height_, width_, channels_}, pool.ties));
    become(height_ / 2, width_ / 2, channels_);
  }
  void add(const ReLULayer&) { push(std::make_unique<ReLUStage<T>>(count())); }
  void add(const DropoutLayer& dropout) { push(std::make_unique<DropoutStage<T>>(count(), dropout.rate)); }
  void add(const DenseLayer<T>& dense) {
    check(dense);
    push(std::make_unique<DenseStage<T>>(dense));
    become_flat(dense);
  }
  void check(const DenseLayer<T>& dense) const {
    if (dense.shape.inputs() != count()) refuse("expected a dense layer to have as many inputs as there are values");
  }
  void become_flat(const DenseLayer<T>& dense) {
    if (dense.softmax) nodes_ = dense.shape.nodes;
    become(1, 1, dense.shape.nodes);
    is_flat_ = true;
  }
  void become(int height, int width, int channels) {
    height_ = height, width_ = width, channels_ = channels;
    if (count() == 0 || count() > 0x7fffffff / 16) refuse("expected every layer to have outputs, 134 million at most");
  }

  const std::vector<Layer<T>>& layers_;
  std::size_t at_ = 0;
  int height_, width_, channels_ = 1, nodes_ = 0;
  bool is_flat_ = false;
  std::vector<std::unique_ptr<Stage<T>>> stages_;
};

}  // namespace

template <class T>
Network<T>::Network(const std::vector<Layer<T>>& layers, int height, int width) : height_(height), width_(width) {
  Planner<T> planner(layers, height, width);
  stages_ = planner.plan();
  nodes_ = planner.nodes();
  for (const auto& stage : stages_)
    for (const auto& slice : stage->parameters()) parameter_count_ += slice.count;
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
    w->source = new_buffer<T>(Index{height_} * width_);
    w->shifted.resize(static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_));
    for (const auto& stage : stages_) {
      add_boundary(stage->outputs());
      w->scratch.push_back(new_buffer<T>(stage->scratch_size()));
      stage->prepare(*w);
    }
    workspaces_.push_back(std::move(w));
  }
  return *workspaces_[thread];
}

template <class T>
void Network<T>::pack(Index samples, bool training) {
  for (const auto& stage : stages_) stage->pack(samples, training);
}

// Has memory bring the next sample while this one is computed: in a shuffled order no hardware can foresee it.
template <class T>
void Network<T>::prefetch(const Images<T>& images, Index sample) const {
  const Index count = Index{height_} * width_, size = images.bytes != nullptr ? 1 : Index{sizeof(T)};
  const char* const image = images.bytes != nullptr ? reinterpret_cast<const char*>(images.bytes)
                                                    : reinterpret_cast<const char*>(images.values);
  for (Index at = 0; at < count * size; at += 64) __builtin_prefetch(image + sample * count * size + at);
}

// Puts a sample at the first boundary. A map that only shifts keeps bytes bytes.
template <class T>
void Network<T>::load(Workspace<T>& w, const Images<T>& images, Index sample, const double* map) const {
  const Index count = Index{height_} * width_;
  const bool shifts = map != nullptr && is_shift(map), resamples = map != nullptr && !shifts;
  T* const image = w.values.front().get();
  T* const loaded = resamples ? w.source.get() : image;
  w.bytes = nullptr;
  if (images.bytes != nullptr) {
    const std::uint8_t* bytes = images.bytes + sample * count;
    if (shifts) {
      shift<std::uint8_t>(w.shifted.data(), bytes, height_, width_, map, 0);
      bytes = w.shifted.data();
    }
    active_target().kernels<T>().scale_pixels(loaded, bytes, count);
    if (!resamples) w.bytes = bytes;
  } else {
    const T* const values = images.values + sample * count;
    if (shifts)
      shift<T>(image, values, height_, width_, map, T{-0.5});
    else
      std::memcpy(loaded, values, sizeof(T) * static_cast<std::size_t>(count));
  }
  if (resamples) resample<T>(image, loaded, height_, width_, map, T{-0.5});
}

// Turns the totals at the last boundary's values into probabilities, in its gradients.
template <class T>
Outcome Network<T>::outcome(Workspace<T>& w, int label) const {
  return active_target().kernels<T>().softmax_loss(w.gradients.back().get(), w.values.back().get(), label, nodes_);
}

template <class T>
void Network<T>::predict(const Images<T>& images, const std::int32_t* labels, int threads, const Results<T>& results) {
  pack(images.count, false);
  workspace(static_cast<std::size_t>(threads) - 1);  // all memory before the first thread: none can fail

  // Whoever is free takes the next few images, since threads are seldom equally quick.
  std::atomic<Index> next{0};
  const auto run = [&](int thread) {
    Workspace<T>& w = *workspaces_[static_cast<std::size_t>(thread)];
    w.training = false;
    constexpr Index at_once = 64;
    for (Index i = 0, end = 0;; ++i) {
      if (i == end) {
        i = next.fetch_add(at_once);
        end = std::min(i + at_once, images.count);
        if (i >= end) return;
      }
      load(w, images, i, nullptr);
      for (const auto& stage : stages_) stage->forward(w);
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
