// Makes every allocation of a call fail once. The call must then throw std::bad_alloc, or give its usual result without
// the memory, and must not wait for a thread that did not start. If it throws, parameters, the optimizer's memory and
// its steps must be unchanged.
#include <algorithm>
#include <atomic>
#include <cnnx/network.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace {

std::atomic<long> allowed{-1};  // allocations before the one that fails; below 0, none fails

void* allocate(std::size_t size, std::size_t alignment) {
  if (allowed.load() >= 0 && allowed.fetch_sub(1) == 0) throw std::bad_alloc();
  void* const memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}

namespace {

constexpr int size = 12, filters = 4, more = 5, nodes = 3, inputs = 5 * 5 * more, images = 64;

// A network with most kinds of stages, its parameters, and an optimizer's memory. With a normalisation, its parameters
// and running statistics are the last of the values, and training goes batch by batch.
struct Problem {
  std::vector<float> values =
      std::vector<float>(9 * filters + 9 * filters * more + more + inputs * nodes + nodes + 4 * filters);
  std::vector<float> first = std::vector<float>(values.size()), second = first, gradient = first;
  std::int64_t steps = 0;
  std::vector<std::uint8_t> pixels = std::vector<std::uint8_t>(images * size * size);
  std::vector<std::int64_t> order = std::vector<std::int64_t>(images);
  std::vector<std::int32_t> labels = std::vector<std::int32_t>(images);
  std::vector<double> losses = std::vector<double>(images), rates = std::vector<double>(images, 0.01);
  std::vector<float> probabilities = std::vector<float>(images * nodes);
  std::unique_ptr<bool[]> correct = std::make_unique<bool[]>(images);
  std::unique_ptr<cnnx::Network<float>> network;

  explicit Problem(bool with_norm) {
    std::mt19937 random(0);
    std::normal_distribution<float> normal(0, 0.1F);
    for (float& value : values) value = normal(random);
    for (auto& pixel : pixels) pixel = static_cast<std::uint8_t>(random());
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int32_t>(i % nodes);
    float *const conv = values.data(), *const same = conv + 9 * filters, *const biases = same + 9 * filters * more;
    float *const weights = biases + more, *const last = weights + inputs * nodes;
    float* const norm = last + nodes;
    std::fill_n(norm + 3 * filters, filters, 1.0F);  // the running variance
    std::vector<cnnx::Layer<float>> layers{cnnx::Conv3x3Layer<float>{conv, nullptr, filters, 1, false, false},
                                           cnnx::MaxPool2Layer{cnnx::Ties::all},
                                           cnnx::ReLULayer{},
                                           cnnx::Conv3x3Layer<float>{same, biases, more, filters, true},
                                           cnnx::DropoutLayer{0.25},
                                           cnnx::SoftmaxLayer<float>{{weights, last, inputs, nodes}}};
    if (with_norm)
      layers.insert(layers.begin() + 1, cnnx::BatchNormLayer<float>{norm, norm + filters, norm + 2 * filters,
                                                                    norm + 3 * filters, filters, 0.9, 1e-5});
    network = std::make_unique<cnnx::Network<float>>(layers, cnnx::Shape::image(size, size));
  }

  cnnx::Images<float> samples() const { return {pixels.data(), nullptr, images}; }
  cnnx::Loss<float> loss() const { return {cnnx::CrossEntropy{}, {labels.data()}}; }
  cnnx::Batches<float> batches(cnnx::Index batch_size) const {
    return {order.data(), loss(), images, batch_size, rates.data(), nullptr, 0, 7, 0};
  }
  cnnx::Results<float> results() { return {probabilities.data(), losses.data(), correct.get()}; }
  cnnx::Optimizer<float> adam() {
    return {cnnx::AdamSettings{0.9, 0.999, 1e-8, 0.1}, first.data(), second.data(), &steps};
  }
  // Compares what a failed call must not change.
  bool operator==(const Problem& other) const {
    return values == other.values && first == other.first && second == other.second && steps == other.steps;
  }
};

using Call = std::function<void(Problem&)>;

// Makes the call's first allocation fail, then its second, and so on until none is left. Returns their number.
long fail_each(const std::string& name, bool with_norm, const Call& call) {
  Problem expected(with_norm);
  call(expected);
  const Problem before(with_norm);
  for (long k = 0;; ++k) {
    Problem problem(with_norm);
    bool threw = false;
    allowed = k;
    try {
      call(problem);
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    const bool failed = allowed.exchange(-1) < 0;
    if (!(problem == (threw ? before : expected))) {
      std::printf("%s: allocation %ld: expected %s\n", name.c_str(), k,
                  threw ? "nothing to have changed" : "the usual result");
      std::exit(1);
    }
    if (!failed) return k;
  }
}

}  // namespace

int main() {
  for (const int threads : {1, 3}) {
    const std::vector<std::pair<const char*, Call>> calls{
        {"train, Adam",
         [=](Problem& p) { p.network->train(p.samples(), p.batches(32), p.adam(), threads, p.results()); }},
        {"train, one by one",
         [=](Problem& p) { p.network->train(p.samples(), p.batches(1), {}, threads, p.results()); }},
        {"gradient",
         [=](Problem& p) {
           p.network->gradient(p.samples(), p.batches(images), threads, p.gradient.data(), p.results());
         }},
        {"apply", [](Problem& p) { p.network->apply(p.gradient.data(), p.adam(), 0.01); }},
        {"predict", [=](Problem& p) { p.network->predict(p.samples(), p.loss(), threads, p.results()); }},
    };
    for (const bool with_norm : {false, true})
      for (const auto& [name, call] : calls)
        std::printf("%s%s, %d threads: %ld allocations failed one by one\n", name, with_norm ? ", BatchNorm" : "",
                    threads, fail_each(name, with_norm, call));
  }
}
