// The core for a web page: what core.js calls. It is core.js that checks arguments; nothing here does.
//
// A page has float32 networks of Conv3x3, MaxPool2, ReLU and Softmax, and one thread.
#include <__verbose_abort>
#include <cstdlib>
#include <numeric>

#include "../csrc/network.hpp"
#include "numpy_random.hpp"

namespace cnnx {
namespace {

// One layer of a description, as core.js writes it.
struct LayerRow {
  enum Kind : std::int32_t { conv3x3, max_pool2, relu, softmax };
  Kind kind;
  std::int32_t outputs, inputs;  // filters and channels, or nodes and values
  std::int32_t same;             // Conv3x3: pads its input with zeros
  std::int32_t takes_channels;   // Conv3x3: filters are (outputs, 3, 3, inputs), not (outputs, 3, 3)
  std::int32_t has_biases;       // Conv3x3
  std::int32_t first_tie_only;   // MaxPool2

  Index weights() const noexcept {
    return kind == conv3x3 ? Index{9} * outputs * inputs : kind == softmax ? Index{outputs} * inputs : 0;
  }
  Index biases() const noexcept { return kind == softmax || (kind == conv3x3 && has_biases != 0) ? outputs : 0; }
  Layer<float> layer(float* weights_at) const {
    float* const biases_at = biases() > 0 ? weights_at + weights() : nullptr;
    switch (kind) {
      case conv3x3:
        return Conv3x3Layer<float>{weights_at, biases_at, outputs, inputs, same != 0, takes_channels != 0};
      case max_pool2:
        return MaxPool2Layer{first_tie_only != 0 ? Ties::first : Ties::all};
      case relu:
        return ReLULayer{};
      case softmax:
        return SoftmaxLayer<float>{{weights_at, biases_at, inputs, outputs}};
    }
    __builtin_unreachable();
  }
};

enum class Method : std::int32_t { sgd, momentum, adam };

// The optimizers of python -m cnnx.train.
constexpr SgdSettings momentum_settings{.momentum = 0.9, .weight_decay = 0, .nesterov = true};
constexpr AdamSettings adam_settings{.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0};

// A network that has its own parameters.
class PageNetwork {
 public:
  PageNetwork(const LayerRow* rows, int count, const Shape& image)
      : parameters_(static_cast<std::size_t>(
            std::accumulate(rows, rows + count, Index{0},
                            [](Index sum, const LayerRow& row) { return sum + row.weights() + row.biases(); }))),
        layers_(made(rows, count)),
        network_(layers_, image),
        plain_(layers_, image, false),
        plain_values_(plain_.new_values()),
        desk_(new_buffer<float>(plain_.desk_size())) {
    sample_.push_back(std::make_unique<Workspace<float>>(plain_, plain_values_));
    sample_.front()->use_desk(desk_.get());
  }

  // All layers' arrays, one after another.
  float* parameters() noexcept { return parameters_.data(); }
  bool is_finite() const noexcept {
    float sum = 0;
    for (const float value : parameters_) sum += value - value;  // 0, or a NaN for an inf or a NaN
    return sum == 0;
  }

  // Begins a run of training, which `train` continues in windows.
  void begin(Method method, Index batch_size) {
    batch_size_ = batch_size;
    samples_before_ = steps_ = 0;
    first_state_.assign(method == Method::sgd ? 0 : parameters_.size(), 0);
    second_state_.assign(method == Method::adam ? parameters_.size() : 0, 0);
    optimizer_ = {{}, first_state_.data(), second_state_.data(), &steps_};
    if (method == Method::momentum) optimizer_.settings = momentum_settings;
    if (method == Method::adam) optimizer_.settings = adam_settings;
  }
  void train(const std::uint8_t* images, const std::uint8_t* labels, Index samples, double learn_rate, double* losses,
             bool* correct) {
    take(labels, samples);
    learn_rates_.assign(static_cast<std::size_t>((samples + batch_size_ - 1) / batch_size_), learn_rate);
    auto batches = in_order(samples, batch_size_);
    batches.samples_before = samples_before_;
    network_.train({images, nullptr, samples}, batches, optimizer_, 1, {nullptr, losses, correct});
    samples_before_ += samples;
  }
  // One step of plain gradient descent, which is a run of its own. Returns the loss before it.
  double step(const std::uint8_t* image, std::uint8_t label, double learn_rate) {
    take(&label, 1);
    learn_rates_.assign(1, learn_rate);
    std::int64_t steps = 0;
    double loss;
    bool correct;
    network_.train({image, nullptr, 1}, in_order(1, 1), {{}, nullptr, nullptr, &steps}, 1, {nullptr, &loss, &correct});
    return loss;
  }

  void evaluate(const std::uint8_t* images, const std::uint8_t* labels, Index samples, float* outputs, double* losses,
                bool* correct) {
    take(labels, samples);
    network_.predict({images, nullptr, samples}, {CrossEntropy{}, {labels_.data()}}, 1, {outputs, losses, correct});
  }

