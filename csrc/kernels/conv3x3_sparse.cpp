// The backward pass of a convolution whose output gradient is mostly zero, as it is if a MaxPool2 or a ReLU follows the
// convolution. Only the nonzero entries are multiplied. The formulas are those of conv3x3.cpp.
//
// A SparseGradient lists the entries twice:
//
//   by filter   entry i < count[f] of filter f: its gradient is gradient[f * outputs + i], and its window begins at
//               input[offset[f * outputs + i]]
//   by output   entries start[p] <= e < start[p + 1] of output pixel p: filter[e] and value[e], the gradient
#include "../simd/tiles.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

// Fills in both lists.
template <class T>
void conv3x3_gather(const SparseGradient<T>& entries, const T* d_output, const Conv3x3Shape& s) noexcept {
  const int out_height = s.out_height(), out_width = s.out_width(), filters = s.filters;
  const int outputs = out_height * out_width, width = s.width, channels = s.channels;
  int* const __restrict count = entries.count, * const __restrict offset = entries.offset;
  int* const __restrict start = entries.start, * const __restrict filter = entries.filter;
  T* const __restrict gradients = entries.gradient, * const __restrict value = entries.value;
  int found = 0, output = 0;
  for (int f = 0; f < filters; ++f) count[f] = 0;
  for (int y = 0; y < out_height; ++y)
    for (int x = 0; x < out_width; ++x, d_output += filters) {
      const int window = (y * width + x) * channels;
      const auto note = [&](int f, T gradient, int kept) {
        const int before = count[f], at = f * outputs + before;
        offset[at] = window;
        filter[found] = f;
        gradients[at] = value[found] = gradient;
        count[f] = before + kept;
        found += kept;
      };
      start[output++] = found;
      int first = 0;
      // Most registers hold only zeros and are skipped at once. In the others, only the nonzero lanes are visited.
      if constexpr (has_nonzero_lanes) {
        constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
        for (; first + lanes <= filters; first += lanes)
          for (unsigned bits = nonzero_lanes(load<Vec<T>>(d_output + first)); bits != 0; bits &= bits - 1)
            note(first + __builtin_ctz(bits), d_output[first + __builtin_ctz(bits)], 1);
      }
      for (int f = first; f < filters; ++f) note(f, d_output[f], d_output[f] != 0);
    }
  start[output] = found;
}

// Adds the products of a filter's entries in some rows of the image to the filter's gradient.
template <class T>
void add_products(T* d_filter, const T* gradient, const int* offset, int count, const T* input, const Conv3x3Shape& s) {
  const int run = 3 * s.channels;
  // Each sum waits for its own last addition, so a CPU needs many sums at a time to stay busy.
  for (int dy = 0; dy < 3; ++dy, d_filter += run)
    for_separate_channel_tiles<T, 8>(run, [&](auto tile, int first, int taps) {
      const T* const row = input + dy * s.width * s.channels + first;
      typename decltype(tile)::V total[tile.vectors] = {};
      if constexpr (tile.partial) {
        // A whole register that reaches back is faster to read. Its first `back` lanes belong to other tiles and are
        // dropped.
        if (const int back = tile.lanes - taps; first >= back) {
          for (int i = 0; i < count; ++i)
            total[0] += gradient[i] * load<typename decltype(tile)::V>(row + offset[i] - back);
          for (int t = 0; t < taps; ++t) d_filter[first + t] += total[0][back + t];
          return;
        }
      }
      for (int i = 0; i < count; ++i)
        for (int v = 0; v < tile.vectors; ++v)
          total[v] += gradient[i] * tile.read(row + offset[i] + v * tile.lanes, taps);
      for (int v = 0; v < tile.vectors; ++v) {
        T* const at = d_filter + first + v * tile.lanes;
        tile.write(at, tile.read(at, taps) + total[v], taps);
      }
    });
}

