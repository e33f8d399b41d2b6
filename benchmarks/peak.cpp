// The multiply-add peak of one core: independent chains of fused multiply-adds that never leave the registers.
//
// A core that starts two multiply-adds a cycle and needs four cycles for each keeps eight chains busy; the
// program has more, and takes the best of several counts and of every vector width that the compiler offers,
// because the widest is not always the fastest. Two FLOP a multiply-add. Prints one line of JSON in GFLOP/s.
//
//     c++ -std=c++20 -O3 -march=native peak.cpp -o peak && ./peak

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>

namespace {

template <typename T, std::size_t bytes>
using Vector [[gnu::vector_size(bytes)]] = T;

// Read and written where the compiler cannot know: it could otherwise merge equal chains, or drop them all.
volatile double opaque = 0.001;

template <typename T, std::size_t bytes, int chains>
double gigaflops() {
  constexpr int rounds = 200'000;
  constexpr int lanes = bytes / sizeof(T);
  Vector<T, bytes> sums[chains] = {};
  Vector<T, bytes> factor = {}, term = {};
  for (auto& sum : sums) sum += T(opaque);
  factor += T(1 - opaque);
  term += T(opaque);
  auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int chain = 0; chain < chains; ++chain) sums[chain] = sums[chain] * factor + term;
  }
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  for (auto& sum : sums)
    for (int lane = 0; lane < lanes; ++lane) opaque = opaque + 0 * double(sum[lane]);
  return 2.0 * rounds * chains * lanes / elapsed.count() / 1e9;
}

template <typename T, std::size_t bytes>
double best_of_chains() {
  return std::max({gigaflops<T, bytes, 8>(), gigaflops<T, bytes, 10>(), gigaflops<T, bytes, 12>()});
}

template <typename T>
double best() {
  double peak = 0;
  for (int repeat = 0; repeat < 20; ++repeat) {
    peak = std::max(peak, best_of_chains<T, 16>());
#ifdef __AVX__
    peak = std::max(peak, best_of_chains<T, 32>());
#endif
#ifdef __AVX512F__
    peak = std::max(peak, best_of_chains<T, 64>());
#endif
  }
  return peak;
}

}  // namespace

int main() {
  std::printf("{\"float32\": %.1f, \"float64\": %.1f}\n", best<float>(), best<double>());
}