  // Computes every layer by itself, for one image.
  void forward(const std::uint8_t* image) {
    Workspace<float>& sample = *sample_.front();
    plain_.pack(plain_values_);
    load<float>(sample, {image, nullptr, 1}, 0, nullptr, 0, plain_.image());
    plain_.forward(sample_);
    plain_.output_function().forward(sample.outputs.get(), sample.values.back().get());
  }
  // What a layer has made of that image; the totals, if it is Softmax.
  const float* values(std::size_t layer) const noexcept { return sample_.front()->values[layer + 1].get(); }
  const float* probabilities() const noexcept { return sample_.front()->outputs.get(); }

 private:
  std::vector<Layer<float>> made(const LayerRow* rows, int count) {
    std::vector<Layer<float>> layers;
    float* at = parameters_.data();
    for (const LayerRow* row = rows; row < rows + count; at += row->weights() + row->biases(), ++row)
      layers.push_back(row->layer(at));
    return layers;
  }
  void take(const std::uint8_t* labels, Index samples) { labels_.assign(labels, labels + samples); }
  Batches<float> in_order(Index samples, Index batch_size) {
    for (auto next = std::ssize(order_); next < samples; ++next) order_.push_back(next);
    return {
        order_.data(), {CrossEntropy{}, {labels_.data()}}, samples, batch_size, learn_rates_.data(), nullptr, 0, 0, 0};
  }

  std::vector<float> parameters_;
  std::vector<Layer<float>> layers_;
  Network<float> network_;
  Plan<float> plain_;
  PackedValues<float> plain_values_;
  Buffer<float> desk_;  // of the plan above
  std::vector<std::unique_ptr<Workspace<float>>> sample_;

  Index batch_size_ = 1, samples_before_ = 0;
  std::int64_t steps_ = 0;
  std::vector<float> first_state_, second_state_;
  Optimizer<float> optimizer_{};

  std::vector<std::int64_t> order_;
  std::vector<std::int32_t> labels_;
  std::vector<double> learn_rates_;
};

}  // namespace
}  // namespace cnnx

using namespace cnnx;

#define EXPORT(name) __attribute__((export_name(#name)))

extern "C" {

EXPORT(allocate) void* allocate(std::size_t bytes) {
  return std::malloc(bytes);
}
EXPORT(release) void release(void* memory) {
  std::free(memory);
}

// `channels` is 0 for images (height, width).
EXPORT(network_new)
PageNetwork* network_new(const LayerRow* rows, int count, int height, int width, int channels) {
  return new PageNetwork(rows, count,
                         channels == 0 ? Shape::image(height, width) : Shape::image(height, width, channels));
}
EXPORT(network_delete) void network_delete(PageNetwork* network) {
  delete network;
}
EXPORT(network_parameters) float* network_parameters(PageNetwork* network) {
  return network->parameters();
}
EXPORT(network_is_finite) bool network_is_finite(PageNetwork* network) {
  return network->is_finite();
}
EXPORT(network_begin)
void network_begin(PageNetwork* network, Method method, int batch_size) {
  network->begin(method, batch_size);
}
EXPORT(network_train)
void network_train(PageNetwork* network, const std::uint8_t* images, const std::uint8_t* labels, int samples,
                   double learn_rate, double* losses, bool* correct) {
  network->train(images, labels, samples, learn_rate, losses, correct);
}
EXPORT(network_step)
double network_step(PageNetwork* network, const std::uint8_t* image, std::uint8_t label, double learn_rate) {
  return network->step(image, label, learn_rate);
}
EXPORT(network_evaluate)
void network_evaluate(PageNetwork* network, const std::uint8_t* images, const std::uint8_t* labels, int samples,
                      float* outputs, double* losses, bool* correct) {
  network->evaluate(images, labels, samples, outputs, losses, correct);
}
EXPORT(network_forward)
void network_forward(PageNetwork* network, const std::uint8_t* image) {
  network->forward(image);
}
EXPORT(network_values)
const float* network_values(PageNetwork* network, std::size_t layer) {
  return network->values(layer);
}
EXPORT(network_probabilities)
const float* network_probabilities(PageNetwork* network) {
  return network->probabilities();
}

EXPORT(random_new) NumpyRandom* random_new(std::uint32_t seed) {
  return new NumpyRandom(seed);
}
EXPORT(random_delete) void random_delete(NumpyRandom* random) {
  delete random;
}
// Initial values: standard normal / divisor * factor.
EXPORT(random_normal)
void random_normal(NumpyRandom* random, float* values, int count, double divisor, double factor) {
  for (int i = 0; i < count; ++i) values[i] = static_cast<float>(random->normal() / divisor * factor);
}
EXPORT(random_permutation)
void random_permutation(NumpyRandom* random, std::uint32_t* order, std::uint32_t count) {
  random->permutation(order, count);
}

// A page has no environment and no standard output, and catches no exceptions. With these functions in place of the
// libraries' the module imports nothing. An error that core.js cannot foresee, no more memory, traps.
char* getenv(const char*) {
  return nullptr;
}
void abort() {
  __builtin_trap();
}
void abort_message(const char*, ...) {
  __builtin_trap();
}
void* __cxa_allocate_exception(std::size_t) {
  __builtin_trap();
}
void __cxa_throw(void*, void*, void* (*)(void*)) {
  __builtin_trap();
}

}  // extern "C"

void std::__libcpp_verbose_abort(const char*, ...) {
  __builtin_trap();
}