// Adds to d_filters (filters, 3, 3, channels), and to d_biases (filters,), which follow them in memory. Each filter
// reads the image, so a band of its rows that fits into a CPU's first cache is read by many filters before the next
// one.
template <class T>
void conv3x3_backward_filters_sparse(T* d_filters, const SparseGradient<T>& entries, const T* input,
                                     const Conv3x3Shape& s) noexcept {
  constexpr int cache = (24 << 10) / static_cast<int>(sizeof(T)), most_at_once = 64;
  const int row = s.width * s.channels, outputs = s.out_height() * s.out_width();
  const int rows = cache / row > 3 ? cache / row - 2 : 1;
  T* const d_biases = d_filters + Index{s.filters} * s.taps();
  for (int first = 0; first < s.filters; first += most_at_once) {
    const int end = smaller(s.filters, first + most_at_once);
    int done[most_at_once] = {};
    for (int y = 0; y < s.out_height(); y += rows)
      for (int f = first; f < end; ++f) {
        int& begin = done[f - first];
        const int* const offset = entries.offset + f * outputs + begin;
        const T* const gradient = entries.gradient + f * outputs + begin;
        const int left = entries.count[f] - begin;
        int count = 0;
        T sum = 0;
        for (; count < left && offset[count] < (y + rows) * row; ++count) sum += gradient[count];
        add_products(d_filters + Index{f} * s.taps(), gradient, offset, count, input, s);
        d_biases[f] += sum;
        begin += count;
      }
  }
}

// Adds the shares of all output pixels for a run of `lanes` taps of their windows. The run begins at tap `first` of a
// filter, and at d_input[at] for the first window. The first `done` taps of the run are done already and are skipped.
// The sum over an output's filters stays in registers.
template <int lanes, class T>
void conv3x3_backward_input_run(T* __restrict d_input, const SparseGradient<T>& entries, const T* __restrict filters,
                                Index first, Index at, int done, const Conv3x3Shape& s) {
  using Run = Logical<T, lanes>;
  const int* const __restrict start = entries.start, * const __restrict filter = entries.filter;
  const T* const __restrict value = entries.value;
  const int out_height = s.out_height(), out_width = s.out_width(), channels = s.channels, taps = s.taps();
  const Index row = Index{s.width} * channels;
  for (int y = 0, output = 0; y < out_height; ++y)
    for (int x = 0; x < out_width; ++x, ++output) {
      const int end = start[output + 1];
      Run share = Run::all(0);
      for (int e = start[output]; e < end; ++e)
        share.add_product(Run::all(value[e]), Run::read(filters + Index{filter[e]} * taps + first));
      T* const window = d_input + y * row + x * channels + at;
      if (done > 0) {
        T rest[lanes];
        share.write(rest);
        for (int lane = done; lane < lanes; ++lane) window[lane] += rest[lane];
      } else {
        share += Run::read(window);
        share.write(window);
      }
    }
}

// Windows overlap, so the order of a sum depends on the lengths of the runs. These are the same on all targets with
// fused operations, which have at least 12 registers of 32 bytes for the longest. They are the same on all others.
template <class T>
void conv3x3_backward_input_sparse(T* d_input, const SparseGradient<T>& entries, const T* filters,
                                   const Conv3x3Shape& s) noexcept {
  const Index run = 3 * s.channels, row = Index{s.width} * s.channels;
  __builtin_memset(d_input, 0, sizeof(T) * static_cast<std::size_t>(s.height * row));
  for (int dy = 0; dy < 3; ++dy) {
    Index first = 0;
    const auto sweep = [&](auto lanes) {
      for (; first + lanes <= run; first += lanes)
        conv3x3_backward_input_run<lanes>(d_input, entries, filters, dy * run + first, dy * row + first, 0, s);
    };
    if constexpr (has_fused) sweep(std::integral_constant<int, 6 * lanes_of<T>>{});
    sweep(std::integral_constant<int, 3 * lanes_of<T>>{});
    sweep(std::integral_constant<int, lanes_of<T>>{});
    sweep(std::integral_constant<int, lanes_of<T> / 2>{});
    constexpr int fewest = lanes_of<T> / 4;
    sweep(std::integral_constant<int, fewest>{});
    if (const Index back = first + fewest - run; first >= back && first < run) {
      first -= back;
      conv3x3_backward_input_run<fewest>(d_input, entries, filters, dy * run + first, dy * row + first,
                                         static_cast<int>(back), s);
      continue;
    }
    sweep(std::integral_constant<int, 1>{});
  }
}

template <class T>
void enter(Kernels<T>& k) {
  k.conv3x3_gather = conv3x3_gather<T>;
  k.conv3x3_backward_filters_sparse = conv3x3_backward_filters_sparse<T>;
  k.conv3x3_backward_input_sparse = conv3x3_backward_input_sparse<T>;
}

}  // namespace

void CNNX_TARGET::fill_conv3x3_sparse(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
