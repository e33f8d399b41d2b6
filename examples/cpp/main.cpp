// Trains the article's CNN, Conv3x3(8) -> MaxPool2 -> Softmax(10), and prints its accuracy on the test images:
//
//   train_article FOLDER [EPOCHS]
//
// FOLDER has MNIST's four IDX files, not compressed.
#include <algorithm>
#include <cmath>
#include <cnnx/network.hpp>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

constexpr int size = 28, pooled = (size - 2) / 2, num_filters = 8, nodes = 10;

// Returns the bytes of an IDX file after its header. The header is two zeros, an 8, which means bytes, the number of
// dimensions, and each dimension as a big-endian 32-bit number.
std::vector<std::uint8_t> read_idx(const std::string& path, int dimensions) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": expected an IDX file, not compressed, found no file");
  std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
  const std::size_t header = 4 + 4 * static_cast<std::size_t>(dimensions);
  if (bytes.size() < header || bytes[0] != 0 || bytes[1] != 0 || bytes[2] != 8 || bytes[3] != dimensions)
    throw std::runtime_error(path + ": expected an IDX file of bytes with " + std::to_string(dimensions) +
                             " dimensions");
  std::size_t count = 1;
  for (std::size_t at = 4; at < header; at += 4)
    count *= std::size_t{bytes[at]} << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header));
  if (bytes.size() != count) throw std::runtime_error(path + ": expected as many bytes as the header says");
  return bytes;
}

struct Digits {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> labels;

  cnnx::Images<float> images() const { return {pixels.data(), nullptr, static_cast<cnnx::Index>(labels.size())}; }
};

Digits read_digits(const std::string& path) {
  const auto labels = read_idx(path + "-labels-idx1-ubyte", 1);
  Digits digits{read_idx(path + "-images-idx3-ubyte", 3), {labels.begin(), labels.end()}};
  if (digits.pixels.size() != labels.size() * size * size || labels.empty())
    throw std::runtime_error(path + ": expected a label for each image, and images of 28x28 pixels");
  if (*std::max_element(labels.begin(), labels.end()) >= nodes)
    throw std::runtime_error(path + ": expected labels from 0 to 9");
  return digits;
}

int main(int argc, char** argv) try {
  if (argc < 2) throw std::runtime_error("usage: train_article FOLDER [EPOCHS]");
  const std::string folder = argv[1];
  const int epochs = argc > 2 ? std::stoi(argv[2]) : 3;
  const Digits train = read_digits(folder + "/train"), test = read_digits(folder + "/t10k");

  // The parameters are the program's own arrays. The network updates them in place.
  std::mt19937_64 rng(0);
  std::normal_distribution<float> normal;
  constexpr int inputs = pooled * pooled * num_filters;
  std::vector<float> filters(num_filters * 3 * 3), weights(inputs * nodes), biases(nodes);
  for (float& filter : filters) filter = normal(rng) / 9;
  for (float& weight : weights) weight = normal(rng) / inputs;
  cnnx::Network<float> network(
      {cnnx::Conv3x3Layer<float>{filters.data(), nullptr, num_filters, 1, false}, cnnx::MaxPool2Layer{cnnx::Ties::all},
       cnnx::SoftmaxLayer<float>{{weights.data(), biases.data(), inputs, nodes}}},
      cnnx::Shape::image(size, size));

  const auto samples = static_cast<cnnx::Index>(train.labels.size());
  std::vector<std::int64_t> order(train.labels.size());
  std::iota(order.begin(), order.end(), 0);
  const std::vector<double> learn_rates(order.size(), 0.005);
  std::vector<std::int32_t> labels(order.size());
  std::vector<double> losses(order.size());
  const auto correct = std::make_unique<bool[]>(std::max(order.size(), test.labels.size()));
  for (int epoch = 0; epoch < epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), rng);
    std::transform(order.begin(), order.end(), labels.begin(), [&](auto i) { return train.labels[i]; });
    const cnnx::Loss<float> loss{cnnx::CrossEntropy{}, {labels.data()}};
    const cnnx::Batches<float> batches{order.data(),   loss, samples, 1, learn_rates.data(), nullptr, 0, 0,
                                       epoch * samples};
    network.train(train.images(), batches, {}, 1, {nullptr, losses.data(), correct.get()});
    std::printf("epoch %d: average loss %.3f\n", epoch + 1,
                std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(samples));
  }

  network.predict(test.images(), {cnnx::CrossEntropy{}, {test.labels.data()}}, 1, {nullptr, nullptr, correct.get()});
  const auto right = std::count(correct.get(), correct.get() + test.labels.size(), true);
  std::printf("test accuracy: %.3f\n", static_cast<double>(right) / static_cast<double>(test.labels.size()));
} catch (const std::exception& error) {
  std::fprintf(stderr, "train_article: %s\n", error.what());
  return 1;
}
