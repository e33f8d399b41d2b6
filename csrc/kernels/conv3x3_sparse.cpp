// The backward pass of a convolution whose output gradient is mostly zero, as it is if a MaxPool2 or a ReLU follows the
// convolution. Only the nonzero entries are multiplied. The formulas are those of conv3x3.cpp.
//
// A SparseGradient lists the entries twice:
//
//   by_filter   f * outputs <= e < end[f] are those of filter f; the window of an entry begins at input[at]
//   by_output   start[p] <= e < start[p + 1] are those of output pixel p; `at` is the filter
#include "max_pool2.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

// Where the entries are. go_to() chooses an output pixel, of which lanes() are the gradients of a register of filters.
// number() is the gradient of a filter that has an entry there.
template <class T>
struct OfOutputs {
  const T* d_output;
  int width, filters;
  const T* pixel = nullptr;

  void go_to(int y, int x) { pixel = d_output + (Index{y} * width + x) * filters; }
  Vec<T> lanes(int first) const { return load<Vec<T>>(pixel + first); }
  T number(int f) const { return pixel[f]; }
  bool has(int f) const { return pixel[f] != 0; }
};
template <class T>
struct OfWindows {
  const T *d_pooled, *winners;
  int width, filters;
  Index window = 0;
  int q = 0;

  void go_to(int y, int x) {
    window = (Index{y / 2} * (width / 2) + x / 2) * filters;
    q = 2 * (y % 2) + x % 2;
  }
  Vec<T> lanes(int first) const {
    return given_to(q, load<Vec<T>>(winners + window + first), load<Vec<T>>(d_pooled + window + first));
  }
  T number(int f) const { return d_pooled[window + f]; }
  bool has(int f) const {
    std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t> bits;
    __builtin_memcpy(&bits, winners + window + f, sizeof(T));
    return number(f) != 0 && (bits >> q & 1) != 0;
  }
};

// Fills in both lists.
template <class T, class Gradient>
void list_entries(const SparseGradient<T>& entries, Gradient from, const Conv3x3Shape& s) {
  const int out_height = s.out_height(), out_width = s.out_width(), filters = s.filters;
  const int outputs = out_height * out_width, width = s.width, channels = s.channels;
  int* const __restrict end = entries.end, * const __restrict start = entries.start;
  Entry<T>* const __restrict by_filter = entries.by_filter, * const __restrict by_output = entries.by_output;
  int found = 0, output = 0;
  for (int f = 0; f < filters; ++f) end[f] = f * outputs;
  for (int y = 0; y < out_height; ++y)
    for (int x = 0; x < out_width; ++x) {
      const int window = (y * width + x) * channels;
      const auto note = [&](int f, T gradient, int kept) {
        by_filter[end[f]] = {window, gradient};
        by_output[found] = {f, gradient};
        end[f] += kept;
        found += kept;
      };
      start[output++] = found;
      from.go_to(y, x);
      int first = 0;
      // Only the nonzero lanes are visited. Those of many registers are visited in one loop, because a CPU seldom
      // foresees where a loop ends.
      if constexpr (has_nonzero_lanes) {
        constexpr int lanes = native_bytes / static_cast<int>(sizeof(T)), most = 64 / lanes;
        while (first + lanes <= filters) {
          const int registers = smaller((filters - first) / lanes, most);
          std::uint64_t bits = 0;
          for (int r = 0; r < registers; ++r)
            bits |= std::uint64_t{nonzero_lanes(from.lanes(first + r * lanes))} << (r * lanes);
          for (; bits != 0; bits &= bits - 1) {
            const int f = first + __builtin_ctzll(bits);
            note(f, from.number(f), 1);
          }
          first += registers * lanes;
        }
      }
      for (int f = first; f < filters; ++f) note(f, from.number(f), from.has(f));
    }
  start[output] = found;
}

template <class T>
void conv3x3_gather(const SparseGradient<T>& entries, const T* d_output, const Conv3x3Shape& s) noexcept {
  list_entries(entries, OfOutputs<T>{d_output, s.out_width(), s.filters}, s);
}

template <class T>
void conv3x3_gather_pooled(const SparseGradient<T>& entries, const T* d_pooled, const T* winners,
                           const Conv3x3Shape& s) noexcept {
  list_entries(entries, OfWindows<T>{d_pooled, winners, s.out_width(), s.filters}, s);
}

// Adds the products of a filter's entries in some rows of the image to the filter's gradient.
template <class T>
void add_products(T* d_filter, const Entry<T>* entries, int count, const T* input, const Conv3x3Shape& s) {
  const int run = 3 * s.channels;
  // Each sum waits for its own last addition, so a CPU needs many sums at a time to stay busy.
  for (int dy = 0; dy < 3; ++dy, d_filter += run)
    for_separate_channel_tiles<T, 12>(run, [&](auto tile, int first, int taps) {
      const T* const row = input + dy * s.width * s.channels + first;
      typename decltype(tile)::V total[tile.vectors] = {};
      if constexpr (tile.partial) {
        // A whole register that reaches back is faster to read. Its first `back` lanes belong to other tiles and are
        // dropped.
        if (const int back = tile.lanes - taps; first >= back) {
          for (int i = 0; i < count; ++i)
            total[0] += entries[i].value * load<typename decltype(tile)::V>(row + entries[i].at - back);
          for (int t = 0; t < taps; ++t) d_filter[first + t] += total[0][back + t];
          return;
        }
      }
      for (int i = 0; i < count; ++i) {
        const T* window = row + entries[i].at;
        hide_pointer(window);  // otherwise GCC computes the address of each register by itself
        for (int v = 0; v < tile.vectors; ++v) total[v] += entries[i].value * tile.read(window + v * tile.lanes, taps);
      }
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
    const int last = smaller(s.filters, first + most_at_once);
    int done[most_at_once] = {};
    for (int y = 0; y < s.out_height(); y += rows)
      for (int f = first; f < last; ++f) {
        int& begin = done[f - first];
        const Entry<T>* const from = entries.by_filter + f * outputs + begin;
        const int left = entries.end[f] - f * outputs - begin;
        int count = 0;
        T sum = 0;
        for (; count < left && from[count].at < (y + rows) * row; ++count) sum += from[count].value;
        add_products(d_filters + Index{f} * s.taps(), from, count, input, s);
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
  const int* const __restrict start = entries.start;
  const Entry<T>* const __restrict by_output = entries.by_output;
  const int out_height = s.out_height(), out_width = s.out_width(), channels = s.channels, taps = s.taps();
  const Index row = Index{s.width} * channels;
  for (int y = 0, output = 0; y < out_height; ++y)
    for (int x = 0; x < out_width; ++x, ++output) {
      const int end = start[output + 1];
      Run share = Run::all(0);
      for (int e = start[output]; e < end; ++e)
        share.add_product(Run::all(by_output[e].value), Run::read(filters + Index{by_output[e].at} * taps + first));
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
    sweep(std::integral_constant<int, 3 * lanes_of<T> / 2>{});  // all channels of a row of taps, if there are eight
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
  k.conv3x3_gather_pooled = conv3x3_gather_pooled<T>;
  k.conv3x3_backward_filters_sparse = conv3x3_backward_filters_sparse<T>;
  k.conv3x3_backward_input_sparse = conv3x3_backward_input_sparse<T>;
}

}  // namespace

void CNNX_TARGET::fill_conv3x3_sparse(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
